#include "replication/domain/group_table.h"

#include <algorithm>

#include "replication/domain/conversions.h"
#include "replication/domain/decision_facts.h"
#include "replication/domain/failover_rows.h"

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
  return any(s, [&](const M& m) {
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
    {"switchover_promotes", "promotion",
     rows::switchover_ends, rows::promote_switchover_heir,
     "the old primary has stopped, and the standby has all that it had"},
    {"switchover_given_up", "promotion",
     rows::switchover_is_over_time, rows::promote_old_primary,
     "the switchover did not come about in time: the old primary goes on",
     rows::what_was_waited_for},
    {"switchover_lost_its_primary", "failover",
     rows::switchover_lost_its_primary, rows::start_failover,
     "the old primary's host fell silent in a switchover"},
    {"failover_promotes", "promotion",
     rows::can_promote, rows::promote_heir,
     "enough voters are fenced, the old primary cannot serve: the one that is furthest"},
    {"override_promotes", "promotion",
     rows::can_promote_overridden, rows::promote_heir,
     "an operator accepted a loss, the old primary cannot serve: the one that is furthest"},
    {"old_primary_again", "promotion",
     rows::old_primary_is_all_there_is, rows::promote_old_primary,
     "no other node can be promoted, and the old primary reports: it has every write"},
    {"override_waits_for_fencing", "blocked",
     rows::overridden_too_early, rows::block,
     "nodes that report are not fenced yet", rows::who_is_not_fenced},
    {"failover_too_few_voters", "blocked",
     rows::too_few_fenced, rows::block,
     "too few voters are fenced: others may have acknowledged writes, or answer the old primary",
     rows::who_is_missing},
    {"switchover_waits_for_stop", "blocked",
     rows::waits_for_stop, rows::block,
     "the old primary has not stopped yet"},
    {"switchover_waits_for_target", "blocked",
     rows::switches_over, rows::block,
     "no standby is seen to have all that the old primary had"},
    {"failover_nobody_fits", "blocked",
     rows::nobody_fits, rows::block,
     "no fenced node has data of the log's history"},
    {"failover_loses_too_much", "blocked",
     [](const S& s) { return rows::fails_over(s) && loss_is_too_much(s); }, rows::block,
     "more writes would be lost than an asynchronous failover may lose", rows::how_much_is_lost},
    {"failover_old_primary_may_serve", "blocked",
     rows::old_primary_may_serve, rows::block,
     "the old primary may serve until its lease and its voters' last answers have run out"},
    {"failover_too_few_nodes", "blocked",
     [](const S& s) { return failover_under_way(s.state) != nullptr; }, rows::block,
     "there are too few nodes to keep the ordered number of sync replicas"},

    {"failover_primary_gone", "failover",
     [](const S& s) { return rows::primary_is_gone(s) && failover_can_start(s); },
     rows::start_failover,
     "the primary's node is gone"},
    {"primary_gone", "blocked",
     rows::primary_is_gone, rows::block,
     "the primary's node is gone, and nobody can be promoted", rows::who_is_not_reached},
    {"failover_primary_crashed", "failover",
     [](const S& s) { return primary_crashed(s) && failover_can_start(s); },
     rows::start_failover,
     "the primary's host reports that it runs no more, and it did not come back in place"},
    {"failover_primary_silent", "failover",
     [](const S& s) { return primary_is_silent(s) && failover_can_start(s); },
     rows::start_failover,
     "the primary's host is silent, and no standby saw its postmaster answer"},
    {"failover_primary_does_not_open", "failover",
     [](const S& s) { return primary_does_not_open(s) && failover_can_start(s); },
     rows::start_failover,
     "the promoted primary does not open"},
    {"failover_primary_stalls", "failover",
     [](const S& s) { return primary_stalls(s) && failover_can_start(s); },
     rows::start_failover,
     "the primary is open, but takes no new session or does not put on disk what is written"},

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
     [](const S& s) {
       return s.state.sync_replica_number == 0 && assigned_sync_set(s.state).number > 0 &&
              s.wanted_sync_set.has_value();
     },
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
     "the first voters: enough standbys stream, all of them or for long enough"},
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
    {"primary_back", "blocked",
     rows::primary_is_back, rows::end_refusal,
     "the primary is seen open again: nobody needs to be promoted"},
    {"primary_away", "blocked",
     primary_is_away, rows::block,
     "the primary is away, and nobody can be promoted", rows::who_is_not_reached},
    {"primary_unheard", "",
     primary_host_is_silent, nullptr,
     "the primary's host is silent; whether its postmaster answers is being asked"},
    {"sync_number_unreachable", "",
     sync_number_is_unreachable, nullptr,
     "more sync replicas are ordered than there can be standbys"},
    {"leaving_switchover", "switchover",
     leaving_switchover_can_start, rows::start_switchover,
     "the primary is asked to leave, and a standby can take over"},
    {"leaving_primary", "",
     [](const S& s) { return s.primary->leaving; }, nullptr,
     "the primary is asked to leave, and no standby can take over at the moment"},
    {"restart_switchover", "switchover",
     restart_switchover_can_start, rows::start_switchover,
     "the primary waits with a restart, and a standby can take over"},
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

const Row& first_match(std::span<const Row> table, const Sight& sight) {
  return *std::find_if(table.begin(), table.end(),
                       [&](const Row& row) { return row.when(sight); });
}

std::string why_of(const Row& row, const Sight& sight) {
  return row.detail == nullptr ? row.why : row.why + row.detail(sight);
}

// What a failover waits for, or why there is none, is recorded when it takes long and whenever it
// changes then.
bool is_known(const v1::GroupDecision& decision, const Sight& sight) {
  if (!decision.has_failover_blocked() || decision.failover_blocked().term() == 0) return false;
  const Failover* failover = failover_under_way(sight.state);
  if (failover == nullptr && !anyone_reports(sight)) return true;
  const TimePoint since = failover != nullptr ? sight.facts.seen_since : away_since(sight);
  const std::string& rule = failover != nullptr ? failover->blocked_rule : sight.state.refused_rule;
  const std::string& why = failover != nullptr ? failover->blocked_why : sight.state.refused_why;
  return sight.now - since < kBlockedAfter ||
         (rule == decision.reason().rule() && why == decision.reason().why());
}

bool is_about_failover(const v1::GroupDecision& decision) {
  return decision.has_failover_started() || decision.has_promotion() ||
         decision.has_failover_blocked();
}

std::optional<v1::GroupDecision> decision_of(const Row& row, const Sight& sight) {
  if (row.assign == nullptr) return std::nullopt;
  v1::GroupDecision out;
  row.assign(sight, &out);
  v1::Reason* reason = out.mutable_reason();
  reason->set_rule(row.rule);
  reason->set_why(why_of(row, sight));
  if (is_known(out, sight)) return std::nullopt;
  for (std::string& fact : fact_sentences(sight)) reason->add_facts(std::move(fact));
  if (is_about_failover(out)) {
    to_record(sight.state, sight.facts, sight.now, reason->mutable_seen());
  }
  return out;
}

}  // namespace

std::optional<v1::GroupDecision> decide_roles(const GroupState& state, const GroupFacts& facts,
                                              TimePoint now) {
  const Sight sight = look(state, facts, now);
  return decision_of(first_match(kTable, sight), sight);
}

Verdict judge(const GroupState& state, const GroupFacts& facts, TimePoint now) {
  return judge(state, facts, now, kTable);
}

Verdict judge(const GroupState& state, const GroupFacts& facts, TimePoint now,
              std::span<const Row> table) {
  const Sight sight = look(state, facts, now);
  const Row& row = first_match(table, sight);
  return {.rule = row.rule,
          .why = why_of(row, sight),
          .facts = fact_sentences(sight),
          .decision = decision_of(row, sight)};
}

}  // namespace trunkline::replication
