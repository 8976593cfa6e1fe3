#include "agent/keeper/second.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "agent/keeper/postmaster_child.h"
#include "agent/keeper/priority.h"
#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {
namespace {

constexpr int64_t kLeewayMs = 20;  // so long the keeper has to do it itself

bool another_keeper(const std::string& pid_file) {
  const int fd = ::open(pid_file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  const bool held = ::flock(fd, LOCK_EX | LOCK_NB) != 0;
  ::close(fd);
  return held;
}

[[noreturn]] void watch(const LeaseCell& cell, const std::string& data_directory,
                        const std::string& pid_file, int keeper) {
  const int timer = ::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
  bool keeper_dead = false;
  while (true) {
    const int64_t now = boot_ms();
    const Guarded guarded = cell.guarded;
    const bool over = guarded == Guarded::yes && now >= cell.until_ms + kLeewayMs;
    if (keeper_dead && (guarded == Guarded::no || another_keeper(pid_file))) ::_exit(0);
    if (over) {
      if (running_postmaster(data_directory) != 0) kill_server(data_directory);
      if (keeper_dead) ::_exit(0);
    }
    const int64_t at = over || guarded != Guarded::yes ? now + 50 : cell.until_ms + kLeewayMs;
    itimerspec when{};
    when.it_value.tv_sec = at / 1000;
    when.it_value.tv_nsec = at % 1000 * 1'000'000 + 1;
    ::timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, nullptr);
    pollfd fds[2] = {{timer, POLLIN, 0}, {keeper_dead ? -1 : keeper, POLLIN, 0}};
    ::poll(fds, 2, -1);
    if (fds[1].revents != 0) keeper_dead = true;
  }
}

}  // namespace

pid_t start_second(const LeaseCell& cell, const std::string& data_directory,
                   const std::string& pid_file) {
  const int keeper = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  const pid_t pid = ::fork();
  if (pid == 0) {
    // Nothing of the keeper's is kept open: not its socket, and not the lock on its pid file.
    if (keeper != 3) ::dup2(keeper, 3);
    ::syscall(SYS_close_range, 4u, ~0u, 0u);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::prctl(PR_SET_NAME, "keeper-second");
    take_priority();
    watch(cell, data_directory, pid_file, 3);
  }
  ::close(keeper);
  return pid;
}

}  // namespace trunkline::agent
