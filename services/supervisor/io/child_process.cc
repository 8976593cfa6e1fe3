#include "supervisor/io/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <stdexcept>

extern char** environ;

namespace trunkline::supervisor {
namespace {

// What may not be computed between fork and exec.
struct Prepared {
  std::vector<char*> argv;
  std::vector<std::string> env_text;
  std::vector<char*> env;
  bool switch_user = false;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  int log_fd = -1;
  int error_fd = -1;
  pid_t parent = 0;
  int signal_when_parent_dies = 0;
};

struct ChildError {
  char step[24];
  int error;
};

[[noreturn]] void fail(int error_fd, const char* step) {
  ChildError report{};
  std::strncpy(report.step, step, sizeof report.step - 1);
  report.error = errno;
  (void)!write(error_fd, &report, sizeof report);
  _exit(127);
}

[[noreturn]] void run_in_child(const Prepared& p) {
  setsid();
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null_fd = open("/dev/null", O_RDONLY);
  if (null_fd < 0 || dup2(null_fd, 0) < 0) fail(p.error_fd, "open /dev/null");
  if (dup2(p.log_fd, 1) < 0 || dup2(p.log_fd, 2) < 0) fail(p.error_fd, "dup2 of the log");
  umask(022);
  if (chdir("/") != 0) fail(p.error_fd, "chdir");
  if (p.switch_user) {
    if (setgroups(p.groups.size(), p.groups.data()) != 0) fail(p.error_fd, "setgroups");
    if (setresgid(p.gid, p.gid, p.gid) != 0) fail(p.error_fd, "setresgid");
    if (setresuid(p.uid, p.uid, p.uid) != 0) fail(p.error_fd, "setresuid");
  }
  // After the change of user, which would clear it.
  if (prctl(PR_SET_PDEATHSIG, p.signal_when_parent_dies) != 0) fail(p.error_fd, "prctl");
  if (getppid() != p.parent) _exit(127);
  execve(p.argv[0], p.argv.data(), p.env.data());
  fail(p.error_fd, "execve");
}

void look_up_user(const std::string& user, Prepared& p) {
  const passwd* entry = getpwnam(user.c_str());
  if (entry == nullptr) throw std::runtime_error("no such user: " + user);
  if (entry->pw_uid == geteuid()) return;
  p.switch_user = true;
  p.uid = entry->pw_uid;
  p.gid = entry->pw_gid;
  int count = 64;
  p.groups.resize(count);
  if (getgrouplist(user.c_str(), p.gid, p.groups.data(), &count) < 0) {
    throw std::runtime_error("too many groups: " + user);
  }
  p.groups.resize(count);
}

void prepare_environment(const std::map<std::string, std::string>& added, Prepared& p) {
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text(*variable);
    if (!added.contains(text.substr(0, text.find('=')))) p.env_text.push_back(text);
  }
  for (const auto& [name, value] : added) p.env_text.push_back(name + "=" + value);
  for (auto& text : p.env_text) p.env.push_back(text.data());
  p.env.push_back(nullptr);
}

std::optional<ChildError> read_error(int fd) {
  ChildError report{};
  ssize_t got = 0;
  do {
    got = read(fd, &report, sizeof report);
  } while (got < 0 && errno == EINTR);
  if (got != sizeof report) return std::nullopt;
  return report;
}

}  // namespace

int start_child(const ChildOptions& options) {
  Prepared p;
  std::vector<std::string> argv = options.argv;
  for (auto& argument : argv) p.argv.push_back(argument.data());
  p.argv.push_back(nullptr);
  prepare_environment(options.env, p);
  if (!options.user.empty()) look_up_user(options.user, p);
  p.parent = getpid();
  p.signal_when_parent_dies = options.signal_when_parent_dies;

  p.log_fd = options.log.empty() ? fcntl(1, F_DUPFD_CLOEXEC, 3)
                                 : open(options.log.c_str(),
                                        O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                                        0640);
  if (p.log_fd < 0) {
    throw std::runtime_error("cannot open " + options.log + ": " + std::strerror(errno));
  }
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) {
    close(p.log_fd);
    throw std::runtime_error(std::string("cannot make a pipe: ") + std::strerror(errno));
  }
  p.error_fd = error_pipe[1];

  const pid_t pid = fork();
  if (pid == 0) run_in_child(p);
  const int fork_errno = errno;
  close(p.log_fd);
  close(error_pipe[1]);
  const auto error = pid > 0 ? read_error(error_pipe[0]) : std::nullopt;
  close(error_pipe[0]);
  if (pid < 0) throw std::runtime_error(std::string("cannot fork: ") + std::strerror(fork_errno));
  if (error) {
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    throw std::runtime_error(argv[0] + ": " + error->step + ": " + std::strerror(error->error));
  }
  return pid;
}

}  // namespace trunkline::supervisor
