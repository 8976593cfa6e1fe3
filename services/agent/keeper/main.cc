// trunkline-keeper: see keeper.h. Opens what it needs, drops its rights, binds its socket, and only
// then leaves its starter: when the starting process has ended with 0, requests can be sent.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "agent/keeper/keeper.h"
#include "agent/keeper/proc_scan.h"
#include "agent/keeper/sandbox.h"

namespace {

struct Arguments {
  trunkline::agent::KeeperOptions options;
  std::string log;
  std::string control;
  std::string pid_file;
  std::string guard;  // as in the request; not for an adopted postmaster
  std::vector<std::string> cgroups;
  std::vector<std::string> hidden;  // see sandbox.h
  std::vector<std::string> kept;
  bool check_sandbox = false;  // end at once: 0 if it can be entered
  long uid = -1;
  long gid = -1;
};

[[noreturn]] void die(const std::string& what) {
  dprintf(2, "trunkline-keeper: %s: %s\n", what.c_str(), strerror(errno));
  _exit(1);
}

Arguments parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const char* value = argv[i + 1];
    if (name == "--postgres")
      a.options.command.postgres = value;
    else if (name == "--data")
      a.options.command.data_directory = value;
    else if (name == "--log")
      a.log = value;
    else if (name == "--control")
      a.control = value;
    else if (name == "--pid-file")
      a.pid_file = value;
    else if (name == "--cgroup")
      a.cgroups.push_back(value);
    else if (name == "--preload")
      a.options.command.preload = value;
    else if (name == "--hide")
      a.hidden.push_back(value);
    else if (name == "--keep")
      a.kept.push_back(value);
    else if (name == "--check-sandbox")
      a.check_sandbox = true;
    else if (name == "--door")
      a.options.command.door = value;
    else if (name == "--uid")
      a.uid = std::strtol(value, nullptr, 10);
    else if (name == "--gid")
      a.gid = std::strtol(value, nullptr, 10);
    else if (name == "--adopt")
      a.options.adopt = static_cast<pid_t>(std::strtol(value, nullptr, 10));
    else if (name == "--guard")
      a.guard = value;
    else if (name == "--restarts")
      a.options.restarts = std::strtoull(value, nullptr, 10);
    else if (name == "--fast-ms")
      a.options.fast_patience_ms = std::strtoll(value, nullptr, 10);
    else if (name == "--immediate-ms")
      a.options.immediate_patience_ms = std::strtoll(value, nullptr, 10);
    else {
      errno = EINVAL;
      die(name);
    }
  }
  errno = EINVAL;
  if (a.check_sandbox) return a;
  if (a.options.command.postgres.empty() || a.options.command.data_directory.empty() ||
      a.log.empty() || a.control.empty() || a.pid_file.empty()) {
    die("--postgres, --data, --log, --control and --pid-file are needed");
  }
  return a;
}

void drop_rights(const Arguments& a) {
  if (a.uid < 0 || a.gid < 0) return;
  const auto gid = static_cast<gid_t>(a.gid);
  if (setgroups(1, &gid) != 0 || setresgid(gid, gid, gid) != 0) die("setgid");
  const auto uid = static_cast<uid_t>(a.uid);
  if (setresuid(uid, uid, uid) != 0) die("setuid");
  if (setuid(0) == 0) die("rights were not dropped");
}

// Nor does a program of another user's, such as sudo, give any to who has broken out of a database.
void take_no_more_rights() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) die("no_new_privs");
}

// A server that runs is looked after from where it is.
void go_to_sandbox(const Arguments& a) {
  const pid_t running = a.options.adopt > 0 ? a.options.adopt
                                            : trunkline::agent::running_postmaster(
                                                  a.options.command.data_directory);
  if (running > 0) {
    if (!trunkline::agent::join_sandbox(running)) die("the server's sandbox");
  } else if (!a.hidden.empty() && !trunkline::agent::enter_sandbox(a.hidden, a.kept)) {
    die("sandbox");
  }
}

int bind_control(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    die(path);
  }
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  unlink(path.c_str());
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die(path);
  return fd;
}

// A postmaster that runs goes on under the guard that it has run under.
void set_guard(Arguments& a) {
  auto& options = a.options;
  options.cell = trunkline::agent::map_lease_cell(options.pid_file + ".lease");
  if (options.adopt > 0 || trunkline::agent::running_postmaster(options.command.data_directory)) {
    return;
  }
  trunkline::agent::Guard guard;
  int64_t until = 0;
  std::istringstream in(a.guard);
  if (in >> guard.term >> until >> guard.need >> guard.voters) {
    if (!trunkline::agent::is_voter_list(guard.voters)) die("--guard");
  } else {
    guard = {};
  }
  options.cell->until_ms = until;
  write_guard(*options.cell, guard);
}

void write_pid(int fd) {
  const std::string text = std::to_string(getpid()) + "\n";
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text.data(), text.size(), 0) < 0) die("pid file");
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a = parse(argc, argv);
  if (a.check_sandbox) return trunkline::agent::enter_sandbox(a.hidden, a.kept) ? 0 : 1;
  syscall(SYS_close_range, 3u, ~0u, 0u);
  umask(0077);
  for (const auto& path : a.cgroups) {
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd >= 0) a.options.command.cgroup_fds.push_back(fd);
  }
  a.options.command.socket_directory = a.control.substr(0, a.control.rfind('/'));
  a.options.command.limits = trunkline::agent::allow_priority();
  a.options.command.is_spared = trunkline::agent::spare_from_oom();
  drop_rights(a);
  if (a.uid < 0) go_to_sandbox(a);
  take_no_more_rights();
  if (chdir("/") != 0) die("/");

  const int pid_fd = open(a.pid_file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (pid_fd < 0) die(a.pid_file);
  a.options.pid_file = a.pid_file;
  if (flock(pid_fd, LOCK_EX | LOCK_NB) != 0) die("another keeper of this node runs");
  set_guard(a);
  a.options.command.log_fd =
      open(a.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (a.options.command.log_fd < 0) die(a.log);
  a.options.control_fd = bind_control(a.control);

  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int sig : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&blocked, sig);
  sigprocmask(SIG_SETMASK, &blocked, nullptr);
  for (const int sig : {SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2}) signal(sig, SIG_IGN);

  setsid();
  const pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid > 0) _exit(0);
  write_pid(pid_fd);
  const int null_fd = open("/dev/null", O_RDWR);
  dup2(null_fd, 0);
  dup2(a.options.command.log_fd, 1);
  dup2(a.options.command.log_fd, 2);
  if (null_fd > 2) close(null_fd);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  a.options.priority = trunkline::agent::take_priority();
  trunkline::agent::Keeper keeper(a.options);
  const int code = keeper.run();
  unlink(a.control.c_str());
  unlink(a.pid_file.c_str());
  return code;
}
