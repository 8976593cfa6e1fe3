// Who may act as the one owner of a service's work, by a row that the owner renews and the others
// watch. Every process measures on its own clock, which never steps and counts suspend time; no two
// clocks are compared. Pure; not thread-safe.
//
// The database also knows whether the owner's session with it lives: it ends at once when the
// process is killed. An owner without one is taken over soon. It may live all the same, and act in
// the row's name until its time is over: so who takes the row asks others_until().
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"

namespace trunkline {

// How the row is seen. A row that is not there is one without owner.
struct OwnershipRow {
  std::string owner;     // id of a process; empty: released
  int64_t renewals = 0;  // grows with every change
  bool operator==(const OwnershipRow&) const = default;
};

inline constexpr milliseconds kRenewEvery{500};
inline constexpr milliseconds kOwnershipLasts{3000};  // from asking for a renewal that came
inline constexpr milliseconds kTakeOverAfter{4000};   // of seeing the row unchanged
inline constexpr milliseconds kGoneFor{500};          // its owner's session: time to connect again

class OwnershipClock {
 public:
  // The row, as it was read by `now`, and whether its owner had a session then.
  void saw(const OwnershipRow& row, bool has_session, TimePoint now) {
    if (!is_seen_ || row != row_) {
      is_seen_ = true;
      row_ = row;
      seen_since_ = now;
      gone_since_.reset();
    }
    if (has_session) gone_since_.reset();
    if (!has_session && !gone_since_) gone_since_ = now;
  }
  // It could not be seen.
  void saw_nothing() { gone_since_.reset(); }
  const OwnershipRow& row() const { return row_; }
  // The take-over must name the row that was seen, and fail if it changed.
  bool may_take(TimePoint now) const {
    if (!is_seen_) return false;
    return row_.owner.empty() || now - seen_since_ >= kTakeOverAfter ||
           (gone_since_ && now - *gone_since_ >= kGoneFor);
  }
  // If it is taken: what others granted in the row's name is over then. Whoever had it may act as
  // long as its newest renewal lasts, and that was before the row was seen as it is.
  TimePoint others_until() const { return seen_since_ + kOwnershipLasts; }
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
  std::optional<TimePoint> gone_since_;
  TimePoint until_;
};

}  // namespace trunkline
