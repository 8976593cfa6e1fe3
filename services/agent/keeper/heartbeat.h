// The heartbeats of a guarded primary: a small local commit, and the question which voters have
// received it. Speaks just enough of PostgreSQL's protocol, over the server's Unix socket, never
// blocks, and keeps its session open, so that clients that use up all connections do not matter.
// For the keeper's one thread.
#pragma once

#include <cstdint>
#include <string>

#include "agent/keeper/lease_cell.h"

namespace trunkline::agent {

class Heartbeat {
 public:
  ~Heartbeat() { drop(); }
  int fd() const { return fd_; }  // -1: no session
  bool wants_to_write() const { return !out_.empty(); }
  int64_t wake_ms() const { return wake_ms_; }  // when step() is to be called at the latest
  // Goes on as far as it can. `wanted`: the lease is short. Returns the time at which a heartbeat
  // was written that `guard.need` voters have confirmed by now, or -1.
  int64_t step(const std::string& data_directory, const Guard& guard, bool wanted, int64_t now_ms);
  void drop();  // the session

 private:
  enum class Stage { closed, starting, idle, writing, asking };
  void open(const std::string& data_directory, int64_t now_ms);
  void fail(int64_t now_ms);
  void query(const std::string& sql, Stage stage, int64_t now_ms);
  bool transfer();       // false: the session is broken
  bool take_messages();  // false: the server said an error
  void ask(const Guard& guard, int64_t now_ms);

  int fd_ = -1;
  Stage stage_ = Stage::closed;
  bool ready_ = false;  // for the next query
  std::string in_;
  std::string out_;
  std::string value_;       // first column of the newest row
  std::string lsn_;         // of the heartbeat that is being confirmed
  int64_t written_ms_ = 0;  // when it began to be written
  int64_t sent_ms_ = 0;     // when the newest query was
  int64_t ask_ms_ = 0;      // when to ask (again)
  int64_t next_beat_ms_ = 0;
  int64_t retry_ms_ = 0;
  int64_t wake_ms_ = -1;
};

}  // namespace trunkline::agent
