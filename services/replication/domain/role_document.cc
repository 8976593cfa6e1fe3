#include "replication/domain/role_document.h"

namespace trunkline::replication {
namespace {

RoleDocument primary_document(const GroupState& state, const Member& primary) {
  RoleDocument out{.role = AssignedRole::primary,
                   .term = primary.term,
                   .assigned_version = primary.assigned_version,
                   .sync_set = assigned_sync_set(state),
                   .opened_before = state.ever_open,
                   .timeline = state.primary_timeline};
  for (const Member& member : state.members) {
    if (member.role == AssignedRole::standby && member.upstream == primary.id &&
        member.detach == DetachPhase::attached) {
      out.standbys.insert(member.id);
    }
  }
  return out;
}

std::optional<RoleDocument> standby_document(const GroupState& state, const Member& standby) {
  const Member* upstream = find_member(state, standby.upstream);
  if (upstream == nullptr) return std::nullopt;
  RoleDocument out{.role = AssignedRole::standby,
                   .term = standby.term,
                   .assigned_version = standby.assigned_version,
                   .upstream = standby.upstream,
                   .upstream_address = upstream->address};
  out.history = state.history;
  return out;
}

bool is_fenced(const GroupState& state, const Member& member) {
  if (!state.failover || state.failover->term != state.term) return false;
  if (member.term == 0 || member.term >= state.term) return false;
  return state.failover->kind != FailoverKind::switchover || member.id == state.failover->from;
}

std::optional<RoleDocument> fenced_document(const GroupState& state, const Member& member) {
  const Failover& failover = *state.failover;
  const bool waits = failover.kind == FailoverKind::switchover && member.id == failover.from;
  return RoleDocument{.role = AssignedRole::fenced,
                      .term = failover.term,
                      .assigned_version = failover.started_version,
                      .patience = waits ? kSwitchoverPatience : milliseconds(0)};
}

}  // namespace

std::optional<RoleDocument> role_document(const GroupState& state, const Member& member) {
  if (state.deleting || state.deleted) return std::nullopt;
  if (member.detach != DetachPhase::attached) return std::nullopt;
  if (is_fenced(state, member)) return fenced_document(state, member);
  switch (member.role) {
    case AssignedRole::none:
    case AssignedRole::fenced:
      return std::nullopt;
    case AssignedRole::primary:
      return primary_document(state, member);
    case AssignedRole::standby:
      return standby_document(state, member);
  }
  return std::nullopt;
}

}  // namespace trunkline::replication
