// What is appended for a source at the end of a window: the differences between the counters that
// it told and what its stream says. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metering/domain/heard_book.h"
#include "metering/domain/usage_state.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {

// How many items one event names: it must fit into a message of the bus.
inline constexpr int kItemsAnEvent = 1500;
// A source may have last words of what ended for this long.
inline constexpr int64_t kLastWordsMs = 5 * 60'000;
// More than this at once is no usage but a broken counter; it is left out.
inline constexpr uint64_t kMostPlausible = uint64_t{1} << 50;

// The events of one append, for the stream of `heard` at the version that `state` has folded; none
// if the source was silent, or its stream has an event since `window_end_ms`.
std::vector<v1::UsageMeasured> decide_measure(const UsageState& state, const HeardSource& heard,
                                              int64_t window_end_ms);

}  // namespace trunkline::metering
