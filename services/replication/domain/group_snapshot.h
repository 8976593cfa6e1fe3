// GroupState to and from its snapshot.
#pragma once

#include "replication/domain/group_state.h"

namespace trunkline::v1 {
class GroupSnapshot;
}

namespace trunkline::replication {

// Raise it with every change of what evolve() does or what the snapshot holds.
inline constexpr int kSnapshotFormat = 5;

void to_snapshot(const GroupState& state, v1::GroupSnapshot* out);
GroupState from_snapshot(const v1::GroupSnapshot& snapshot);

}  // namespace trunkline::replication
