// Folding the log into usage. Total: never throws, and what cannot be (an event of an instance that
// was not created, usage of a node that nobody placed) changes nothing. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "metering/domain/usage_state.h"

namespace trunkline::metering {

struct LogEvent {
  int64_t position = 0;
  std::string_view stream;
  int64_t version = 0;
  uint32_t schema_version = 1;
  std::string_view payload;
  TimePoint recorded_at;
};

// True if events of the stream have a meaning here.
bool is_folded(std::string_view stream);

// One event after the other, in the order of their positions; one that was folded before changes
// nothing. Returns what is wrong with an event that cannot be read; it is then passed over.
std::optional<std::string> evolve(UsageState& state, const LogEvent& event, UsageChange& change);

}  // namespace trunkline::metering
