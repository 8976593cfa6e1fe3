#include "replication/domain/group_evolve.h"

#include <algorithm>
#include <map>
#include <utility>

#include "replication/domain/conversions.h"
#include "replication/domain/role_document.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {
namespace {

std::set<NodeId> staying(const GroupState& state) {
  std::set<NodeId> out;
  for (const Member& member : state.members) {
    if (!member.leaving) out.insert(member.id);
  }
  return out;
}

void on(GroupState& state, const v1::GroupMembershipChanged& e, TimePoint) {
  const std::set<NodeId> stayed = staying(state);
  std::map<NodeId, const v1::GroupMember*> wanted;
  for (const auto& member : e.members()) wanted[NodeId(member.node_id())] = &member;
  std::erase_if(state.members, [&](const Member& member) { return !wanted.contains(member.id); });
  for (const auto& message : e.members()) {
    const NodeId id(message.node_id());
    Member* member = find_member(state, id);
    if (member == nullptr) {
      state.members.push_back(Member{.id = id});
      member = &state.members.back();
    }
    member->address = to_address(message.address());
    member->leaving = message.leaving();
    // One that stays after all begins anew.
    if (!member->leaving && member->detach != DetachPhase::attached) {
      *member = Member{.id = id, .address = member->address};
    }
  }
  if (state.nodes_number != e.nodes_number() ||
      state.sync_replica_number != e.sync_replica_number() || staying(state) != stayed) {
    state.settled = false;
  }
  state.nodes_number = e.nodes_number();
  state.sync_replica_number = e.sync_replica_number();
  state.deleting = e.deleting();
}

void take_role(GroupState& state, Member& member, AssignedRole role, uint64_t term, TimePoint at) {
  member.role = role;
  member.term = term;
  member.assigned_version = state.version;
  member.assigned_at = at;
  member.upstream = NodeId();
  member.lost_why.clear();
  member.progress = StandbyProgress::none;
}

void end_failover(GroupState& state, const NodeId& promoted) {
  const Failover* failover = failover_under_way(state);
  if (failover == nullptr) return;
  const bool is_given_up =
      failover->kind == FailoverKind::switchover && promoted == failover->from;
  state.switchovers_given_up = is_given_up ? state.switchovers_given_up + 1 : 0;
  state.failover->is_over = true;
}

SyncSet& newest_sync_set(GroupState& state) {
  return state.sync_pending.empty() ? state.sync_applied : state.sync_pending.back();
}

void on(GroupState& state, const v1::PrimaryAssigned& e, TimePoint at) {
  const NodeId id(e.node_id());
  for (Member& member : state.members) {
    if (member.role == AssignedRole::primary && member.id != id) {
      take_role(state, member, AssignedRole::none, member.term, at);
    }
  }
  if (Member* member = find_member(state, id)) {
    take_role(state, *member, AssignedRole::primary, e.term(), at);
  }
  end_failover(state, id);
  state.primary = id;
  state.term = std::max(state.term, e.term());
  state.primary_open = false;
  state.primary_timeline = e.timeline();
  state.newest_timeline = std::max(state.newest_timeline, e.timeline());
  newest_sync_set(state).term = state.term;  // it opens with this one, or with a later one
  state.settled = false;
}

void on(GroupState& state, const v1::PrimaryOpened& e, TimePoint recorded_at) {
  state.primary = NodeId(e.node_id());
  state.term = std::max(state.term, e.term());
  if (e.timeline() > state.timeline) state.timeline_term = state.term;
  state.timeline = std::max(state.timeline, e.timeline());
  state.newest_timeline = std::max(state.newest_timeline, e.timeline());
  state.history = to_history(e.history());
  state.failovers_since_open = 0;
  state.primary_open = true;
  state.ever_open = true;
  state.primary_opened_at = recorded_at;
}

void on(GroupState& state, const v1::FailoverStarted& e, TimePoint at) {
  state.refused_rule.clear();
  state.refused_why.clear();
  state.failover = Failover{.term = e.term(),
                            .kind = to_kind(e.kind()),
                            .from = NodeId(e.from_node_id()),
                            .target = NodeId(e.target_id()),
                            .started_version = state.version,
                            .started_at = at};
  state.term = std::max(state.term, e.term());
  state.primary = NodeId();
  state.primary_open = false;
  state.settled = false;
  ++state.failovers_since_open;
}

void on(GroupState& state, const v1::FailoverBlocked& e, TimePoint) {
  if (failover_under_way(state) == nullptr) {
    state.refused_rule = e.term() == 0 ? "" : e.reason().rule();
    state.refused_why = e.term() == 0 ? "" : e.reason().why();
    return;
  }
  state.failover->blocked_rule = e.reason().rule();
  state.failover->blocked_why = e.reason().why();
}

void on(GroupState& state, const v1::StandbyAssigned& e, TimePoint at) {
  Member* member = find_member(state, NodeId(e.node_id()));
  if (member == nullptr) return;
  const bool was_lost =
      member->progress == StandbyProgress::lost || member->progress == StandbyProgress::rebuilding;
  std::string lost_why = std::move(member->lost_why);
  take_role(state, *member, AssignedRole::standby, e.term(), at);
  ++member->assignments;
  member->upstream = NodeId(e.upstream_id());
  member->progress = was_lost ? StandbyProgress::rebuilding : StandbyProgress::joining;
  if (was_lost) member->lost_why = std::move(lost_why);
}

void on(GroupState& state, const v1::StandbyStreaming& e, TimePoint) {
  Member* member = find_member(state, NodeId(e.node_id()));
  if (member == nullptr) return;
  member->progress = StandbyProgress::streaming;
  member->assignments = 0;
  member->lost_why.clear();
}

void on(GroupState& state, const v1::StandbyLost& e, TimePoint) {
  Member* member = find_member(state, NodeId(e.node_id()));
  if (member == nullptr) return;
  member->progress = StandbyProgress::lost;
  member->lost_why = e.why();
}

void on(GroupState& state, const v1::SyncSetAssigned& e, TimePoint) {
  state.sync_pending.push_back({.version = e.sync_version(),
                                .candidates = to_ids(e.candidates()),
                                .number = e.number(),
                                .term = state.term});
}

void on(GroupState& state, const v1::SyncSetApplied& e, TimePoint) {
  auto& pending = state.sync_pending;
  const auto applied = std::find_if(pending.begin(), pending.end(), [&](const SyncSet& set) {
    return set.version == e.sync_version();
  });
  if (applied == pending.end()) return;
  state.sync_applied = *applied;
  pending.erase(pending.begin(), applied + 1);
}

void on(GroupState& state, const v1::NodeDetachStarted& e, TimePoint) {
  if (Member* member = find_member(state, NodeId(e.node_id()))) {
    member->detach = DetachPhase::detaching;
  }
}

void on(GroupState& state, const v1::NodeDetached& e, TimePoint at) {
  Member* member = find_member(state, NodeId(e.node_id()));
  if (member == nullptr) return;
  take_role(state, *member, AssignedRole::none, member->term, at);
  member->detach = DetachPhase::detached;
}

void on(GroupState& state, const v1::GroupSettled&, TimePoint) {
  state.settled = true;
  state.ever_settled = true;
}

void on(GroupState& state, const v1::GroupDeleted&, TimePoint) {
  state.members.clear();
  state.deleted = true;
  state.settled = false;
}

void dispatch(GroupState& state, const v1::GroupEvent& event, TimePoint at) {
  using Case = v1::GroupEvent::BodyCase;
  switch (event.body_case()) {
    case Case::kGroupMembershipChanged:
      return on(state, event.group_membership_changed(), at);
    case Case::kPrimaryAssigned:
      return on(state, event.primary_assigned(), at);
    case Case::kPrimaryOpened:
      return on(state, event.primary_opened(), at);
    case Case::kStandbyAssigned:
      return on(state, event.standby_assigned(), at);
    case Case::kStandbyStreaming:
      return on(state, event.standby_streaming(), at);
    case Case::kStandbyLost:
      return on(state, event.standby_lost(), at);
    case Case::kSyncSetAssigned:
      return on(state, event.sync_set_assigned(), at);
    case Case::kSyncSetApplied:
      return on(state, event.sync_set_applied(), at);
    case Case::kNodeDetachStarted:
      return on(state, event.node_detach_started(), at);
    case Case::kNodeDetached:
      return on(state, event.node_detached(), at);
    case Case::kGroupSettled:
      return on(state, event.group_settled(), at);
    case Case::kGroupDeleted:
      return on(state, event.group_deleted(), at);
    case Case::kFailoverStarted:
      return on(state, event.failover_started(), at);
    case Case::kFailoverBlocked:
      return on(state, event.failover_blocked(), at);
    case Case::BODY_NOT_SET:
      return;
  }
}

using Documents = std::map<NodeId, std::optional<RoleDocument>>;

Documents documents(const GroupState& state) {
  Documents out;
  for (const Member& member : state.members) out[member.id] = role_document(state, member);
  return out;
}

}  // namespace

void evolve(GroupState& state, const v1::GroupEvent& event, TimePoint recorded_at) {
  Documents before = documents(state);
  ++state.version;
  dispatch(state, event, recorded_at);
  for (Member& member : state.members) {
    if (role_document(state, member) != before[member.id]) member.role_generation = state.version;
  }
}

}  // namespace trunkline::replication
