#include "replication/domain/group_table.h"

#include <algorithm>

#include "replication/domain/conversions.h"

namespace trunkline::replication {
namespace {

using S = Sight;
using M = MemberSight;
using D = v1::GroupDecision;

template <class Holds>
const M* first(const S& s, Holds holds) {
  const auto found = std::find_if(s.members.begin(), s.members.end(), holds);
  return found == s.members.end() ? nullptr : &*found;
}
template <class Holds>
bool any(const S& s, Holds holds) {
  return first(s, holds) != nullptr;
}
template <class Holds>
size_t count(const S& s, Holds holds) {
  return static_cast<size_t>(std::count_if(s.members.begin(), s.members.end(), holds));
}

// ---- primary -------------------------------------------------------------------------------

bool is_primary(const S& s, const M& m) {
  return m.member == s.primary;
}
bool primary_stays(const S& s) {
  return s.primary != nullptr && !s.primary->leaving;
}
// It was a standby of one that went, and can only be promoted.
bool primary_has_standby_data(const S& s) {
  return any(s, [&](const M& m) {
    return is_primary(s, m) && m.seen != nullptr && m.seen->role == ReportedRole::standby;
  });
}
// The primary that was assigned will never open, and no data of anybody can be on it.
bool primary_is_replaceable(const S& s) {
  return s.state.term > 0 && !s.state.ever_open &&
         (!primary_stays(s) || primary_has_standby_data(s));
}

const M* first_primary(const S& s) {
  const M* reporting = first(s, [](const M& m) { return m.is_staying() && m.host_reports; });
  return reporting ? reporting : first(s, [](const M& m) { return m.is_staying(); });
}
// One that has begun as a standby has another node's data and can only be promoted.
const M* other_first_primary(const S& s) {
  return first(s, [&](const M& m) {
    const bool has_begun = m.seen != nullptr && (m.seen->role != ReportedRole::none ||
                                                 m.seen->role_state == TaskState::succeeded ||
                                                 m.seen->postgres > PostgresState::stopped);
    return m.is_staying() && m.host_reports && !is_primary(s, m) && !has_begun;
  });
}

void assign_primary(const S& s, const M& m, D* d) {
  d->mutable_primary_assigned()->set_node_id(m.member->id.str());
  d->mutable_primary_assigned()->set_term(s.state.term + 1);
}

// ---- standbys ------------------------------------------------------------------------------

const M* unassigned(const S& s) {
  return first(s,
               [](const M& m) { return m.is_staying() && m.member->role == AssignedRole::none; });
}
const M* of_older_primary(const S& s) {
  return first(s, [&](const M& m) {
    return m.is_staying() && m.is_standby() &&
           (m.member->upstream != s.state.primary || m.member->term != s.state.term);
  });
}
const M* lost(const S& s) {
  return first(s, [](const M& m) {
    return m.is_staying() && m.is_standby() && m.host_reports &&
           m.member->progress == StandbyProgress::lost;
  });
}
// It runs and does not get on: not one whose base backup takes its time.
const M* stuck(const S& s) {
  return first(s, [&](const M& m) {
    const bool runs = m.seen != nullptr && m.seen->postgres == PostgresState::recovering;
    if (!m.is_staying() || !m.is_standby() || !runs || s.open_primary == nullptr) return false;
    if (m.member->progress == StandbyProgress::streaming || m.member->assignments == 0)
      return false;
    const auto detached = s.facts.detached_since.find(m.member->id);
    if (detached == s.facts.detached_since.end()) return false;
    if (s.now - detached->second <= kLostAfter) return false;
    const uint32_t doublings = std::min(m.member->assignments - 1, 16U);
    const auto pause = std::min(kStuckAfter * (1 << doublings), kStuckAtMost);
    return s.now - m.member->assigned_at > pause;
  });
}

void assign_standby(const S& s, const M& m, D* d) {
  d->mutable_standby_assigned()->set_node_id(m.member->id.str());
  d->mutable_standby_assigned()->set_upstream_id(s.state.primary.str());
  d->mutable_standby_assigned()->set_term(s.state.term);
}

// ---- sync set ------------------------------------------------------------------------------

bool sync_is_off(const S& s) {
  const SyncSet& assigned = assigned_sync_set(s.state);
  return assigned.number == 0 && assigned.candidates.empty();
}
bool first_set_has_waited(const S& s) {
  return s.now - s.state.primary_opened_at > kFirstSetPatience;
}

bool sync_set_can_change(const S& s) {
  const SyncSet& assigned = assigned_sync_set(s.state);
  return s.wanted_sync_set && (s.wanted_sync_set->candidates != assigned.candidates ||
                               s.wanted_sync_set->number != assigned.number);
}
bool drops(const S& s, bool (*which)(const S&, const NodeId&)) {
  if (!sync_set_can_change(s)) return false;
  const std::set<NodeId>& wanted = s.wanted_sync_set->candidates;
  const std::set<NodeId>& assigned = assigned_sync_set(s.state).candidates;
  return std::any_of(assigned.begin(), assigned.end(),
                     [&](const NodeId& id) { return !wanted.contains(id) && which(s, id); });
}
bool is_leaving_or_gone(const S& s, const NodeId& id) {
  const Member* member = find_member(s.state, id);
  return member == nullptr || member->leaving;
}
bool is_anyone(const S&, const NodeId&) {
  return true;
}
bool all_ordered_standbys_stream(const S& s) {
  const size_t streaming = count(s, [](const M& m) { return m.is_staying() && m.is_streaming(); });
  return streaming + 1 >= s.state.nodes_number;
}

bool sync_set_is_incomplete(const S& s) {
  const SyncSet& assigned = assigned_sync_set(s.state);
  if (assigned.number != s.state.sync_replica_number) return true;
  return assigned.number > 0 && any(s, [&](const M& m) {
           return m.is_staying() && m.is_standby() && !assigned.candidates.contains(m.member->id);
         });
}

void assign_sync_set(const S& s, D* d) {
  const SyncSet& wanted = *s.wanted_sync_set;
  auto* out = d->mutable_sync_set_assigned();
  out->set_sync_version(wanted.version);
  out->set_number(wanted.number);
  add_ids(wanted.candidates, out->mutable_candidates());
}

// ---- leaving -------------------------------------------------------------------------------

const M* detachable(const S& s) {
  return first(s, [&](const M& m) {
    return m.member->leaving && m.member->detach == DetachPhase::attached && !is_primary(s, m) &&
           !is_possible_sync_candidate(s.state, m.member->id);
  });
}

void assign_detach(const M& m, D* d) {
  d->mutable_node_detach_started()->set_node_id(m.member->id.str());
}
bool waits_for_sync_set(const M& m) {
  return m.member->leaving && m.member->detach == DetachPhase::attached;
}
bool waits_for_slot(const M& m) {
  return m.member->detach == DetachPhase::detaching;
}

// ---- as ordered ----------------------------------------------------------------------------

bool sync_number_is_unreachable(const S& s) {
  return s.state.sync_replica_number > 0 && s.state.sync_replica_number >= s.state.nodes_number;
}
bool nodes_are_as_ordered(const S& s) {
  return count(s, [](const M& m) { return m.is_staying(); }) == s.state.nodes_number;
}
bool does_not_stream(const M& m) {
  return m.is_staying() && m.is_standby() && m.member->progress != StandbyProgress::streaming;
}

void assign_settled(const S& s, D* d) {
  for (const M& m : s.members) {
    if (m.is_staying()) d->mutable_group_settled()->add_node_ids(m.member->id.str());
  }
  d->mutable_group_settled()->set_sync_replica_number(s.state.sync_replica_number);
}

// clang-format off
constexpr Row kTable[] = {
    {"group_deleting", "",
     [](const S& s) { return s.state.deleting || s.state.deleted; }, nullptr,
     "the instance is being deleted: its nodes go as they are"},
    {"nothing_placed", "",
     [](const S& s) { return s.members.empty(); }, nullptr,
     "no node of the instance is placed yet"},

    {"first_primary", "primary",
     [](const S& s) { return s.state.term == 0 && first_primary(s) != nullptr; },
     [](const S& s, D* d) { assign_primary(s, *first_primary(s), d); },
     "the group has no primary: the node that was placed first, of those whose host reports"},
    {"first_primary_again", "primary",
     [](const S& s) { return primary_is_replaceable(s) && other_first_primary(s) != nullptr; },
     [](const S& s, D* d) { assign_primary(s, *other_first_primary(s), d); },
     "the first primary goes or cannot open, and none ever was: another node that has not begun"},
    {"no_first_primary_possible", "",
     [](const S& s) { return s.state.term == 0 || primary_is_replaceable(s); }, nullptr,
     "no node that stays can become the first primary"},
    {"primary_gone", "",
     [](const S& s) { return s.primary == nullptr; }, nullptr,
     "the primary's node is gone; only a failover can help, which there is not yet"},

    {"standby_unassigned", "standby",
     [](const S& s) { return unassigned(s) != nullptr; },
     [](const S& s, D* d) { assign_standby(s, *unassigned(s), d); },
     "the node has no role: it follows the primary, and tries until that answers"},
    {"standby_of_older_primary", "standby",
     [](const S& s) { return of_older_primary(s) != nullptr; },
     [](const S& s, D* d) { assign_standby(s, *of_older_primary(s), d); },
     "the standby follows a primary of an older term"},
    {"standby_lost", "standby",
     [](const S& s) { return lost(s) != nullptr; },
     [](const S& s, D* d) { assign_standby(s, *lost(s), d); },
     "the standby streams no more and its host reports: it is assigned anew, to be rebuilt"},
    {"standby_stuck", "standby",
     [](const S& s) { return stuck(s) != nullptr; },
     [](const S& s, D* d) { assign_standby(s, *stuck(s), d); },
     "the standby runs and is not attached to the primary: it is assigned anew, in growing pauses"},

    {"sync_switched_off", "sync set",
     [](const S& s) { return s.state.sync_replica_number == 0 && !sync_is_off(s); },
     [](const S& s, D* d) { assign_sync_set(s, d); },
     "no sync replicas are ordered any more"},
    {"leaving_out_of_sync_set", "sync set",
     [](const S& s) { return drops(s, is_leaving_or_gone); },
     [](const S& s, D* d) { assign_sync_set(s, d); },
     "a leaving node must not be waited for, and enough others stream"},
    {"first_sync_set", "sync set",
     [](const S& s) {
       return sync_is_off(s) && sync_set_can_change(s) &&
              (all_ordered_standbys_stream(s) || first_set_has_waited(s));
     },
     [](const S& s, D* d) { assign_sync_set(s, d); },
     "sync replicas are ordered and enough standbys stream, all of them or for long enough"},
    {"sync_number_changed", "sync set",
     [](const S& s) {
       return !sync_is_off(s) && sync_set_can_change(s) &&
              assigned_sync_set(s.state).number != s.state.sync_replica_number;
     },
     [](const S& s, D* d) { assign_sync_set(s, d); },
     "another number of sync replicas is ordered"},
    {"lost_out_of_sync_set", "sync set",
     [](const S& s) { return drops(s, is_anyone); },
     [](const S& s, D* d) { assign_sync_set(s, d); },
     "a lost standby must not be waited for, and enough others stream"},
    {"standby_into_sync_set", "sync set",
     [](const S& s) { return !sync_is_off(s) && sync_set_can_change(s); },
     [](const S& s, D* d) { assign_sync_set(s, d); },
     "one more standby streams"},

    {"leaving_detached", "detach",
     [](const S& s) { return detachable(s) != nullptr; },
     [](const S& s, D* d) { assign_detach(*detachable(s), d); },
     "a leaving node is in no sync set that may be in force: its slot can go"},
    {"sync_number_unreachable", "",
     sync_number_is_unreachable, nullptr,
     "more sync replicas are ordered than there can be standbys"},
    {"leaving_primary", "",
     [](const S& s) { return s.primary->leaving; }, nullptr,
     "the primary is asked to leave; only a switchover can help, which there is not yet"},
    {"leaving_in_sync_set", "",
     [](const S& s) { return any(s, waits_for_sync_set); }, nullptr,
     "a leaving node stays until a sync set without it is in force and enough others stream"},
    {"detach_not_confirmed", "",
     [](const S& s) { return any(s, waits_for_slot); }, nullptr,
     "the primary's host has not reported that a leaving node's slot is gone"},

    {"nodes_not_as_ordered", "",
     [](const S& s) { return !nodes_are_as_ordered(s); }, nullptr,
     "there are not as many nodes as ordered"},
    {"primary_not_open", "",
     [](const S& s) { return !s.state.primary_open; }, nullptr,
     "the primary has not opened yet"},
    {"standby_not_streaming", "",
     [](const S& s) { return any(s, does_not_stream); }, nullptr,
     "a standby does not stream yet"},
    {"sync_set_incomplete", "",
     sync_set_is_incomplete, nullptr,
     "standbys that belong into the sync set are not seen streaming at the moment"},
    {"sync_set_not_in_force", "",
     [](const S& s) { return !s.state.sync_pending.empty(); }, nullptr,
     "the sync set is not reported in force yet, with enough flushed by its standbys"},
    {"settle", "settled",
     [](const S& s) { return !s.state.settled; }, assign_settled,
     "roles and sync set are as ordered"},
    {"as_ordered", "",
     [](const S&) { return true; }, nullptr,
     "roles and sync set are as ordered, and that is recorded"},
};
// clang-format on

}  // namespace

std::span<const Row> group_table() {
  return kTable;
}

namespace {

const Row& first_match(const Sight& sight) {
  return *std::find_if(std::begin(kTable), std::end(kTable),
                       [&](const Row& row) { return row.when(sight); });
}

v1::GroupDecision decision_of(const Row& row, const Sight& sight) {
  v1::GroupDecision out;
  row.assign(sight, &out);
  v1::Reason* reason = out.mutable_reason();
  reason->set_rule(row.rule);
  reason->set_why(row.why);
  for (std::string& fact : fact_sentences(sight)) reason->add_facts(std::move(fact));
  return out;
}

}  // namespace

std::optional<v1::GroupDecision> decide_roles(const GroupState& state, const GroupFacts& facts,
                                              TimePoint now) {
  const Sight sight = look(state, facts, now);
  const Row& row = first_match(sight);
  if (row.assign == nullptr) return std::nullopt;
  return decision_of(row, sight);
}

Verdict judge(const GroupState& state, const GroupFacts& facts, TimePoint now) {
  const Sight sight = look(state, facts, now);
  const Row& row = first_match(sight);
  Verdict out{.rule = row.rule, .why = row.why, .facts = fact_sentences(sight)};
  if (row.assign != nullptr) out.decision = decision_of(row, sight);
  return out;
}

}  // namespace trunkline::replication
