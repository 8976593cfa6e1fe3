#include "replication/domain/group_history.h"

#include <algorithm>
#include <limits>

namespace trunkline::replication {
namespace {

using History = std::vector<TimelineBegin>;

// Where the two part; the end of WAL that goes on along the longer one.
uint64_t parting(const History& a, const History& b) {
  constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();
  const size_t shared = std::min(a.size(), b.size());
  for (size_t i = 0; i < shared; ++i) {
    if (a[i] != b[i]) return std::min(a[i].begin_lsn, b[i].begin_lsn);
  }
  if (a.size() == b.size()) return kNever;
  return (a.size() > b.size() ? a : b)[shared].begin_lsn;
}

}  // namespace

bool history_fits(const GroupState& state, const NodeSeen& seen) {
  const auto& log = state.history;
  const auto& own = seen.history;
  const size_t shared = std::min(log.size(), own.size());
  if (!std::equal(own.begin(), own.begin() + static_cast<ptrdiff_t>(shared), log.begin())) {
    return false;
  }
  if (own.size() >= log.size()) return true;  // of a promotion that nobody saw open, perhaps
  return seen.flush_lsn <= log[own.size()].begin_lsn;
}

bool continues_newest_primary(const GroupState& state, const NodeSeen& seen) {
  return !state.history.empty() && seen.timeline >= state.timeline &&
         seen.history.size() >= state.history.size() && history_fits(state, seen) &&
         seen.flush_lsn >= state.history.back().begin_lsn;
}

bool has_all_of(const GroupState& state, const NodeSeen& next, const NodeSeen& other) {
  const History& path = next.history.size() >= state.history.size() ? next.history : state.history;
  return std::min(other.flush_lsn, parting(path, other.history)) <= next.flush_lsn;
}

}  // namespace trunkline::replication
