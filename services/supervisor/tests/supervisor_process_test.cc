// The real program with real children: started, killed, stopped, and left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace trunkline::supervisor {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr std::chrono::seconds kPatience{20};

bool may_be_spared() {
  const pid_t child = fork();
  if (child == 0) {
    std::ofstream score("/proc/self/oom_score_adj");
    score << "-900" << std::flush;
    _exit(score ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  return status == 0;
}

class SupervisorProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/supervisor-process-XXXXXX";
    dir_ = mkdtemp(name);
    std::filesystem::create_directory(dir_ + "/pids");
    processes_ = json::array();
  }
  void TearDown() override {
    if (pid_ > 0) {
      kill(pid_, SIGTERM);
      waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(dir_);
  }

  void add(const std::string& name, const std::string& script, const json& more = json::object()) {
    json process = {{"name", name}, {"argv", {"/bin/sh", "-c", script}}, {"log", log(name)}};
    process.update(more);
    processes_.push_back(process);
  }
  std::string log(const std::string& name) { return dir_ + "/" + name + ".log"; }

  void start(const std::vector<std::string>& more = {}) {
    std::ofstream(dir_ + "/config.json") << json{{"pid_dir", dir_ + "/pids"},
                                                 {"run_file", dir_ + "/run.json"},
                                                 {"run", {{"api", "http://x"}}},
                                                 {"processes", processes_}};
    pid_ = fork();
    if (pid_ == 0) {
      std::freopen((dir_ + "/supervisor.log").c_str(), "a", stderr);
      std::vector<std::string> words = {SUPERVISOR_BINARY, "--config", dir_ + "/config.json"};
      words.insert(words.end(), more.begin(), more.end());
      std::vector<char*> argv;
      for (auto& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  int finish(int signal) {
    kill(pid_, signal);
    return join();
  }
  int join() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  int pid_of(const std::string& name) {
    const json run = json::parse(read(dir_ + "/run.json"), nullptr, false);
    if (!run.is_object()) return 0;
    for (const auto& process : run["processes"]) {
      if (process["name"] == name) return process["pid"];
    }
    return 0;
  }
  // A zombie that process 1 has yet to reap is not alive.
  static bool alive(int pid) {
    const std::string stat = read("/proc/" + std::to_string(pid) + "/stat");
    const auto end = stat.rfind(')');
    return end != std::string::npos && stat.substr(end + 2, 1) != "Z";
  }
  static bool wait_for(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  std::string dir_;
  json processes_;
  int pid_ = 0;
};

TEST_F(SupervisorProcess, RestartsAChildThatIsKilledAndRewritesTheRunFile) {
  add("a", "exec sleep 600");
  add("b", "exec sleep 600");
  start();
  ASSERT_TRUE(wait_for([&] { return pid_of("b") > 0; }));
  const int a = pid_of("a");
  const int b = pid_of("b");
  for (int round = 0; round < 3; ++round) {
    const int before = pid_of("a");
    kill(before, SIGKILL);
    ASSERT_TRUE(wait_for([&] { return pid_of("a") != before && alive(pid_of("a")); }));
  }
  EXPECT_EQ(pid_of("b"), b);
  const json run = json::parse(read(dir_ + "/run.json"));
  EXPECT_EQ(run["api"], "http://x");
  EXPECT_EQ(run["processes"][0]["log"], log("a"));
  EXPECT_EQ(finish(SIGTERM), 0);
  EXPECT_FALSE(alive(a));
  EXPECT_FALSE(alive(b));
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/run.json"));
}

TEST_F(SupervisorProcess, WhereMemoryIsShortTheKernelTakesOthersFirst) {
  if (!may_be_spared()) GTEST_SKIP() << "oom_score_adj cannot be lowered here";
  add("a", "cat /proc/self/oom_score_adj > " + dir_ + "/score; exec sleep 600");
  start();
  EXPECT_TRUE(wait_for([&] { return read(dir_ + "/score") == "-900\n"; }));
  EXPECT_EQ(finish(SIGTERM), 0);
}

TEST_F(SupervisorProcess, StopsLevelsInTurnAndCleansUpBetween) {
  const std::string order = dir_ + "/order";
  const auto script = [&](const std::string& name) {
    return "trap 'echo stop " + name + " >> " + order + "; exit 0' TERM; echo start " + name +
           " >> " + order + "; while :; do sleep 0.02; done";
  };
  add("low", script("low"), {{"prepare", {"/bin/sh", "-c", "echo prepare >> " + order}}});
  add("high", script("high"),
      {{"level", 1}, {"cleanup", {"/bin/sh", "-c", "echo cleanup >> " + order}}});
  start();
  ASSERT_TRUE(wait_for([&] { return read(order).find("start high") != std::string::npos; }));
  EXPECT_EQ(finish(SIGINT), 0);
  std::istringstream lines(read(order));
  std::vector<std::string> words;
  for (std::string line; std::getline(lines, line);) words.push_back(line);
  // "start low" and "prepare" race: a process without a ready check is ready at once.
  std::sort(words.begin(), words.begin() + 2);
  EXPECT_THAT(words, ::testing::ElementsAre("prepare", "start low", "start high", "stop high",
                                            "cleanup", "stop low"));
}

TEST_F(SupervisorProcess, ChildrenEndWhenTheSupervisorIsKilledButDetachedOnesLive) {
  add("a", "setsid sleep 600 & echo $! > " + dir_ + "/detached; exec sleep 600");
  start();
  ASSERT_TRUE(wait_for([&] { return !read(dir_ + "/detached").empty() && pid_of("a") > 0; }));
  const int a = pid_of("a");
  const int detached = std::stoi(read(dir_ + "/detached"));
  finish(SIGKILL);
  EXPECT_TRUE(wait_for([&] { return !alive(a); }));
  EXPECT_TRUE(alive(detached));
  kill(detached, SIGKILL);
}

TEST_F(SupervisorProcess, ANewSupervisorStopsWhatAKilledOneLeftAndStartsAnew) {
  // This child outlives its supervisor: it ignores the signal that comes when the parent dies.
  add("a", "trap '' TERM; echo deaf; while :; do sleep 0.05; done", {{"stop_deadline_ms", 200}});
  start();
  ASSERT_TRUE(wait_for([&] { return pid_of("a") > 0 && read(log("a")) == "deaf\n"; }));
  const int left = pid_of("a");
  finish(SIGKILL);
  ASSERT_TRUE(alive(left));
  start();
  ASSERT_TRUE(wait_for([&] { return pid_of("a") > 0 && pid_of("a") != left; }));
  EXPECT_FALSE(alive(left));
  EXPECT_THAT(read(dir_ + "/supervisor.log"), HasSubstr("left-over a"));
}

TEST_F(SupervisorProcess, StopLeftoversRunsCleanupAndStartsNothing) {
  add("a", "echo started; exec sleep 600", {{"cleanup", {"/bin/sh", "-c", "echo cleaned"}}});
  start({"--stop-leftovers"});
  EXPECT_EQ(join(), 0);
  EXPECT_EQ(read(log("a")), "cleaned\n");
}

TEST_F(SupervisorProcess, ASecondSupervisorOfTheSameHomeRefuses) {
  add("a", "exec sleep 600");
  start();
  ASSERT_TRUE(wait_for([&] { return pid_of("a") > 0; }));
  const int first = pid_;
  const int child = pid_of("a");
  start();
  EXPECT_EQ(join(), 1);
  EXPECT_EQ(pid_of("a"), child);
  pid_ = first;
}

TEST_F(SupervisorProcess, ReapsGrandchildrenThatLostTheirParent) {
  add("a", "(sleep 0.05 & echo $! > " + dir_ + "/orphan); exec sleep 600");
  start();
  ASSERT_TRUE(wait_for([&] { return !read(dir_ + "/orphan").empty(); }));
  const int orphan = std::stoi(read(dir_ + "/orphan"));
  // Gone for good, not a zombie: its entry in /proc disappears.
  EXPECT_TRUE(wait_for([&] { return read("/proc/" + std::to_string(orphan) + "/stat").empty(); }));
}

}  // namespace
}  // namespace trunkline::supervisor
