// The keeper: parent of one postmaster. Starts it, restarts it in place when it dies, stops it when
// asked, ends it when its lease is over, and survives everybody else. One thread, one poll loop.
//
// It listens on a datagram Unix socket for one-line requests and answers the sender:
//   status          -> "ok state=running pid=… restarts=… quick_deaths=… started_unix_us=… exit=…
//                      locked=… realtime=… term=… need=… voters=… until_ms=…"
//   stop fast       -> "ok"; the postmaster is asked to stop, then told, then killed; then the
//   stop immediate     keeper ends
//   restart         -> "ok"; stopped (fast) and started again; does not count as a restart
//   reload          -> "ok"; SIGHUP
//   guard none      -> "ok"; the postmaster needs no lease
//   guard <term> <until ms> <need> <id,id,…>
//                   -> "ok"; from now on it runs only until then, or so long as leases of the term
//                      or answers of `need` of the voters carry it on. "error no lease" if that is
//                      over already: nothing has changed then.
//   lease <term> <until ms>
//                   -> "ok"; "error other term" if it is not the guard's
//   start closed    -> "ok"; a postmaster that is fenced is started, and lets in its standbys and
//                      the agent alone (state "closed") until it may serve. "error not fenced".
//   hold            -> "ok"; a postmaster that dies is not started again before
//   release         -> "ok" (while it is promoted)
// Anything else is answered "error unknown request". SIGTERM is "stop fast". Times are
// CLOCK_BOOTTIME. When the lease is over, everything of the server is killed at once and it is not
// started again (state "fenced") before there is a lease; the keeper's second (second.h) does so
// when the keeper cannot. With less than two thirds of a lease left, heartbeats (heartbeat.h) go.
// Those of a closed postmaster are how it comes back when nobody grants leases: voters that confirm
// one follow it, and nobody else.
//
// The keeper's death leaves the postmaster running until its lease is over; a new keeper can adopt
// it, and takes guard and lease over from the file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "agent/keeper/heartbeat.h"
#include "agent/keeper/lease_cell.h"
#include "agent/keeper/postmaster_child.h"

namespace trunkline::agent {

struct KeeperOptions {
  PostmasterCommand command;
  int control_fd = -1;                    // bound, non-blocking
  std::string pid_file;                   // locked by this keeper
  LeaseCell* cell = nullptr;              // outlives the keeper
  pid_t adopt = 0;                        // a running postmaster instead of a new one
  Priority priority;                      // that this process has
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
  void start(bool closed);
  void let_in();
  void watch_adopted(pid_t pid);
  void reap();
  void on_postmaster_gone(int status);
  bool may_serve(int64_t now_ms) const { return !guard_.on() || now_ms < cell_.until_ms; }
  void enforce_lease();
  void beat();
  void take_guard(const Guard& guard);
  bool point_hba_at(const char* name) const;
  std::string hba_link() const { return options_.command.socket_directory + "/hba.conf"; }
  std::string answer_guard(const std::string& words);
  std::string answer_lease(const std::string& words);
  std::string status() const;
  void answer_requests();
  std::string answer(const std::string& request);
  void stop(int signal, bool start_again);
  void escalate(int64_t now_ms);
  void arm_timer();
  bool adopted() const { return pidfd_ >= 0; }

  KeeperOptions options_;
  LeaseCell& cell_;
  Guard guard_;  // as in the cell
  Heartbeat heartbeat_;
  pid_t second_ = 0;
  bool held_ = false;
  bool nobody_left_ = false;  // of the server that was killed
  bool expired_ = false;  // the postmaster was killed because its lease was over
  bool closed_ = false;   // as in the cell
  State state_ = State::waiting;
  pid_t pid_ = 0;
  int pidfd_ = -1;  // of an adopted postmaster, which is nobody's child here
  int signal_fd_ = -1;
  int timer_fd_ = -1;  // on CLOCK_BOOTTIME
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
