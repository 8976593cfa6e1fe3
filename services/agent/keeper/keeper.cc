#include "agent/keeper/keeper.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "agent/keeper/proc_scan.h"
#include "agent/keeper/second.h"

namespace trunkline::agent {
namespace {

constexpr int64_t kQuickDeathMs = 10'000;
constexpr int64_t kLongestBackoffMs = 10'000;
constexpr int64_t kReplyLeaseMs = 1500;  // from the writing of a heartbeat that was confirmed
constexpr int64_t kShortLeaseMs = 1300;  // with less left, heartbeats go out

int64_t unix_us() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace

Keeper::Keeper(KeeperOptions options)
    : options_(std::move(options)), cell_(*options_.cell), restarts_(options_.restarts) {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int sig : {SIGTERM, SIGINT, SIGCHLD}) ::sigaddset(&signals, sig);
  signal_fd_ = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  timer_fd_ = ::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
}

int Keeper::run() {
  closed_ = cell_.guarded == Guarded::closed;
  take_guard(read_guard(cell_));
  if (options_.adopt > 0) {
    watch_adopted(options_.adopt);
  } else if (may_serve(boot_ms())) {
    start(false);
  }
  while (!done_) {
    arm_timer();
    const auto beats = static_cast<short>(heartbeat_.wants_to_write() ? POLLIN | POLLOUT : POLLIN);
    pollfd fds[5] = {{signal_fd_, POLLIN, 0},
                     {options_.control_fd, POLLIN, 0},
                     {pidfd_, POLLIN, 0},
                     {timer_fd_, POLLIN, 0},
                     {heartbeat_.fd(), beats, 0}};
    ::poll(fds, 5, -1);
    if ((fds[0].revents & POLLIN) != 0) {
      signalfd_siginfo info{};
      while (::read(signal_fd_, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGCHLD) stop(SIGINT, false);
      }
    }
    enforce_lease();
    reap();
    if (adopted() && (fds[2].revents & POLLIN) != 0) on_postmaster_gone(0);
    if (!done_ && (fds[1].revents & POLLIN) != 0) answer_requests();
    beat();
    let_in();
    const int64_t now = boot_ms();
    const bool may_start = !held_ && may_serve(now) && now >= next_start_ms_;
    if (state_ == State::waiting && !done_ && may_start) start(false);
    if (state_ == State::stopping) escalate(now);
    if (state_ == State::running && now - started_ms_ >= kQuickDeathMs) quick_deaths_ = 0;
  }
  take_guard({});
  return 0;
}

// Before anything else that a wake-up is for: what follows may take its time.
void Keeper::enforce_lease() {
  if (pid_ <= 0 || closed_ || may_serve(boot_ms())) return;
  expired_ = true;
  nobody_left_ = kill_server(options_.command.data_directory);
  if (adopted()) on_postmaster_gone(128 + SIGKILL);
}

void Keeper::beat() {
  if (!guard_.on() || state_ != State::running) {
    heartbeat_.drop();
    return;
  }
  const int64_t now = boot_ms();
  const int64_t written = heartbeat_.step(options_.command.data_directory, guard_,
                                          cell_.until_ms - now < kShortLeaseMs, now);
  if (written >= 0) {
    cell_.until_ms = std::max<int64_t>(cell_.until_ms, written + kReplyLeaseMs);
  }
}

void Keeper::take_guard(const Guard& guard) {
  guard_ = guard;
  write_guard(cell_, guard, closed_);
  if (guard.on() && second_ <= 0) {
    second_ = start_second(cell_, options_.command.data_directory, options_.pid_file);
  } else if (!guard.on() && second_ > 0) {
    ::kill(second_, SIGKILL);
    ::waitpid(second_, nullptr, 0);
    second_ = 0;
  }
}

void Keeper::start(bool closed) {
  const std::string& directory = options_.command.data_directory;
  if (const pid_t running = running_postmaster(directory)) {
    watch_adopted(running);
    return;
  }
  remove_stale_lock_files(options_.command);
  started_ms_ = boot_ms();
  started_unix_us_ = unix_us();
  if (closed) {
    if (!point_hba_at("pg_hba_closed.conf")) return;
    closed_ = true;
    take_guard(guard_);
  }
  pid_ = start_postmaster(options_.command, closed ? hba_link() : "");
  state_ = State::running;
  if (pid_ < 0) on_postmaster_gone(0);
}

// Guarded again before anybody is let in.
void Keeper::let_in() {
  if (!closed_ || pid_ <= 0 || !may_serve(boot_ms())) return;
  closed_ = false;
  take_guard(guard_);
  if (point_hba_at("pg_hba.conf")) {
    ::kill(pid_, SIGHUP);
  } else {
    kill_server(options_.command.data_directory);
  }
}

bool Keeper::point_hba_at(const char* name) const {
  const std::string target = options_.command.data_directory + "/" + name;
  const std::string link = hba_link();
  const std::string next = link + ".next";
  ::unlink(next.c_str());
  return ::symlink(target.c_str(), next.c_str()) == 0 && ::rename(next.c_str(), link.c_str()) == 0;
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
    if (gone == second_) {
      second_ = 0;
      take_guard(guard_);
    }
    if (gone == pid_ && !adopted()) on_postmaster_gone(status);
  }
}

void Keeper::on_postmaster_gone(int status) {
  if (pidfd_ >= 0) ::close(pidfd_);
  pidfd_ = -1;
  pid_ = 0;
  heartbeat_.drop();
  last_exit_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  if (!std::exchange(nobody_left_, false)) kill_orphaned_backends(options_.command.data_directory);
  const bool expired = std::exchange(expired_, false);
  if (std::exchange(closed_, false)) take_guard(guard_);
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
  if (expired) return;
  if (now - started_ms_ < kQuickDeathMs) ++quick_deaths_;
  if (quick_deaths_ > 1) {
    next_start_ms_ = now + std::min<int64_t>(kLongestBackoffMs, int64_t{100} << std::min<uint32_t>(
                                                                    quick_deaths_ - 2, 8));
  }
}

void Keeper::answer_requests() {
  for (int i = 0; i < 16; ++i) {
    char buffer[4096];
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

std::string Keeper::status() const {
  const char* state = state_ == State::running && closed_ ? "closed"
                      : state_ == State::running        ? "running"
                      : state_ == State::stopping       ? "stopping"
                      : may_serve(boot_ms()) ? "waiting"
                                             : "fenced";
  std::string out = std::string("ok state=") + state;
  const auto add = [&](const char* name, const std::string& value) {
    out += std::string(" ") + name + "=" + value;
  };
  add("pid", std::to_string(pid_));
  add("keeper", std::to_string(::getpid()));
  add("restarts", std::to_string(restarts_));
  add("quick_deaths", std::to_string(quick_deaths_));
  add("started_unix_us", std::to_string(started_unix_us_));
  add("exit", std::to_string(last_exit_));
  add("held", held_ ? "1" : "0");
  add("locked", options_.priority.memory_locked ? "1" : "0");
  add("realtime", options_.priority.realtime ? "1" : "0");
  if (!guard_.on()) return out;
  add("term", std::to_string(guard_.term));
  add("need", std::to_string(guard_.need));
  add("voters", guard_.voters);
  add("until_ms", std::to_string(cell_.until_ms));
  return out;
}

// What is guarded already stays so under its lease; what was not is never ended by being guarded.
std::string Keeper::answer_guard(const std::string& words) {
  if (words == "none") {
    take_guard({});
    return "ok";
  }
  std::istringstream in(words);
  Guard guard;
  int64_t until = 0;
  if (!(in >> guard.term >> until >> guard.need >> guard.voters) || !is_voter_list(guard.voters) ||
      guard.need == 0) {
    return "error unknown request";
  }
  if (guard_.on() && guard.term < guard_.term) return "error other term";
  if (guard_.on() && guard.term == guard_.term) until = std::max<int64_t>(until, cell_.until_ms);
  if (boot_ms() >= until && pid_ > 0) return "error no lease";
  cell_.until_ms = until;
  take_guard(guard);
  return "ok";
}

std::string Keeper::answer_lease(const std::string& words) {
  std::istringstream in(words);
  uint64_t term = 0;
  int64_t until = 0;
  if (!(in >> term >> until)) return "error unknown request";
  if (!guard_.on() || term != guard_.term) return "error other term";
  cell_.until_ms = std::max<int64_t>(cell_.until_ms, until);
  return "ok";
}

std::string Keeper::answer(const std::string& request) {
  if (request == "status") return status();
  if (request.starts_with("guard ")) return answer_guard(request.substr(6));
  if (request.starts_with("lease ")) return answer_lease(request.substr(6));
  if (request == "stop fast") {
    stop(SIGINT, false);
  } else if (request == "stop immediate") {
    stop(SIGQUIT, false);
  } else if (request == "restart") {
    if (state_ != State::stopping) stop(SIGINT, true);
  } else if (request == "reload") {
    if (pid_ > 0) ::kill(pid_, SIGHUP);
  } else if (request == "start closed") {
    const int64_t now = boot_ms();
    if (state_ != State::waiting || held_ || may_serve(now) || now < next_start_ms_) {
      return "error not fenced";
    }
    start(true);
  } else if (request == "hold" || request == "release") {
    held_ = request == "hold";
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

void Keeper::arm_timer() {
  const int64_t now = boot_ms();
  int64_t at = -1;
  const auto wake_at = [&](int64_t ms) {
    if (ms >= 0 && (at < 0 || ms < at)) at = ms;
  };
  if (state_ == State::waiting && !held_ && may_serve(now)) wake_at(next_start_ms_);
  if (state_ == State::stopping) wake_at(stop_deadline_ms_);
  if (state_ == State::running && quick_deaths_ > 0) wake_at(started_ms_ + kQuickDeathMs);
  if (guard_.on() && pid_ > 0) wake_at(cell_.until_ms);
  if (guard_.on() && state_ == State::running) {
    wake_at(heartbeat_.wake_ms());
    if (cell_.until_ms - now >= kShortLeaseMs) wake_at(cell_.until_ms - kShortLeaseMs + 1);
  }
  itimerspec when{};
  if (at >= 0) {
    when.it_value.tv_sec = at / 1000;
    when.it_value.tv_nsec = at % 1000 * 1'000'000 + 1;
  }
  ::timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &when, nullptr);
}

}  // namespace trunkline::agent
