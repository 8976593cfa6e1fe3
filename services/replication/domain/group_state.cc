#include "replication/domain/group_state.h"

#include <algorithm>

namespace trunkline::replication {

const Member* find_member(const GroupState& state, const NodeId& id) {
  const auto found = std::find_if(state.members.begin(), state.members.end(),
                                  [&](const Member& member) { return member.id == id; });
  return found == state.members.end() ? nullptr : &*found;
}

Member* find_member(GroupState& state, const NodeId& id) {
  return const_cast<Member*>(find_member(static_cast<const GroupState&>(state), id));
}

const Member* primary_member(const GroupState& state) {
  return state.primary.empty() ? nullptr : find_member(state, state.primary);
}

const Failover* failover_under_way(const GroupState& state) {
  return state.failover && !state.failover->is_over ? &*state.failover : nullptr;
}

const SyncSet& assigned_sync_set(const GroupState& state) {
  return state.sync_pending.empty() ? state.sync_applied : state.sync_pending.back();
}

std::vector<SyncSet> possible_sync_sets(const GroupState& state) {
  std::vector<SyncSet> out{state.sync_applied};
  out.insert(out.end(), state.sync_pending.begin(), state.sync_pending.end());
  return out;
}

bool is_possible_sync_candidate(const GroupState& state, const NodeId& id) {
  return state.sync_applied.candidates.contains(id) ||
         std::any_of(state.sync_pending.begin(), state.sync_pending.end(),
                     [&](const SyncSet& set) { return set.candidates.contains(id); });
}

std::string_view role_name(AssignedRole role) {
  switch (role) {
    case AssignedRole::none:
      return "no role";
    case AssignedRole::primary:
      return "primary";
    case AssignedRole::standby:
      return "standby";
    case AssignedRole::fenced:
      return "fenced";
  }
  return "";
}

std::string_view kind_name(FailoverKind kind) {
  switch (kind) {
    case FailoverKind::failover:
      return "failover";
    case FailoverKind::switchover:
      return "switchover";
    case FailoverKind::override_by_operator:
      return "failover by an operator";
  }
  return "";
}

std::string_view progress_name(StandbyProgress progress) {
  switch (progress) {
    case StandbyProgress::none:
      return "none";
    case StandbyProgress::joining:
      return "joining";
    case StandbyProgress::streaming:
      return "streaming";
    case StandbyProgress::lost:
      return "lost";
    case StandbyProgress::rebuilding:
      return "rebuilding";
  }
  return "";
}

std::string sync_set_text(const SyncSet& set) {
  if (set.candidates.empty()) return "none";
  std::string ids;
  for (const NodeId& id : set.candidates) ids += (ids.empty() ? "" : ", ") + id.str();
  if (set.number == 0) return "asynchronous, voters " + ids;
  return "ANY " + std::to_string(set.number) + " of " + std::to_string(set.candidates.size()) +
         " (" + ids + ")";
}

}  // namespace trunkline::replication
