#include "replication/domain/role_document.h"

namespace trunkline::replication {
namespace {

RoleDocument primary_document(const GroupState& state, const Member& primary) {
  RoleDocument out{.role = AssignedRole::primary,
                   .term = primary.term,
                   .assigned_version = primary.assigned_version,
                   .sync_set = assigned_sync_set(state),
                   .opened_before = state.ever_open};
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
  return RoleDocument{.role = AssignedRole::standby,
                      .term = standby.term,
                      .assigned_version = standby.assigned_version,
                      .upstream = standby.upstream,
                      .upstream_address = upstream->address};
}

}  // namespace

std::optional<RoleDocument> role_document(const GroupState& state, const Member& member) {
  if (state.deleting || state.deleted) return std::nullopt;
  if (member.detach != DetachPhase::attached) return std::nullopt;
  switch (member.role) {
    case AssignedRole::none:
      return std::nullopt;
    case AssignedRole::primary:
      return primary_document(state, member);
    case AssignedRole::standby:
      return standby_document(state, member);
  }
  return std::nullopt;
}

}  // namespace trunkline::replication
