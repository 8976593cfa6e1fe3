#include "replication/domain/group_quorum.h"

#include <algorithm>

namespace trunkline::replication {

size_t fenced_voters_needed(const SyncSet& set) {
  const size_t voters = set.candidates.size();
  if (voters == 0) return 0;
  const size_t need = std::max<size_t>(set.number, 1);
  return need >= voters ? 1 : voters - need + 1;
}

Quorum count_quorum(const std::vector<SyncSet>& sets, const std::map<NodeId, TimePoint>& fenced) {
  Quorum out;
  for (const SyncSet& set : sets) {
    const size_t needed = fenced_voters_needed(set);
    if (needed == 0) {
      out.is_possible = false;
      continue;
    }
    std::vector<TimePoint> times;
    std::vector<NodeId> missing;
    for (const NodeId& id : set.candidates) {
      const auto found = fenced.find(id);
      if (found == fenced.end()) {
        missing.push_back(id);
      } else {
        times.push_back(found->second);
      }
    }
    if (times.size() < needed) {
      out.missing.insert(missing.begin(), missing.end());
      continue;
    }
    std::sort(times.begin(), times.end());
    out.since = std::max(out.since, times[needed - 1]);
  }
  out.is_enough = out.is_possible && out.missing.empty() && !sets.empty();
  return out;
}

}  // namespace trunkline::replication
