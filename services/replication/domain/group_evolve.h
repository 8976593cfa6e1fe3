// Folds events into GroupState. Total: every event is taken as it stands, whatever the state;
// nothing is validated and nothing throws. `recorded_at` is the event's time in the log.
#pragma once

#include "base/clock.h"
#include "replication/domain/group_state.h"

namespace trunkline::v1 {
class GroupEvent;
}

namespace trunkline::replication {

// An event of stream `group-<id>`, in version order; raises state.version by one, and the
// role_generation of every member whose role document it changes.
void evolve(GroupState& state, const v1::GroupEvent& event, TimePoint recorded_at);

}  // namespace trunkline::replication
