// GET …/instances/{uuid}/logs: what is asked for, and whose log that is. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "api-gateway/domain/problem.h"
#include "api-gateway/domain/strict_json.h"
#include "api-gateway/domain/target.h"

namespace trunkline::gateway {

inline constexpr uint32_t kMostLogLines = 10'000;

struct LogWish {
  std::string node;  // UUID; empty: the primary
  int64_t since_unix_us = 0;
  uint32_t lines = 200;
  bool follow = false;
};
Outcome<LogWish> parse_log_query(const QueryParameters& parameters);

struct LogSource {
  std::string host;
  std::string node;
};
// From the document of an instance. Without a primary: its first node.
Outcome<LogSource> choose_log(const json& instance, const std::string& node);

}  // namespace trunkline::gateway
