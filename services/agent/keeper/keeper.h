// The keeper: parent of one postmaster. Starts it, restarts it in place when it dies, stops it when
// asked, and survives everybody else. One thread, one poll loop.
//
// It listens on a datagram Unix socket for one-line requests and answers the sender:
//   status          -> "ok state=running pid=… restarts=… quick_deaths=… started_unix_us=… exit=…"
//   stop fast       -> "ok"; the postmaster is asked to stop, then told, then killed; then the
//   stop immediate     keeper ends
//   restart         -> "ok"; stopped (fast) and started again; does not count as a restart
//   reload          -> "ok"; SIGHUP
// Anything else is answered "error unknown request". SIGTERM is "stop fast". The keeper's death
// leaves the postmaster running; a new keeper can adopt it. Requests that a later version adds
// (leases) take the same way.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "agent/keeper/postmaster_child.h"

namespace trunkline::agent {

struct KeeperOptions {
  PostmasterCommand command;
  int control_fd = -1;                    // bound, non-blocking
  pid_t adopt = 0;                        // a running postmaster instead of a new one
  uint64_t restarts = 0;                  // counted by keepers before this one
  int64_t fast_patience_ms = 20'000;      // then SIGQUIT
  int64_t immediate_patience_ms = 5'000;  // then SIGKILL
};

class Keeper {
 public:
  explicit Keeper(KeeperOptions options);
  // Runs until the postmaster has been stopped on request. SIGTERM, SIGINT and SIGCHLD must be
  // blocked in the process.
  int run();

 private:
  enum class State { waiting, running, stopping };
  void start();
  void watch_adopted(pid_t pid);
  void reap();
  void on_postmaster_gone(int status);
  void answer_requests();
  std::string answer(const std::string& request);
  void stop(int signal, bool start_again);
  void escalate(int64_t now_ms);
  int poll_timeout_ms(int64_t now_ms) const;
  bool adopted() const { return pidfd_ >= 0; }

  KeeperOptions options_;
  State state_ = State::waiting;
  pid_t pid_ = 0;
  int pidfd_ = -1;  // of an adopted postmaster, which is nobody's child here
  int signal_fd_ = -1;
  bool done_ = false;
  bool start_again_ = false;
  int64_t started_ms_ = 0;
  int64_t started_unix_us_ = 0;
  int64_t next_start_ms_ = 0;
  int64_t stop_deadline_ms_ = 0;
  int stop_signal_ = 0;
  uint64_t restarts_ = 0;
  uint32_t quick_deaths_ = 0;
  int last_exit_ = 0;
};

}  // namespace trunkline::agent
