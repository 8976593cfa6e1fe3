#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "supervisor/io/child_process.h"
#include "supervisor/io/config_file.h"
#include "supervisor/io/log_rotation.h"
#include "supervisor/io/pid_files.h"
#include "supervisor/io/ready_probe.h"

namespace trunkline::supervisor {
namespace {

using ::testing::HasSubstr;

class SupervisorIo : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/supervisor-io-XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& name, const std::string& text) {
    const std::string path = dir_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string config_error(const std::string& processes) {
    const std::string path =
        write("c.json",
              R"({"pid_dir": "/p", "run_file": "/r", "run": {}, "processes": )" + processes + "}");
    try {
      read_config(path);
      return "";
    } catch (const std::exception& e) {
      return e.what();
    }
  }

  std::string dir_;
};

TEST_F(SupervisorIo, ReadsEveryFieldOfAProcess) {
  const auto config = read_config(write("c.json", R"({"pid_dir": "/p", "run_file": "/r",
      "run": {"api": "x"}, "own_log": "/o", "processes": [{"name": "n", "argv": ["/b", "c"],
      "user": "u", "env": {"K": "V"}, "log": "/l", "level": 2, "stop_signal": "INT",
      "stop_deadline_ms": 5, "ready": {"unix": "/s"}, "prepare": ["/q"], "cleanup": ["/w"],
      "cleanup_deadline_ms": 6}]})"));
  ASSERT_EQ(config.processes.size(), 1u);
  const ProcessSpec& spec = config.processes[0];
  EXPECT_EQ(spec.name, "n");
  EXPECT_EQ(spec.argv, (std::vector<std::string>{"/b", "c"}));
  EXPECT_EQ(spec.user, "u");
  EXPECT_EQ(spec.env.at("K"), "V");
  EXPECT_EQ(spec.log, "/l");
  EXPECT_EQ(spec.level, 2);
  EXPECT_EQ(spec.stop_signal, SIGINT);
  EXPECT_EQ(spec.stop_deadline, Millis(5));
  EXPECT_EQ(spec.ready.kind, ReadyCheck::Kind::unix_socket);
  EXPECT_EQ(spec.ready.address, "/s");
  EXPECT_EQ(spec.prepare, std::vector<std::string>{"/q"});
  EXPECT_EQ(spec.cleanup, std::vector<std::string>{"/w"});
  EXPECT_EQ(spec.cleanup_deadline, Millis(6));
  EXPECT_EQ(config.own_log, "/o");
}

TEST_F(SupervisorIo, RefusesABadProcessAndNamesIt) {
  struct Row {
    const char* processes;
    const char* part;
  };
  for (const Row& row : {
           Row{R"([{"name": "n", "argv": ["/b"], "log": "/l"}])", ""},
           Row{R"([{"name": "n", "argv": ["b"], "log": "/l"}])", "process n: argv must start"},
           Row{R"([{"name": "n", "argv": [], "log": "/l"}])", "process n: argv is empty"},
           Row{R"([{"name": "n", "argv": ["/b"]}])", "log"},
           Row{R"([{"name": "a/b", "argv": ["/b"], "log": "/l"}])", "name must be"},
           Row{R"([{"name": "n", "argv": ["/b"], "log": "/l"}, {"name": "n"}])", "unique"},
           Row{R"([{"name": "n", "argv": ["/b"], "log": "/l", "stop_signal": "X"}])", "TERM, INT"},
           Row{R"([{"name": "n", "argv": ["/b"], "log": "/l", "ready": {}}])", "tcp or unix"},
       }) {
    const std::string error = config_error(row.processes);
    if (*row.part == '\0') {
      EXPECT_EQ(error, "");
    } else {
      EXPECT_THAT(error, HasSubstr(row.part)) << row.processes;
    }
  }
}

TEST_F(SupervisorIo, StartsAChildInItsOwnSessionWithItsLogAndEnvironment) {
  const std::string log = dir_ + "/log";
  const int pid = start_child({.argv = {"/bin/sh", "-c", "echo $K $(ps -o sid= -p $$) $$; pwd"},
                               .user = {},
                               .env = {{"K", "v w"}},
                               .log = log});
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  const std::string self = std::to_string(pid);
  EXPECT_EQ(read(log), "v w " + self + " " + self + "\n/\n");
  struct stat info {};
  ASSERT_EQ(stat(log.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST_F(SupervisorIo, WithoutALogAChildWritesToTheSupervisorsOutput) {
  const std::string output = dir_ + "/output";
  const int saved = dup(STDOUT_FILENO);
  const int file = open(output.c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_GE(dup2(file, STDOUT_FILENO), 0);
  const int pid = start_child({.argv = {"/bin/sh", "-c", "echo out; echo error >&2"}, .log = ""});
  dup2(saved, STDOUT_FILENO);
  close(saved);
  close(file);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(read(output), "out\nerror\n");
}

TEST_F(SupervisorIo, SaysWhichStepOfAStartFailed) {
  const auto error = [&](ChildOptions options) -> std::string {
    options.log = options.log.empty() ? dir_ + "/log" : options.log;
    try {
      start_child(options);
      return "";
    } catch (const std::exception& e) {
      return e.what();
    }
  };
  EXPECT_THAT(error({.argv = {"/no/such"}}), HasSubstr("/no/such: execve: No such file"));
  EXPECT_THAT(error({.argv = {"/bin/true"}, .user = "nobody-here"}), HasSubstr("no such user"));
  EXPECT_THAT(error({.argv = {"/bin/true"}, .log = "/no/dir/log"}), HasSubstr("/no/dir/log"));
}

TEST_F(SupervisorIo, RunsAsAnotherUserWithThatUsersGroups) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string log = dir_ + "/log";
  const int pid =
      start_child({.argv = {"/bin/sh", "-c", "id -un; id -Gn"}, .user = "nobody", .log = log});
  waitpid(pid, nullptr, 0);
  EXPECT_EQ(read(log), "nobody\nnogroup\n");
}

TEST_F(SupervisorIo, RotatesOnlyWhatIsLarger) {
  const std::string path = write("log", std::string(100, 'x'));
  EXPECT_FALSE(rotate_if_larger(path, 100));
  EXPECT_TRUE(rotate_if_larger(path, 99));
  EXPECT_EQ(read(path), "");
  EXPECT_EQ(read(path + ".1"), std::string(100, 'x'));
  EXPECT_FALSE(rotate_if_larger(dir_ + "/none", 0));
}

TEST_F(SupervisorIo, OnlyOneHoldsTheLock) {
  {
    const SupervisorLock lock(dir_);
    EXPECT_EQ(read(dir_ + "/supervisor.lock"), std::to_string(getpid()) + "\n");
    EXPECT_THROW(SupervisorLock{dir_}, std::runtime_error);
  }
  const SupervisorLock again(dir_);
}

TEST_F(SupervisorIo, RemembersAProcessButNotALaterUserOfItsNumber) {
  remember_pid(dir_, "self", getpid());
  EXPECT_EQ(remembered_pid(dir_, "self"), getpid());
  std::string text = read(dir_ + "/self.pid");
  write("self.pid", std::to_string(getpid()) + " 1" + text.substr(text.find(' ') + 1));
  EXPECT_EQ(remembered_pid(dir_, "self"), std::nullopt);
  for (const char* damaged : {"", "x", "12", "0 0 0", "-1 5 x"}) {
    write("self.pid", damaged);
    EXPECT_EQ(remembered_pid(dir_, "self"), std::nullopt) << damaged;
  }
  EXPECT_EQ(remembered_pid(dir_, "none"), std::nullopt);
}

TEST_F(SupervisorIo, StopsLeftoversAndKillsThoseThatDoNotStop) {
  std::vector<ProcessSpec> specs(2);
  specs[0].name = "willing";
  specs[1].name = "stubborn";
  specs[1].level = 1;
  specs[1].stop_deadline = Millis(100);
  const std::vector<std::string> scripts = {"exec sleep 600",
                                            "trap '' TERM; echo set; exec sleep 600"};
  std::vector<int> pids;
  for (size_t i = 0; i < specs.size(); ++i) {
    pids.push_back(start_child({.argv = {"/bin/sh", "-c", scripts[i]}, .log = dir_ + "/log"}));
    remember_pid(dir_, specs[i].name, pids[i]);
  }
  while (read(dir_ + "/log").empty()) std::this_thread::sleep_for(Millis(5));
  stop_leftovers(dir_, specs);
  for (size_t i = 0; i < specs.size(); ++i) {
    int status = 0;
    ASSERT_EQ(waitpid(pids[i], &status, WNOHANG), pids[i]);
    EXPECT_EQ(WTERMSIG(status), i == 0 ? SIGTERM : SIGKILL);
  }
}

TEST_F(SupervisorIo, NothingListensAtAClosedPortOrAMissingSocket) {
  EXPECT_TRUE(is_ready({}));
  EXPECT_FALSE(is_ready({ReadyCheck::Kind::tcp, "127.0.0.1:1"}));
  EXPECT_FALSE(is_ready({ReadyCheck::Kind::tcp, "nonsense"}));
  EXPECT_FALSE(is_ready({ReadyCheck::Kind::unix_socket, dir_ + "/none"}));
  EXPECT_FALSE(is_ready({ReadyCheck::Kind::unix_socket, std::string(200, 'x')}));
}

}  // namespace
}  // namespace trunkline::supervisor
