#include "replication/domain/group_decide.h"

#include <algorithm>
#include <map>
#include <optional>

#include "replication/domain/conversions.h"
#include "replication/domain/group_request.h"

namespace trunkline::replication {
namespace {

using Outcome = Decision<v1::GroupEvent>;

Outcome broken(std::string rule, std::string message) {
  return reject(RejectionBlame::conflict, std::move(rule), std::move(message));
}

template <class Fill>
Outcome one_event(Fill fill) {
  v1::GroupEvent event;
  fill(event);
  return accept<v1::GroupEvent>({std::move(event)});
}

// ---- membership ----------------------------------------------------------------------------

bool same_membership(const GroupState& state, const v1::SyncMembership& c) {
  if (state.nodes_number != c.nodes_number() ||
      state.sync_replica_number != c.sync_replica_number() || state.deleting != c.deleting() ||
      static_cast<size_t>(c.members_size()) != state.members.size()) {
    return false;
  }
  return std::all_of(c.members().begin(), c.members().end(), [&](const v1::GroupMember& m) {
    const Member* member = find_member(state, NodeId(m.node_id()));
    return member != nullptr && member->leaving == m.leaving() &&
           member->address == to_address(m.address());
  });
}

Outcome on(const GroupState& state, const v1::SyncMembership& c) {
  std::set<NodeId> ids;
  for (const auto& member : c.members()) {
    if (!is_uuid(member.node_id())) {
      return reject(RejectionBlame::bad_value, "node_id_must_be_uuid",
                    "members.node_id must be a UUID");
    }
    if (!ids.insert(NodeId(member.node_id())).second) {
      return reject(RejectionBlame::bad_value, "members_must_differ",
                    "members.node_id must name each node once: " + member.node_id());
    }
  }
  if (state.version == 0 && c.deleting() && c.members().empty()) {
    return ignore("the group never was");
  }
  if (state.version > 0 && same_membership(state, c)) return ignore("the membership is known");

  std::vector<v1::GroupEvent> events;
  auto* changed = events.emplace_back().mutable_group_membership_changed();
  changed->set_nodes_number(c.nodes_number());
  changed->set_sync_replica_number(c.sync_replica_number());
  *changed->mutable_members() = c.members();
  changed->set_deleting(c.deleting());
  if (c.deleting() && c.members().empty()) events.emplace_back().mutable_group_deleted();
  return accept(std::move(events));
}

// ---- what the table decided ----------------------------------------------------------------

Outcome failover_is_under_way() {
  return broken("failover_under_way", "the group has no primary: a failover is under way");
}

Outcome assign(const GroupState& state, const v1::PrimaryAssigned& a, const v1::Reason& reason) {
  if (failover_under_way(state) != nullptr) return failover_is_under_way();
  if (state.ever_open) {
    return broken("promotion_needs_failover",
                  "a group that had an open primary gets another by a failover only");
  }
  if (a.term() != state.term + 1) {
    return broken("term_must_grow_by_one",
                  "primary_assigned.term must be " + std::to_string(state.term + 1));
  }
  const Member* member = find_member(state, NodeId(a.node_id()));
  if (member == nullptr || member->leaving) {
    return broken("primary_must_be_member", "primary_assigned.node_id must be a member that stays");
  }
  return one_event([&](v1::GroupEvent& event) {
    *event.mutable_primary_assigned() = a;
    *event.mutable_primary_assigned()->mutable_reason() = reason;
  });
}

Outcome assign(const GroupState& state, const v1::StandbyAssigned& a, const v1::Reason& reason) {
  const Member* member = find_member(state, NodeId(a.node_id()));
  if (member == nullptr || member->detach != DetachPhase::attached) {
    return broken("standby_must_be_member", "standby_assigned.node_id must be a member");
  }
  if (a.term() != state.term || NodeId(a.upstream_id()) != state.primary ||
      state.primary.empty()) {
    return broken("standby_follows_primary",
                  "standby_assigned must name the primary and its term as upstream");
  }
  if (member->id == state.primary) {
    return broken("standby_is_not_primary", "standby_assigned.node_id is the group's primary");
  }
  return one_event([&](v1::GroupEvent& event) {
    *event.mutable_standby_assigned() = a;
    *event.mutable_standby_assigned()->mutable_reason() = reason;
  });
}

// What every next sync set must keep, whoever its candidates are.
std::optional<Outcome> broken_size(const GroupState& state, const v1::SyncSetAssigned& a,
                                   const std::string& within) {
  const uint64_t next = assigned_sync_set(state).version + 1;
  if (a.sync_version() != next) {
    return broken("sync_version_must_grow_by_one",
                  within + "sync_set_assigned.sync_version must be " + std::to_string(next));
  }
  if (a.number() > to_ids(a.candidates()).size()) {
    return broken("sync_number_within_candidates",
                  "sync_set_assigned.number must not be more than its candidates");
  }
  return std::nullopt;
}

Outcome assign(const GroupState& state, const v1::SyncSetAssigned& a, const v1::Reason& reason) {
  if (failover_under_way(state) != nullptr) return failover_is_under_way();
  if (auto wrong = broken_size(state, a, "")) return *wrong;
  for (const NodeId& id : to_ids(a.candidates())) {
    const Member* member = find_member(state, id);
    if (member == nullptr || member->role != AssignedRole::standby ||
        member->detach != DetachPhase::attached) {
      return broken("sync_candidates_are_standbys",
                    "sync_set_assigned.candidates must be standbys: " + id.str());
    }
  }
  return one_event([&](v1::GroupEvent& event) {
    *event.mutable_sync_set_assigned() = a;
    *event.mutable_sync_set_assigned()->mutable_reason() = reason;
  });
}

Outcome assign(const GroupState& state, const v1::NodeDetachStarted& a, const v1::Reason& reason) {
  if (failover_under_way(state) != nullptr) return failover_is_under_way();
  const Member* member = find_member(state, NodeId(a.node_id()));
  if (member == nullptr || !member->leaving) {
    return broken("only_leaving_nodes_detach", "node_detach_started.node_id must be leaving");
  }
  if (member->id == state.primary) {
    return broken("primary_does_not_detach", "node_detach_started.node_id is the primary");
  }
  if (is_possible_sync_candidate(state, member->id)) {
    return broken("sync_candidates_do_not_detach",
                  "node_detach_started.node_id may have confirmed writes that others have not");
  }
  if (member->detach != DetachPhase::attached) return ignore("the node is being detached");
  return one_event([&](v1::GroupEvent& event) {
    *event.mutable_node_detach_started() = a;
    *event.mutable_node_detach_started()->mutable_reason() = reason;
  });
}

Outcome assign(const GroupState& state, const v1::GroupSettled& a, const v1::Reason& reason) {
  if (failover_under_way(state) != nullptr) return failover_is_under_way();
  if (state.settled) return ignore("the group is settled");
  return one_event([&](v1::GroupEvent& event) {
    *event.mutable_group_settled() = a;
    *event.mutable_group_settled()->mutable_reason() = reason;
  });
}

Outcome assign(const GroupState& state, const v1::FailoverStarted& a, const v1::Reason& reason) {
  if (!state.ever_open) {
    return broken("failover_needs_data", "no primary of the group was ever open: assign another");
  }
  if (a.term() != state.term + 1) {
    return broken("term_must_grow_by_one",
                  "failover_started.term must be " + std::to_string(state.term + 1));
  }
  const Failover* under_way = failover_under_way(state);
  const bool may_follow = under_way == nullptr || under_way->kind == FailoverKind::switchover ||
                          a.kind() == v1::FAILOVER_KIND_OVERRIDE;
  if (!may_follow || (under_way != nullptr && a.kind() == v1::FAILOVER_KIND_SWITCHOVER)) {
    return failover_is_under_way();
  }
  return one_event([&](v1::GroupEvent& event) {
    auto* started = event.mutable_failover_started();
    *started = a;
    started->set_from_node_id((under_way != nullptr ? under_way->from : state.primary).str());
    *started->mutable_reason() = reason;
  });
}

Outcome assign(const GroupState& state, const v1::FailoverBlocked& a, const v1::Reason& reason) {
  const Failover* under_way = failover_under_way(state);
  const bool is_over = a.term() == 0;
  if ((!is_over && a.term() != state.term) || !state.ever_open ||
      (is_over && under_way != nullptr)) {
    return ignore("it is not under way");
  }
  const std::string& rule = under_way != nullptr ? under_way->blocked_rule : state.refused_rule;
  const std::string& why = under_way != nullptr ? under_way->blocked_why : state.refused_why;
  if (is_over ? rule.empty() : rule == reason.rule() && why == reason.why()) {
    return ignore("that is recorded");
  }
  return one_event([&](v1::GroupEvent& event) {
    *event.mutable_failover_blocked() = a;
    *event.mutable_failover_blocked()->mutable_reason() = reason;
  });
}

std::optional<Outcome> broken_next_sync_set(const GroupState& state,
                                            const v1::SyncSetAssigned& a,
                                            const NodeId& primary) {
  if (auto wrong = broken_size(state, a, "promotion.")) return wrong;
  for (const NodeId& id : to_ids(a.candidates())) {
    const Member* member = find_member(state, id);
    if (member == nullptr || member->detach != DetachPhase::attached || id == primary) {
      return broken("sync_candidates_are_members",
                    "sync_set_assigned.candidates must be other members: " + id.str());
    }
  }
  return std::nullopt;
}

Outcome assign(const GroupState& state, const v1::Promotion& a, const v1::Reason& reason) {
  const Failover* under_way = failover_under_way(state);
  if (under_way == nullptr) {
    return broken("promotion_needs_failover", "no failover is under way in the group's term");
  }
  const v1::PrimaryAssigned& primary = a.primary_assigned();
  if (primary.term() != state.term) {
    return broken("promotion_in_its_failovers_term",
                  "primary_assigned.term must be " + std::to_string(state.term));
  }
  if (primary.timeline() <= state.newest_timeline) {
    return broken("timeline_must_grow", "primary_assigned.timeline must be above " +
                                            std::to_string(state.newest_timeline));
  }
  const NodeId id(primary.node_id());
  const Member* member = find_member(state, id);
  if (member == nullptr || member->detach != DetachPhase::attached) {
    return broken("primary_must_be_member", "primary_assigned.node_id must be a member");
  }
  if (!a.has_sync_set_assigned() && id != under_way->from) {
    return broken("promotion_has_sync_set", "another primary opens with another sync set");
  }
  std::vector<v1::GroupEvent> events;
  if (a.has_sync_set_assigned()) {
    if (auto wrong = broken_next_sync_set(state, a.sync_set_assigned(), id)) return *wrong;
    auto* set = events.emplace_back().mutable_sync_set_assigned();
    *set = a.sync_set_assigned();
    *set->mutable_reason() = reason;
    set->mutable_reason()->clear_seen();  // the next event has it
  }
  auto* assigned = events.emplace_back().mutable_primary_assigned();
  *assigned = primary;
  *assigned->mutable_reason() = reason;
  return accept(std::move(events));
}

Outcome on(const GroupState& state, const v1::ApplyDecision& c) {
  if (c.group_version() != state.version) {
    return ignore("stale decision: it saw version " + std::to_string(c.group_version()) +
                  ", the group is at " + std::to_string(state.version));
  }
  if (state.deleting) return ignore("the group is being deleted");
  const v1::GroupDecision& decision = c.decision();
  using Case = v1::GroupDecision::AssignCase;
  switch (decision.assign_case()) {
    case Case::kPrimaryAssigned:
      return assign(state, decision.primary_assigned(), decision.reason());
    case Case::kStandbyAssigned:
      return assign(state, decision.standby_assigned(), decision.reason());
    case Case::kSyncSetAssigned:
      return assign(state, decision.sync_set_assigned(), decision.reason());
    case Case::kNodeDetachStarted:
      return assign(state, decision.node_detach_started(), decision.reason());
    case Case::kGroupSettled:
      return assign(state, decision.group_settled(), decision.reason());
    case Case::kFailoverStarted:
      return assign(state, decision.failover_started(), decision.reason());
    case Case::kPromotion:
      return assign(state, decision.promotion(), decision.reason());
    case Case::kFailoverBlocked:
      return assign(state, decision.failover_blocked(), decision.reason());
    case Case::ASSIGN_NOT_SET:
      break;
  }
  return reject(RejectionBlame::bad_value, "decision_must_assign", "decision.assign is not set");
}

// ---- what reports say ----------------------------------------------------------------------

Outcome on(const GroupState& state, const v1::RecordPrimaryOpened& c) {
  if (c.term() != state.term) return ignore("of another term");
  if (NodeId(c.node_id()) != state.primary) return ignore("not the primary");
  if (primary_member(state) == nullptr) return ignore("no member any more");
  if (c.timeline() < state.timeline) return ignore("of an older timeline");
  if (state.primary_open && c.timeline() == state.timeline) return ignore("known to be open");
  return one_event([&](v1::GroupEvent& event) {
    auto* opened = event.mutable_primary_opened();
    opened->set_node_id(c.node_id());
    opened->set_term(c.term());
    opened->set_timeline(c.timeline());
    *opened->mutable_history() = c.history();
  });
}

// The standby that a report is about, if its role is still the one that the report saw.
const Member* reported_standby(const GroupState& state, const std::string& id, uint64_t term) {
  const Member* member = find_member(state, NodeId(id));
  const bool is_it = member != nullptr && member->role == AssignedRole::standby &&
                     member->detach == DetachPhase::attached && member->term == term;
  return is_it ? member : nullptr;
}

Outcome on(const GroupState& state, const v1::RecordStandbyStreaming& c) {
  const Member* member = reported_standby(state, c.node_id(), c.term());
  if (member == nullptr) return ignore("not a standby of this term");
  if (member->progress == StandbyProgress::streaming) return ignore("known to stream");
  return one_event(
      [&](v1::GroupEvent& event) { event.mutable_standby_streaming()->set_node_id(c.node_id()); });
}

Outcome on(const GroupState& state, const v1::RecordStandbyLost& c) {
  const Member* member = reported_standby(state, c.node_id(), c.term());
  if (member == nullptr) return ignore("not a standby of this term");
  if (member->progress != StandbyProgress::streaming) return ignore("not known to stream");
  return one_event([&](v1::GroupEvent& event) {
    event.mutable_standby_lost()->set_node_id(c.node_id());
    event.mutable_standby_lost()->set_why(c.why());
  });
}

Outcome on(const GroupState& state, const v1::RecordSyncSetApplied& c) {
  const bool is_pending =
      std::any_of(state.sync_pending.begin(), state.sync_pending.end(),
                  [&](const SyncSet& set) { return set.version == c.sync_version(); });
  if (!is_pending) return ignore("not a pending sync set");
  return one_event([&](v1::GroupEvent& event) {
    event.mutable_sync_set_applied()->set_sync_version(c.sync_version());
  });
}

Outcome on(const GroupState& state, const v1::RecordNodeDetached& c) {
  const Member* member = find_member(state, NodeId(c.node_id()));
  if (member == nullptr) return ignore("no member any more");
  if (member->detach != DetachPhase::detaching) return ignore("not being detached");
  return one_event(
      [&](v1::GroupEvent& event) { event.mutable_node_detached()->set_node_id(c.node_id()); });
}

}  // namespace

Decision<v1::GroupEvent> decide(const GroupState& state, const v1::GroupCommand& command,
                                const GroupFacts& facts, TimePoint now) {
  if (state.deleted) return ignore("the group is deleted");
  using Case = v1::GroupCommand::BodyCase;
  switch (command.body_case()) {
    case Case::kSyncMembership:
      return on(state, command.sync_membership());
    case Case::kApplyDecision:
      return on(state, command.apply_decision());
    case Case::kRecordPrimaryOpened:
      return on(state, command.record_primary_opened());
    case Case::kRecordStandbyStreaming:
      return on(state, command.record_standby_streaming());
    case Case::kRecordStandbyLost:
      return on(state, command.record_standby_lost());
    case Case::kRecordSyncSetApplied:
      return on(state, command.record_sync_set_applied());
    case Case::kRecordNodeDetached:
      return on(state, command.record_node_detached());
    case Case::kRequestSwitchover:
      return decide_request(state, command.request_switchover(), facts, now);
    case Case::kRequestFailover:
      return decide_request(state, command.request_failover(), facts, now);
    case Case::BODY_NOT_SET:
      break;
  }
  return reject(RejectionBlame::bad_value, "command_must_have_body", "the command is empty");
}

}  // namespace trunkline::replication
