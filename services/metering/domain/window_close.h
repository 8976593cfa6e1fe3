// When windows are closed. What a close yields is the fold's business. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "metering/domain/usage_state.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {

struct WindowRules {
  int64_t length_ms = 60'000;  // divides an hour
  int64_t grace_ms = 5'000;
};

// The end of the newest window that is over at `now_ms`, on the log's clock.
int64_t window_end(const WindowRules& rules, int64_t now_ms);

// The close that is due, or nothing: all is closed, or nothing is there that could be in a record.
std::optional<v1::UsageWindowClosed> decide_close(const UsageState& state,
                                                  const WindowRules& rules, int64_t now_ms);

}  // namespace trunkline::metering
