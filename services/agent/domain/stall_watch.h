// Whether an open server serves: takes new sessions, and puts on disk what is written. Sessions
// that are there may answer on while neither is so. Pure; times are of a clock that only goes
// forward.
//
// Only time in which somebody looked counts: a machine that stood still accuses nobody.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace trunkline::agent {

class StallWatch {
 public:
  using milliseconds = std::chrono::milliseconds;
  static constexpr milliseconds kLongestGap{1500};
  // What is shorter is nothing.
  static constexpr milliseconds kNoticed{2000};

  void reset() { *this = StallWatch(); }

  // At each look, before it is asked and told.
  void look(milliseconds now) {
    const milliseconds gap = since(last_look_, now);
    if (is_asked_) unanswered_ += gap;
    last_look_ = now;
  }
  // A new session was asked for; none that was asked for before has been answered.
  void asked() { is_asked_ = true; }
  void answered() {
    is_asked_ = false;
    unanswered_ = milliseconds(0);
  }
  // As it was found `now`, once each time: how far the server's WAL is written and on disk, and
  // whether somebody waits for the disk.
  void wal(milliseconds now, uint64_t inserted, uint64_t flushed, bool is_waited_for) {
    const bool stands = inserted > flushed && flushed == flushed_ && is_waited_for;
    pending_ = stands ? pending_ + since(last_wal_, now) : milliseconds(0);
    last_wal_ = now;
    flushed_ = flushed;
  }
  milliseconds stalled() const {
    const milliseconds longest = std::max(unanswered_, pending_);
    return longest < kNoticed ? milliseconds(0) : longest;
  }

 private:
  static milliseconds since(std::optional<milliseconds> last, milliseconds now) {
    return std::clamp(now - last.value_or(now), milliseconds(0), kLongestGap);
  }
  std::optional<milliseconds> last_look_;
  bool is_asked_ = false;
  milliseconds unanswered_{0};
  std::optional<milliseconds> last_wal_;
  milliseconds pending_{0};
  uint64_t flushed_ = 0;
};

}  // namespace trunkline::agent
