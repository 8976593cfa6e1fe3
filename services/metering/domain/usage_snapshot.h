// The folded state as a message, for a faster start. Pure.
#pragma once

#include <optional>

#include "metering/domain/usage_state.h"
#include "trunkline/v1/snapshot_metering.pb.h"

namespace trunkline::metering {

void save(const UsageState& state, v1::UsageSnapshot* snapshot);
// Nothing if it cannot be one of ours.
std::optional<UsageState> load(const v1::UsageSnapshot& snapshot);

}  // namespace trunkline::metering
