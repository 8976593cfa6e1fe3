#include "replication/domain/group_react.h"

#include <algorithm>

#include "replication/domain/conversions.h"
#include "replication/domain/group_decide.h"
#include "replication/domain/group_failover.h"
#include "replication/domain/group_sight.h"
#include "replication/domain/role_document.h"

namespace trunkline::replication {
namespace {

// No part of the document: what a primary's host knows is renewed with each standby that it gets,
// and the others are told in time for their own promotion.
void add_peers(const GroupState& state, const Member& member, v1::AssignRole* out) {
  for (const Member& other : state.members) {
    if (other.id == member.id || other.detach != DetachPhase::attached) continue;
    auto* peer = out->add_peers();
    peer->set_node_id(other.id.str());
    peer->set_host(other.address.host.str());
    peer->set_address(other.address.address);
  }
}

void fill(const RoleDocument& document, uint64_t generation, v1::AssignRole* out) {
  out->set_generation(generation);
  out->set_term(document.term);
  if (document.role == AssignedRole::standby) {
    out->set_role(v1::ROLE_STANDBY);
    out->set_upstream_node_id(document.upstream.str());
    *out->mutable_upstream() = to_proto(document.upstream_address);
    add_history(document.history, out->mutable_history());
    return;
  }
  if (document.role == AssignedRole::fenced) {
    out->set_role(v1::ROLE_FENCED);
    out->set_patience_ms(static_cast<uint32_t>(document.patience.count()));
    return;
  }
  out->set_role(v1::ROLE_PRIMARY);
  add_ids(document.standbys, out->mutable_standby_node_ids());
  out->set_sync_version(document.sync_set.version);
  add_ids(document.sync_set.candidates, out->mutable_sync_candidates());
  out->set_sync_number(document.sync_set.number);
  out->set_opened_before(document.opened_before);
  out->set_timeline(document.timeline);
}

bool opened(const Sight& sight) {
  return sight.open_primary != nullptr &&
         (!sight.state.primary_open || sight.open_primary->timeline > sight.state.timeline);
}

// Since when the log's "streaming" is contradicted, if that is for too long.
bool is_lost(const Sight& sight, const MemberSight& member) {
  if (member.member->progress != StandbyProgress::streaming || !member.is_standby()) return false;
  if (sight.open_primary == nullptr || member.streams) return false;
  const auto since = sight.facts.detached_since.find(member.member->id);
  return since != sight.facts.detached_since.end() && sight.now - since->second > kLostAfter;
}

std::string lost_why(const MemberSight& member) {
  const std::string why = "the primary has not seen it attached for more than " +
                          std::to_string(kLostAfter.count()) + " s";
  return member.host_reports ? why : why + ", and its host is silent";
}

// Whatever `older` promised of a write, `newer` promises no more.
bool follows_from(const SyncSet& older, const SyncSet& newer) {
  return newer.number == 0 || (newer.number <= older.number &&
                               std::includes(newer.candidates.begin(), newer.candidates.end(),
                                             older.candidates.begin(), older.candidates.end()));
}

bool follows_from_all_before(const GroupState& state, const SyncSet& set) {
  const std::vector<SyncSet> sets = possible_sync_sets(state);
  return std::all_of(sets.begin(), sets.end(), [&](const SyncSet& older) {
    return older.version >= set.version || follows_from(older, set);
  });
}

// What was acknowledged before the set was in force is flushed by enough of its candidates: those
// that confirmed it then may be no candidates now.
bool is_covered(const Sight& sight, const SyncSet& set) {
  const auto& mark = sight.facts.sync_mark;
  if (!mark || !mark->flush_lsn || mark->primary != sight.state.primary ||
      mark->term != sight.state.term || mark->sync_version != set.version) {
    return false;
  }
  const auto& standbys = sight.open_primary->standbys;
  const auto has_flushed = [&](const NodeId& id) {
    const auto standby = standbys.find(id);
    return standby != standbys.end() && standby->second.flush_lsn >= *mark->flush_lsn;
  };
  const auto flushed = std::count_if(set.candidates.begin(), set.candidates.end(), has_flushed);
  return static_cast<size_t>(flushed) >= set.number;
}

bool is_applied(const Sight& sight, const SyncSet& set) {
  const bool in_force =
      sight.open_primary != nullptr && sight.open_primary->sync_version == set.version;
  return in_force && (follows_from_all_before(sight.state, set) || is_covered(sight, set));
}

bool is_detached(const Sight& sight, const Member& member) {
  if (member.detach != DetachPhase::detaching) return false;
  // No slot was ever ordered for it, or not from the present primary.
  if (member.role != AssignedRole::standby || member.upstream != sight.state.primary) return true;
  if (sight.primary == nullptr) return true;
  const NodeSeen* seen = sight.open_primary;
  return seen != nullptr && seen->role_generation >= sight.primary->role_generation &&
         seen->role_state == TaskState::succeeded && !seen->slots.contains(member.id) &&
         !seen->standbys.contains(member.id);
}

}  // namespace

std::vector<HostTask> tasks(const InstanceId& instance, const GroupState& state) {
  std::vector<HostTask> out;
  for (const Member& member : state.members) {
    const auto document = role_document(state, member);
    if (!document) continue;
    HostTask& task = out.emplace_back();
    task.host = member.address.host;
    task.task.set_task_id(member.id.str() + "/role/" + std::to_string(member.role_generation));
    task.task.set_instance_id(instance.str());
    task.task.set_node_id(member.id.str());
    fill(*document, member.role_generation, task.task.mutable_assign_role());
    add_peers(state, member, task.task.mutable_assign_role());
  }
  return out;
}

bool needs_task(const Member& member, const NodeSeen* seen) {
  return seen == nullptr || seen->role_generation < member.role_generation;
}

std::vector<HostTask> due_tasks(const InstanceId& instance, const GroupState& state,
                                const GroupFacts& facts) {
  const bool all_have_theirs =
      std::all_of(state.members.begin(), state.members.end(), [&](const Member& member) {
        const auto seen = facts.nodes.find(member.id);
        return seen != facts.nodes.end() && !needs_task(member, &seen->second);
      });
  if (all_have_theirs) return {};
  std::vector<HostTask> out = tasks(instance, state);
  std::erase_if(out, [&](const HostTask& task) {
    const NodeId id(task.task.node_id());
    const auto seen = facts.nodes.find(id);
    return !needs_task(*find_member(state, id),
                       seen == facts.nodes.end() ? nullptr : &seen->second);
  });
  return out;
}

std::vector<HostTask> due_probes(const InstanceId& instance, const GroupState& state,
                                 const GroupFacts& facts, TimePoint now) {
  std::vector<HostTask> out;
  if (state.deleting || state.deleted || !state.ever_open) return out;
  if (now - facts.probe.asked_at < kProbeTime / 2) return out;
  const Failover* failover = failover_under_way(state);
  if (failover != nullptr && failover->kind != FailoverKind::switchover) return out;
  const Sight sight = look(state, facts, now);
  const bool is_due =
      failover != nullptr ? old_primary_stopped(sight) : primary_host_is_silent(sight);
  if (!is_due) return out;
  const auto id = static_cast<uint64_t>(to_unix_us(now));
  for (const MemberSight& member : sight.members) {
    if (!member.is_standby() || !member.host_reports || member.seen == nullptr) continue;
    HostTask& task = out.emplace_back();
    task.host = member.member->address.host;
    task.task.set_task_id(member.member->id.str() + "/probe/" + std::to_string(id));
    task.task.set_instance_id(instance.str());
    task.task.set_node_id(member.member->id.str());
    task.task.mutable_probe_upstream()->set_probe_id(id);
  }
  return out;
}

std::optional<HostTask> due_preparation(const InstanceId& instance, const GroupState& state,
                                        const GroupFacts& facts, const v1::GroupCommand& request,
                                        TimePoint now) {
  const Member* primary = primary_member(state);
  if (!request.has_request_switchover() || primary == nullptr) return std::nullopt;
  const auto outcome = decide(state, request, facts, now);
  if (!std::holds_alternative<std::vector<v1::GroupEvent>>(outcome)) return std::nullopt;
  const auto asked_for = now - facts.prepare.asked_at;
  const bool is_old = facts.prepare.id == 0 || asked_for > kPreparePatience * 3 / 2;
  const auto id = is_old ? static_cast<uint64_t>(to_unix_us(now)) : facts.prepare.id;
  if (!is_old && asked_for > kPreparePatience) return std::nullopt;
  const auto seen = facts.nodes.find(primary->id);
  if (seen == facts.nodes.end() || seen->second.prepared_id >= id) return std::nullopt;
  HostTask out;
  out.host = primary->address.host;
  out.task.set_task_id(primary->id.str() + "/prepare/" + std::to_string(id));
  out.task.set_instance_id(instance.str());
  out.task.set_node_id(primary->id.str());
  out.task.mutable_prepare_stop()->set_prepare_id(id);
  return out;
}

bool is_restless(const GroupState& state, const GroupFacts& facts, TimePoint now) {
  if (state.deleted || state.members.empty()) return false;
  if (!state.settled || facts.primary_down_since) return true;
  const Member* primary = primary_member(state);
  if (primary == nullptr) return true;
  const auto host = facts.hosts.find(primary->address.host);
  const auto seen = facts.nodes.find(primary->id);
  if (seen != facts.nodes.end() && seen->second.restart_awaited) return true;
  return host == facts.hosts.end() || now - host->second.at > kSilent;
}

std::optional<v1::NodeLease> due_lease(const GroupState& state, const HostName& host,
                                       milliseconds at_most) {
  const Member* primary = primary_member(state);
  const milliseconds duration = std::min(kLease, at_most);
  if (state.deleting || primary == nullptr || primary->address.host != host ||
      duration <= milliseconds(0)) {
    return std::nullopt;
  }
  v1::NodeLease out;
  out.set_node_id(primary->id.str());
  out.set_term(state.term);
  out.set_duration_ms(static_cast<uint32_t>(duration.count()));
  return out;
}

std::vector<v1::GroupCommand> commands_from_reports(const GroupState& state,
                                                    const GroupFacts& facts, TimePoint now) {
  std::vector<v1::GroupCommand> out;
  if (state.deleting || state.deleted || state.members.empty()) return out;
  const Sight sight = look(state, facts, now);
  if (opened(sight)) {
    auto* c = out.emplace_back().mutable_record_primary_opened();
    c->set_node_id(state.primary.str());
    c->set_term(state.term);
    c->set_timeline(sight.open_primary->timeline);
    add_history(sight.open_primary->history, c->mutable_history());
  }
  for (const MemberSight& member : sight.members) {
    const Member& m = *member.member;
    if (member.streams && member.is_standby() && m.progress != StandbyProgress::streaming) {
      auto* c = out.emplace_back().mutable_record_standby_streaming();
      c->set_node_id(m.id.str());
      c->set_term(m.term);
    }
    if (is_lost(sight, member)) {
      auto* c = out.emplace_back().mutable_record_standby_lost();
      c->set_node_id(m.id.str());
      c->set_term(m.term);
      c->set_why(lost_why(member));
    }
  }
  for (const SyncSet& set : state.sync_pending) {
    if (!is_applied(sight, set)) continue;
    out.emplace_back().mutable_record_sync_set_applied()->set_sync_version(set.version);
  }
  for (const Member& member : state.members) {
    if (!is_detached(sight, member)) continue;
    out.emplace_back().mutable_record_node_detached()->set_node_id(member.id.str());
  }
  return out;
}

}  // namespace trunkline::replication
