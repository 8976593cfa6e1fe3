// What a decision saw, for the log, and back: decided again from what comes back, every row of the
// table and every request says the same. Pure and total: what is missing or does not fit is left
// out.
//
// Not kept: which agent sent a report and in which order (the newest one is what was kept), what a
// host says of nodes that are no members, hosts without a member.
#pragma once

#include "replication/domain/group_facts.h"
#include "replication/domain/group_state.h"

namespace trunkline::v1 {
class DecisionFacts;
}

namespace trunkline::replication {

struct SeenFacts {
  GroupFacts facts;
  TimePoint now;  // of the decision
};

void to_record(const GroupState& state, const GroupFacts& facts, TimePoint now,
               v1::DecisionFacts* out);
// `state` is the one that the decision saw: the fold of the stream up to the record's version.
SeenFacts from_record(const GroupState& state, const v1::DecisionFacts& record);

}  // namespace trunkline::replication
