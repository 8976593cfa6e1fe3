// Decides a command of replication's own reactor or an operator's request. Pure. Asking again is
// always safe: what is so already, comes from an older term or was decided on an older version of
// the group is Ignored; a command that would break an invariant of the group is Rejected by the
// rule's name.
#pragma once

#include "base/clock.h"
#include "base/decision.h"
#include "replication/domain/group_facts.h"
#include "replication/domain/group_state.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {

// `facts` and `now`, on the facts' clock, are looked at for operators' requests only: all else
// comes from facts already.
Decision<v1::GroupEvent> decide(const GroupState& state, const v1::GroupCommand& command,
                                const GroupFacts& facts, TimePoint now);

}  // namespace trunkline::replication
