// How many voters a failover needs. The candidates of a sync set are its voters. With
// need = max(number, 1), a primary may serve while `need` of them answer it, and (number > 0) a
// write is acknowledged when `number` of them have it. So with more than candidates - need fenced,
// no `need` are left that could answer, and of every `number` that may have confirmed a write at
// least one is fenced: R + W > N. Pure.
#pragma once

#include <map>
#include <vector>

#include "base/clock.h"
#include "replication/domain/group_state.h"

namespace trunkline::replication {

// Of a set's voters; 0: it has none, and nobody can ever be promoted under it.
size_t fenced_voters_needed(const SyncSet& set);

struct Quorum {
  bool is_possible = true;       // no set is without voters
  bool is_enough = false;        // in each of the sets
  TimePoint since;               // if it is: when the last one that was needed came
  std::set<NodeId> missing;      // if it is not: not fenced, of the sets with too few
  std::set<NodeId> ahead;        // of those with too few else: have WAL that the heir has not
};
// Before their names.
inline constexpr char kAreAhead[] = "has WAL that nobody else has, and forked: ";
// `fenced`: who, since when.
Quorum count_quorum(const std::vector<SyncSet>& sets, const std::map<NodeId, TimePoint>& fenced);

}  // namespace trunkline::replication
