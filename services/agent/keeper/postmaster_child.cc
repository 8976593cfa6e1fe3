#include "agent/keeper/postmaster_child.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {
namespace {

constexpr int kFirstWaitMs = 250;
constexpr int kLongestWaitMs = 1000;

}  // namespace

pid_t start_postmaster(const PostmasterCommand& command, const std::string& hba_file) {
  const std::string hba = "hba_file=" + hba_file;
  const char* argv[] = {command.postgres.c_str(), "-D", command.data_directory.c_str(),
                        hba_file.empty() ? nullptr : "-c", hba.c_str(), nullptr};
  const std::string preload = "LD_PRELOAD=" + command.preload;
  const std::string door = "TRUNKLINE_NODE_DOOR=" + command.door;
  const char* environment[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC",
                               // What it starts is taken before it, and before the platform.
                               "PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj",
                               command.is_spared ? "PG_OOM_ADJUST_VALUE=0"
                                                 : "PG_OOM_ADJUST_VALUE=300",
                               door.c_str(),
                               command.preload.empty() ? nullptr : preload.c_str(), nullptr};
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::setsid();
  restore(command.limits);
  for (const int fd : command.cgroup_fds) {
    // "0" is the writer. Without the limit the database still runs, so a failure is not fatal.
    if (::write(fd, "0", 1) != 1) continue;
  }
  sigset_t none;
  ::sigemptyset(&none);
  for (int sig = 1; sig < 32; ++sig) ::signal(sig, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null_fd = ::open("/dev/null", O_RDONLY);
  ::dup2(null_fd, 0);
  ::dup2(command.log_fd, 1);
  ::dup2(command.log_fd, 2);
  ::syscall(SYS_close_range, 3u, ~0u, 0u);
  ::execve(argv[0], const_cast<char**>(argv), const_cast<char**>(environment));
  ::_exit(127);
}

void remove_stale_lock_files(const PostmasterCommand& command) {
  if (running_postmaster(command.data_directory) != 0) return;
  ::unlink((command.data_directory + "/postmaster.pid").c_str());
  DIR* sockets = ::opendir(command.socket_directory.c_str());
  if (sockets == nullptr) return;
  while (const dirent* entry = ::readdir(sockets)) {
    if (std::strncmp(entry->d_name, ".s.PGSQL.", 9) != 0) continue;
    ::unlink((command.socket_directory + "/" + entry->d_name).c_str());
  }
  ::closedir(sockets);
}

// A dead postmaster starts nobody: whoever is found after its end is all there is.
bool kill_orphaned_backends(const std::string& data_directory) {
  for (int wait_ms = kFirstWaitMs; wait_ms <= kLongestWaitMs; wait_ms *= 2) {
    const auto left = postgres_processes_in(data_directory);
    for (const pid_t pid : left) ::kill(pid, SIGKILL);
    if (await_end(left, wait_ms)) return true;
  }
  return false;
}

bool kill_server(const std::string& data_directory) {
  if (const pid_t postmaster = running_postmaster(data_directory)) {
    const auto children = children_of(postmaster);
    ::kill(postmaster, SIGKILL);
    for (const pid_t child : children) ::kill(child, SIGKILL);
    await_end({postmaster}, kLongestWaitMs);
    await_end(children, kLongestWaitMs);
  }
  return kill_orphaned_backends(data_directory);
}

}  // namespace trunkline::agent
