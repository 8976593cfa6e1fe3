// JSON as it may come from a stranger: one object, no repeated keys (two readers could believe in
// different values), no NUL in strings, bounded depth and number of values. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "api-gateway/domain/problem.h"

namespace trunkline::gateway {

using nlohmann::json;

Outcome<json> parse_json_object(std::string_view text);

}  // namespace trunkline::gateway
