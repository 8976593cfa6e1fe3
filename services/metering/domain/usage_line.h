// Which usage a line of `GET /v1/usage` shows: its name needs no memory anywhere. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "metering/domain/meters.h"

namespace trunkline::metering {

struct UsageLine {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  std::string instance_id;
  std::string node_id;  // empty: of all its nodes
  Meter meter = Meter::seconds_new;
  bool operator==(const UsageLine&) const = default;
};

// Letters, digits, '-' and '_' only.
std::string line_name(const UsageLine& line);
std::optional<UsageLine> parse_line_name(std::string_view name);

// The types of the instance's events that the meter follows from; empty: it is counted by others.
const std::set<std::string, std::less<>>& event_types_of(Meter meter);

}  // namespace trunkline::metering
