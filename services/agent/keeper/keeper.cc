#include "agent/keeper/keeper.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {
namespace {

constexpr int64_t kQuickDeathMs = 10'000;
constexpr int64_t kLongestBackoffMs = 10'000;

// Counts time asleep too.
int64_t boot_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

int64_t unix_us() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace

Keeper::Keeper(KeeperOptions options) : options_(std::move(options)), restarts_(options_.restarts) {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int sig : {SIGTERM, SIGINT, SIGCHLD}) ::sigaddset(&signals, sig);
  signal_fd_ = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

int Keeper::run() {
  if (options_.adopt > 0) {
    watch_adopted(options_.adopt);
  } else {
    start();
  }
  while (!done_) {
    pollfd fds[3] = {
        {signal_fd_, POLLIN, 0}, {options_.control_fd, POLLIN, 0}, {pidfd_, POLLIN, 0}};
    ::poll(fds, 3, poll_timeout_ms(boot_ms()));
    if ((fds[0].revents & POLLIN) != 0) {
      signalfd_siginfo info{};
      while (::read(signal_fd_, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGCHLD) stop(SIGINT, false);
      }
    }
    reap();
    if (adopted() && (fds[2].revents & POLLIN) != 0) on_postmaster_gone(0);
    if (!done_ && (fds[1].revents & POLLIN) != 0) answer_requests();
    const int64_t now = boot_ms();
    if (state_ == State::waiting && !done_ && now >= next_start_ms_) start();
    if (state_ == State::stopping) escalate(now);
    if (state_ == State::running && now - started_ms_ >= kQuickDeathMs) quick_deaths_ = 0;
  }
  return 0;
}

void Keeper::start() {
  const std::string& directory = options_.command.data_directory;
  if (const pid_t running = running_postmaster(directory)) {
    watch_adopted(running);
    return;
  }
  remove_stale_lock_files(options_.command);
  started_ms_ = boot_ms();
  started_unix_us_ = unix_us();
  pid_ = start_postmaster(options_.command);
  state_ = State::running;
  if (pid_ < 0) on_postmaster_gone(0);
}

void Keeper::watch_adopted(pid_t pid) {
  pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (pidfd_ >= 0 && running_postmaster(options_.command.data_directory) != pid) {
    ::close(pidfd_);  // the pid went to somebody else meanwhile
    pidfd_ = -1;
  }
  pid_ = pid;
  started_ms_ = boot_ms();
  started_unix_us_ = unix_us();
  state_ = State::running;
  if (pidfd_ < 0) on_postmaster_gone(0);
}

void Keeper::reap() {
  int status = 0;
  pid_t gone;
  while ((gone = ::waitpid(-1, &status, WNOHANG)) > 0) {
    if (gone == pid_ && !adopted()) on_postmaster_gone(status);
  }
}

void Keeper::on_postmaster_gone(int status) {
  if (pidfd_ >= 0) ::close(pidfd_);
  pidfd_ = -1;
  pid_ = 0;
  last_exit_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  kill_orphaned_backends(options_.command.data_directory);
  const int64_t now = boot_ms();
  if (state_ == State::stopping && !start_again_) {
    done_ = true;
    return;
  }
  const bool asked = state_ == State::stopping;
  state_ = State::waiting;
  start_again_ = false;
  next_start_ms_ = now;
  if (asked) return;
  ++restarts_;
  if (now - started_ms_ < kQuickDeathMs) ++quick_deaths_;
  if (quick_deaths_ > 1) {
    next_start_ms_ = now + std::min<int64_t>(kLongestBackoffMs, int64_t{100} << std::min<uint32_t>(
                                                                    quick_deaths_ - 2, 8));
  }
}

void Keeper::answer_requests() {
  for (int i = 0; i < 16; ++i) {
    char buffer[256];
    sockaddr_un from{};
    socklen_t from_size = sizeof from;
    const ssize_t n = ::recvfrom(options_.control_fd, buffer, sizeof buffer, MSG_DONTWAIT,
                                 reinterpret_cast<sockaddr*>(&from), &from_size);
    if (n < 0) return;
    const std::string reply = answer(std::string(buffer, static_cast<size_t>(n)));
    ::sendto(options_.control_fd, reply.data(), reply.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
             reinterpret_cast<sockaddr*>(&from), from_size);
  }
}

std::string Keeper::answer(const std::string& request) {
  if (request == "status") {
    const char* state = state_ == State::running    ? "running"
                        : state_ == State::stopping ? "stopping"
                                                    : "waiting";
    return std::string("ok state=") + state + " pid=" + std::to_string(pid_) +
           " keeper=" + std::to_string(::getpid()) + " restarts=" + std::to_string(restarts_) +
           " quick_deaths=" + std::to_string(quick_deaths_) +
           " started_unix_us=" + std::to_string(started_unix_us_) +
           " exit=" + std::to_string(last_exit_);
  }
  if (request == "stop fast") {
    stop(SIGINT, false);
  } else if (request == "stop immediate") {
    stop(SIGQUIT, false);
  } else if (request == "restart") {
    if (state_ != State::stopping) stop(SIGINT, true);
  } else if (request == "reload") {
    if (pid_ > 0) ::kill(pid_, SIGHUP);
  } else {
    return "error unknown request";
  }
  return "ok";
}

// Only ever gets harder: a later "fast" does not soften an "immediate".
void Keeper::stop(int signal, bool start_again) {
  start_again_ = start_again;
  if (pid_ <= 0) {
    if (start_again) {
      next_start_ms_ = boot_ms();
    } else {
      done_ = true;
    }
    return;
  }
  if (state_ == State::stopping && (stop_signal_ == signal || stop_signal_ != SIGINT)) return;
  state_ = State::stopping;
  stop_signal_ = signal;
  stop_deadline_ms_ =
      boot_ms() + (signal == SIGINT ? options_.fast_patience_ms : options_.immediate_patience_ms);
  ::kill(pid_, signal);
}

void Keeper::escalate(int64_t now_ms) {
  if (now_ms < stop_deadline_ms_ || pid_ <= 0) return;
  stop_signal_ = stop_signal_ == SIGINT ? SIGQUIT : SIGKILL;
  stop_deadline_ms_ = now_ms + options_.immediate_patience_ms;
  ::kill(pid_, stop_signal_);
}

int Keeper::poll_timeout_ms(int64_t now_ms) const {
  int64_t until = -1;
  if (state_ == State::waiting) until = next_start_ms_;
  if (state_ == State::stopping) until = stop_deadline_ms_;
  if (state_ == State::running && quick_deaths_ > 0) until = started_ms_ + kQuickDeathMs;
  if (until < 0) return -1;
  return static_cast<int>(std::clamp<int64_t>(until - now_ms, 0, 60'000));
}

}  // namespace trunkline::agent
