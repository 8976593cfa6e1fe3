#include "replication/domain/group_request.h"

#include <algorithm>

#include "replication/domain/conversions.h"
#include "replication/domain/decision_facts.h"
#include "replication/domain/group_failover.h"

namespace trunkline::replication {
namespace {

using Outcome = Decision<v1::GroupEvent>;

Outcome refuse(std::string rule, std::string message) {
  return reject(RejectionBlame::conflict, std::move(rule), std::move(message));
}
Outcome unknown_target(const char* rule) {
  return reject(RejectionBlame::bad_value, rule, "target must be another node of the instance");
}

bool has_another(const GroupState& state, const NodeId& than) {
  return std::any_of(state.members.begin(), state.members.end(), [&](const Member& m) {
    return m.id != than && m.role != AssignedRole::none && m.detach == DetachPhase::attached;
  });
}

Outcome start(const Sight& sight, FailoverKind kind, const NodeId& from, const std::string& target,
              const char* rule, const char* why) {
  v1::GroupEvent event;
  auto* started = event.mutable_failover_started();
  started->set_term(sight.state.term + 1);
  started->set_from_node_id(from.str());
  started->set_kind(to_proto(kind));
  started->set_target_id(target);
  started->mutable_reason()->set_rule(rule);
  started->mutable_reason()->set_why(why);
  for (std::string& fact : fact_sentences(sight)) {
    started->mutable_reason()->add_facts(std::move(fact));
  }
  to_record(sight.state, sight.facts, sight.now, started->mutable_reason()->mutable_seen());
  return accept<v1::GroupEvent>({std::move(event)});
}

}  // namespace

Outcome decide_request(const GroupState& state, const v1::RequestSwitchover& c,
                       const GroupFacts& facts, TimePoint now) {
  if (state.version == 0) {
    return reject(RejectionBlame::not_found, "group_not_found", "the instance has no nodes");
  }
  if (state.deleting) return refuse("instance_is_deleting", "the instance is being deleted");
  if (failover_under_way(state) != nullptr) {
    return refuse("failover_under_way", "a failover of the instance is under way");
  }
  if (!has_another(state, state.primary)) {
    return refuse("group_has_no_standby", "the instance has no node to switch over to");
  }
  const NodeId target(c.target_id());
  const Member* member = find_member(state, target);
  if (!target.empty() && (member == nullptr || member->leaving)) {
    return unknown_target("switchover_target_unknown");
  }
  if (!target.empty() && target == state.primary) return ignore("the target is the primary");
  const Sight sight = look(state, facts, now);
  if (!state.primary_open || sight.open_primary == nullptr) {
    return refuse("primary_not_open", "the primary is not open: there is nothing to switch over");
  }
  const auto fits = [&](const MemberSight& m) {
    return (target.empty() || m.member->id == target) && m.is_staying() && m.is_streaming();
  };
  if (std::none_of(sight.members.begin(), sight.members.end(), fits)) {
    return refuse("switchover_target_not_streaming",
                  "the target must be streaming from the primary");
  }
  const auto follows_closely = [&](const MemberSight& m) {
    return fits(m) && is_switchover_target(sight, m);
  };
  if (std::none_of(sight.members.begin(), sight.members.end(), follows_closely)) {
    return refuse("switchover_target_behind", "the target must be at most " +
                                                  std::to_string(kSwitchoverLag >> 20) +
                                                  " MiB behind the primary, and its host report");
  }
  return start(sight, FailoverKind::switchover, state.primary, target.str(),
               kSwitchoverRequested, "an operator asked for a switchover");
}

Outcome decide_request(const GroupState& state, const v1::RequestFailover& c,
                       const GroupFacts& facts, TimePoint now) {
  if (state.version == 0) {
    return reject(RejectionBlame::not_found, "group_not_found", "the instance has no nodes");
  }
  if (state.deleting) return refuse("instance_is_deleting", "the instance is being deleted");
  const Failover* under_way = failover_under_way(state);
  const NodeId& from = under_way != nullptr ? under_way->from : state.primary;
  if (!state.ever_open || !has_another(state, from)) {
    return refuse("group_has_no_standby", "the instance has no other node with its data");
  }
  const NodeId target(c.target_id());
  const Member* member = find_member(state, target);
  if (!target.empty() && (member == nullptr || target == from)) {
    return unknown_target("failover_target_unknown");
  }
  if (under_way != nullptr && under_way->kind == FailoverKind::override_by_operator &&
      under_way->target == target) {
    return ignore("such a failover is under way");
  }
  const Sight sight = look(state, facts, now);
  if (under_way == nullptr && !primary_is_away(sight) && !primary_host_is_silent(sight)) {
    return refuse("failover_not_needed", "the primary is not seen to be away: switch over");
  }
  if (!c.accept_data_loss()) {
    return refuse("data_loss_not_accepted",
                  "writes may be lost: accept_data_loss must be true to go on");
  }
  return start(sight, FailoverKind::override_by_operator, from, target.str(), kFailoverRequested,
               "an operator accepts that writes may be lost");
}

}  // namespace trunkline::replication
