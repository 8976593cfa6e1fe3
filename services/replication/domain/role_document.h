// What a member's host is told: the content of an AssignRole task, as the state calls for it. The
// generation of the task is the group version at which this content last changed.
#pragma once

#include <optional>

#include "replication/domain/group_state.h"

namespace trunkline::replication {

struct RoleDocument {
  AssignedRole role = AssignedRole::none;
  uint64_t term = 0;
  uint64_t assigned_version = 0;  // a role that is assigned anew is a new document
  // Of a standby.
  NodeId upstream;
  Address upstream_address;
  // Of a primary.
  std::set<NodeId> standbys;  // one slot each
  SyncSet sync_set;
  bool opened_before = false;
  uint32_t timeline = 0;  // that a promotion begins
  // Of a standby.
  std::vector<TimelineBegin> history;
  // Of a fenced primary.
  milliseconds patience{0};
  bool operator==(const RoleDocument&) const = default;
};

// So long a fenced primary waits for its clients in a switchover.
inline constexpr milliseconds kSwitchoverPatience{2000};

// A member that had a role is fenced while its term has no primary, and from then on until it has a
// role in that term. In a switchover that is the old primary only: the others follow it until it
// has stopped. Nothing for a member without a role, for one that is being detached (its host keeps
// what it has until the box goes) and in a group that is being deleted.
std::optional<RoleDocument> role_document(const GroupState& state, const Member& member);

}  // namespace trunkline::replication
