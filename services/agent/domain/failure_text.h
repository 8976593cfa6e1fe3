// What an agent says about single users and databases that cannot be made, short enough for a
// report that names every node of the host. Pure.
#pragma once

#include <vector>

#include "agent/domain/objects_plan.h"

namespace trunkline::agent {

inline constexpr size_t kFailureBytes = 200;      // of one text
inline constexpr size_t kFailuresWithText = 64;   // of one node; the others have their code only

std::vector<ObjectFailure> in_bounds(std::vector<ObjectFailure> failures);

}  // namespace trunkline::agent
