// Whose turn it is where requests wait. Pure.
#pragma once

#include <string>

#include "api-gateway/domain/caller.h"

namespace trunkline::gateway {

// All tokens of a project share a lane; each administrator has his own.
inline std::string fair_lane(const Caller& caller) {
  return caller.role == CallerRole::admin ? "admin/" + caller.token_id : caller.project_id;
}

}  // namespace trunkline::gateway
