// One owner of a service's work among its processes, by a row of the log's database (table
// log.ownership, base/ownership_clock.h). A thread of its own keeps it: watches the row, takes it
// when nobody renews it or its owner's session with the database has ended, renews it. owns() and
// left() may be asked from any thread and never wait.
//
// A process that has taken the row owns nothing yet before it has folded all that the log held
// then: it must not act on what an owner before it has overtaken.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "base/ownership_clock.h"

namespace trunkline::runtime {

class Ownership {
 public:
  struct Callbacks {
    std::function<int64_t()> position;    // up to which the log is folded
    std::function<void(bool)> on_change;  // on the thread
  };
  // `name` is that of the row; the database lets role tl_<name> have it only.
  Ownership(std::string dsn, std::string name);
  // Ends the thread and gives the row away, so that another process takes it at once. Nothing may
  // be done in the row's name any more.
  ~Ownership();
  Ownership(const Ownership&) = delete;
  Ownership& operator=(const Ownership&) = delete;

  void start(Callbacks callbacks);
  // Ends the thread; what is owned runs out by itself.
  void stop();

  bool owns() const { return left() > milliseconds(0); }
  milliseconds left() const;
  // When the present ownership began, on monotonic_now(); it was interrupted if this changes.
  TimePoint since() const;
  // What other processes granted before is over then, on monotonic_now(). May be in the past.
  TimePoint others_until() const;

 private:
  struct Session;
  void run();
  void look(Session& session);
  void renew(Session& session);
  void taken(Session& session, TimePoint asked_at, TimePoint others_until);
  void set_owned(bool owned);

  const std::string dsn_;
  const std::string name_;
  const std::string id_;
  Callbacks callbacks_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  OwnershipClock clock_;
  bool is_ours_ = false;    // the row
  bool is_folded_ = false;  // and all that was before
  int64_t must_fold_ = 0;
  TimePoint since_;
  TimePoint others_until_;
  bool was_owned_ = false;
  std::thread thread_;
};

}  // namespace trunkline::runtime
