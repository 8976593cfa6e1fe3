// GET …/instances/{uuid}/logs: what is asked for, and whose log that is. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "api-gateway/domain/problem.h"
#include "api-gateway/domain/strict_json.h"
#include "api-gateway/domain/target.h"
#include "trunkline/v1/node_log.pb.h"

namespace trunkline::gateway {

inline constexpr uint32_t kMostLogLines = 10'000;

// Names the place behind the last line of an answer: as a header of one that is whole, as a trailer
// of one that was followed. `from` takes it.
inline constexpr char kLogPlaceHeader[] = "X-Log-Place";

struct LogWish {
  std::string node;  // UUID; empty: the primary
  int64_t since_unix_us = 0;
  uint32_t lines = 200;
  bool follow = false;
  std::optional<v1::LogPlace> from;  // what comes behind it, of `node`; no lines and no time then
};
Outcome<LogWish> parse_log_query(const QueryParameters& parameters);

struct LogSource {
  std::string host;
  std::string node;
};
std::string log_place_text(const std::string& node, const v1::LogPlace& place);

// From the document of an instance. Without a primary: its first node.
Outcome<LogSource> choose_log(const json& instance, const std::string& node);

}  // namespace trunkline::gateway
