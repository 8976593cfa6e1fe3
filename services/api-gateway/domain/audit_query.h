// GET /v1/audit: its query, and what OpenAPI says of it. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include "api-gateway/domain/caller.h"
#include "api-gateway/domain/plan.h"
#include "api-gateway/domain/target.h"

namespace trunkline::gateway {

Outcome<Plan> plan_audit(const QueryParameters& parameters, const Caller& caller);

nlohmann::ordered_json audit_parameters();
nlohmann::ordered_json audit_schema();  // of one entry

}  // namespace trunkline::gateway
