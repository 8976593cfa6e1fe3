// The JSON schema of a usage record's CloudEvent data, at `GET /v1/schemas/usage.json`. Pure.
#pragma once

#include <nlohmann/json.hpp>

namespace trunkline::gateway {

nlohmann::ordered_json usage_schema();

}  // namespace trunkline::gateway
