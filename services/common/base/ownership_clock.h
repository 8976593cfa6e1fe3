// Who may act as the one owner of a service's work, by a row that the owner renews and the others
// watch. Every process measures on its own clock, which never steps and counts suspend time; no two
// clocks are compared. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace trunkline {

// How the row is seen. A row that is not there is one without owner.
struct OwnershipRow {
  std::string owner;     // id of a process; empty: released
  int64_t renewals = 0;  // grows with every change
  bool operator==(const OwnershipRow&) const = default;
};

inline constexpr milliseconds kRenewEvery{1000};
inline constexpr milliseconds kOwnershipLasts{4000};  // from asking for a renewal that came
inline constexpr milliseconds kTakeOverAfter{5000};   // of seeing the row unchanged

class OwnershipClock {
 public:
  // The row, as it was read by `now`.
  void saw(const OwnershipRow& row, TimePoint now) {
    if (is_seen_ && row == row_) return;
    is_seen_ = true;
    row_ = row;
    seen_since_ = now;
  }
  const OwnershipRow& row() const { return row_; }
  // The take-over must name the row that was seen, and fail if it changed.
  bool may_take(TimePoint now) const {
    return is_seen_ && (row_.owner.empty() || now - seen_since_ >= kTakeOverAfter);
  }
  // The row was made ours, or renewed, by a statement that was sent at `asked_at`.
  void owned_since(TimePoint asked_at) { until_ = asked_at + kOwnershipLasts; }
  void lost() { until_ = TimePoint(); }

  bool owns(TimePoint now) const { return now < until_; }
  milliseconds left(TimePoint now) const {
    if (!owns(now)) return milliseconds(0);
    return std::chrono::duration_cast<milliseconds>(until_ - now);
  }

 private:
  bool is_seen_ = false;
  OwnershipRow row_;
  TimePoint seen_since_;
  TimePoint until_;
};

}  // namespace trunkline
