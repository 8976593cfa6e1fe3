// How often what database users do by SQL becomes an event. They can do it as fast as they like, an
// instance has a thousand of them, and the log keeps everything for ever. Pure.
//
// All objects of an instance together have room for kSqlBurst events, and for one more every
// kSqlEvery, of each kind in SqlPaid apart. After a password or a drift an object has a rest, which
// is longer than kSqlEvery, so that what one user does again and again leaves room for the others.
#pragma once

#include <algorithm>
#include <chrono>
#include <string_view>

#include "base/clock.h"

namespace trunkline::provisioner {

// `what` of an ObjectNote.
inline constexpr std::string_view kPasswordChanged = "password_changed";
inline constexpr std::string_view kDrifted = "drifted";

// Until it is over, a user's password is not adopted again; then the one that it has.
inline constexpr std::chrono::minutes kAdoptRest{1};
inline constexpr std::chrono::minutes kDriftRest{10};

inline constexpr int kSqlBurst = 100;
inline constexpr std::chrono::seconds kSqlEvery{10};

// Of each kind: until then the events so far use up what there is room for. What ends a failure or
// a stop is free, and so is the outcome of an order.
struct SqlPaid {
  TimePoint adoptions;
  TimePoint drifts;
  TimePoint disarmed;
  TimePoint failures;  // of what was applied
  TimePoint stops;     // of clients' writes
  bool operator==(const SqlPaid&) const = default;
};

// `paid`: as of the events so far.
inline TimePoint paid_until(TimePoint paid, TimePoint at) {
  return std::max(paid, at) + kSqlEvery;
}
inline bool has_room(TimePoint paid, TimePoint now) {
  return paid_until(paid, now) <= now + kSqlBurst * kSqlEvery;
}

}  // namespace trunkline::provisioner
