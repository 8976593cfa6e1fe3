// Folds events into InstanceState. Total: every event is taken as it stands, whatever the state;
// nothing is validated and nothing throws. `recorded_at` is the event's time in the log.
#pragma once

#include "base/clock.h"
#include "provisioner/domain/instance_state.h"

namespace trunkline::v1 {
class InstanceEvent;
class GroupEvent;
}  // namespace trunkline::v1

namespace trunkline::provisioner {

// An event of stream `instance-<id>`, in version order; raises state.version by one.
void evolve(InstanceState& state, const v1::InstanceEvent& event, TimePoint recorded_at);

// An event of stream `group-<id>` and its version there, in version order. Touches nothing but
// state.group; a version that was folded before changes nothing (a snapshot may be ahead of its
// position).
void evolve_from_group(InstanceState& state, const v1::GroupEvent& event, uint64_t version,
                       TimePoint recorded_at);

}  // namespace trunkline::provisioner
