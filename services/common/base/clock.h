// Time as the domain sees it: UTC in microseconds, always passed in, never read here.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline {

using TimePoint = std::chrono::sys_time<std::chrono::microseconds>;
using std::chrono::milliseconds;
using std::chrono::seconds;

inline int64_t to_unix_us(TimePoint t) { return t.time_since_epoch().count(); }
inline TimePoint from_unix_us(int64_t us) { return TimePoint(std::chrono::microseconds(us)); }

// "2026-01-15T10:30:00.123456Z" (RFC 3339, always UTC, always six digits).
std::string format_rfc3339(TimePoint t);
// Any RFC 3339 date-time (offset or Z, 0-9 fraction digits); nothing if it is not one.
std::optional<TimePoint> parse_rfc3339(std::string_view text);

}  // namespace trunkline
