#include "replication/domain/group_snapshot.h"

#include "replication/domain/conversions.h"
#include "trunkline/v1/snapshot_group.pb.h"

namespace trunkline::replication {
namespace {

void to_snapshot(const SyncSet& set, v1::SyncSetSnapshot* out) {
  out->set_version(set.version);
  out->set_number(set.number);
  out->set_term(set.term);
  add_ids(set.candidates, out->mutable_candidates());
}

SyncSet from_snapshot(const v1::SyncSetSnapshot& m) {
  return {.version = m.version(),
          .candidates = to_ids(m.candidates()),
          .number = m.number(),
          .term = m.term()};
}

void to_snapshot(const Member& member, v1::MemberSnapshot* out) {
  out->set_node_id(member.id.str());
  *out->mutable_address() = to_proto(member.address);
  out->set_leaving(member.leaving);
  out->set_role(static_cast<uint32_t>(member.role));
  out->set_progress(static_cast<uint32_t>(member.progress));
  out->set_detach(static_cast<uint32_t>(member.detach));
  out->set_term(member.term);
  out->set_upstream_id(member.upstream.str());
  out->set_assigned_version(member.assigned_version);
  out->set_assigned_unix_us(to_unix_us(member.assigned_at));
  out->set_assignments(member.assignments);
  out->set_role_generation(member.role_generation);
  out->set_lost_why(member.lost_why);
}

Member from_snapshot(const v1::MemberSnapshot& m) {
  return {.id = NodeId(m.node_id()),
          .address = to_address(m.address()),
          .leaving = m.leaving(),
          .role = static_cast<AssignedRole>(m.role()),
          .progress = static_cast<StandbyProgress>(m.progress()),
          .detach = static_cast<DetachPhase>(m.detach()),
          .term = m.term(),
          .upstream = NodeId(m.upstream_id()),
          .assigned_version = m.assigned_version(),
          .assigned_at = from_unix_us(m.assigned_unix_us()),
          .assignments = m.assignments(),
          .role_generation = m.role_generation(),
          .lost_why = m.lost_why()};
}

void to_snapshot(const Failover& failover, v1::FailoverSnapshot* out) {
  out->set_term(failover.term);
  out->set_kind(static_cast<uint32_t>(failover.kind));
  out->set_from_id(failover.from.str());
  out->set_target_id(failover.target.str());
  out->set_started_version(failover.started_version);
  out->set_started_unix_us(to_unix_us(failover.started_at));
  out->set_blocked_rule(failover.blocked_rule);
  out->set_blocked_why(failover.blocked_why);
  out->set_is_over(failover.is_over);
}

Failover from_snapshot(const v1::FailoverSnapshot& m) {
  return {.term = m.term(),
          .kind = static_cast<FailoverKind>(m.kind()),
          .from = NodeId(m.from_id()),
          .target = NodeId(m.target_id()),
          .started_version = m.started_version(),
          .started_at = from_unix_us(m.started_unix_us()),
          .blocked_rule = m.blocked_rule(),
          .blocked_why = m.blocked_why(),
          .is_over = m.is_over()};
}

}  // namespace

void to_snapshot(const GroupState& state, v1::GroupSnapshot* out) {
  out->Clear();
  out->set_version(state.version);
  out->set_nodes_number(state.nodes_number);
  out->set_sync_replica_number(state.sync_replica_number);
  out->set_deleting(state.deleting);
  out->set_deleted(state.deleted);
  for (const Member& member : state.members) to_snapshot(member, out->add_members());
  out->set_term(state.term);
  out->set_primary(state.primary.str());
  out->set_primary_open(state.primary_open);
  out->set_ever_open(state.ever_open);
  out->set_timeline(state.timeline);
  out->set_primary_opened_unix_us(to_unix_us(state.primary_opened_at));
  to_snapshot(state.sync_applied, out->mutable_sync_applied());
  for (const SyncSet& set : state.sync_pending) to_snapshot(set, out->add_sync_pending());
  out->set_settled(state.settled);
  out->set_ever_settled(state.ever_settled);
  if (state.failover) to_snapshot(*state.failover, out->mutable_failover());
  add_history(state.history, out->mutable_history());
  out->set_newest_timeline(state.newest_timeline);
  out->set_primary_timeline(state.primary_timeline);
  out->set_refused_rule(state.refused_rule);
  out->set_refused_why(state.refused_why);
  out->set_failovers_since_open(state.failovers_since_open);
  out->set_switchovers_given_up(state.switchovers_given_up);
  out->set_timeline_term(state.timeline_term);
}

GroupState from_snapshot(const v1::GroupSnapshot& m) {
  GroupState out;
  out.version = m.version();
  out.nodes_number = m.nodes_number();
  out.sync_replica_number = m.sync_replica_number();
  out.deleting = m.deleting();
  out.deleted = m.deleted();
  for (const auto& member : m.members()) out.members.push_back(from_snapshot(member));
  out.term = m.term();
  out.primary = NodeId(m.primary());
  out.primary_open = m.primary_open();
  out.ever_open = m.ever_open();
  out.timeline = m.timeline();
  out.primary_opened_at = from_unix_us(m.primary_opened_unix_us());
  out.sync_applied = from_snapshot(m.sync_applied());
  for (const auto& set : m.sync_pending()) out.sync_pending.push_back(from_snapshot(set));
  out.settled = m.settled();
  out.ever_settled = m.ever_settled();
  if (m.has_failover()) out.failover = from_snapshot(m.failover());
  out.history = to_history(m.history());
  out.newest_timeline = m.newest_timeline();
  out.primary_timeline = m.primary_timeline();
  out.refused_rule = m.refused_rule();
  out.refused_why = m.refused_why();
  out.failovers_since_open = m.failovers_since_open();
  out.switchovers_given_up = m.switchovers_given_up();
  out.timeline_term = m.timeline_term();
  return out;
}

}  // namespace trunkline::replication
