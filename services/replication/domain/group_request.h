// What an operator asks of a group: a switchover, or a failover that may lose writes. Pure; refused
// by the name of the rule that stands against it, else the failover that it starts.
#pragma once

#include "base/decision.h"
#include "replication/domain/group_facts.h"
#include "replication/domain/group_state.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {

// The rules of the decisions that are made here, and not by the table.
inline constexpr char kSwitchoverRequested[] = "switchover_requested";
inline constexpr char kFailoverRequested[] = "failover_requested";

Decision<v1::GroupEvent> decide_request(const GroupState& state, const v1::RequestSwitchover& c,
                                        const GroupFacts& facts, TimePoint now);
Decision<v1::GroupEvent> decide_request(const GroupState& state, const v1::RequestFailover& c,
                                        const GroupFacts& facts, TimePoint now);

}  // namespace trunkline::replication
