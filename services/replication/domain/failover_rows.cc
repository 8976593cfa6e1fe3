#include "replication/domain/failover_rows.h"

#include <algorithm>

#include "replication/domain/conversions.h"

namespace trunkline::replication::rows {
namespace {

using S = Sight;
using M = MemberSight;
using D = v1::GroupDecision;

bool is_under_way(const S& s, FailoverKind kind) {
  const Failover* failover = failover_under_way(s.state);
  return failover != nullptr && failover->kind == kind;
}

void start(const S& s, FailoverKind kind, D* d) {
  auto* out = d->mutable_failover_started();
  out->set_term(s.state.term + 1);
  out->set_kind(to_proto(kind));
}

void promote(const S& s, const M& m, const std::optional<SyncSet>& set, D* d) {
  auto* promotion = d->mutable_promotion();
  auto* primary = promotion->mutable_primary_assigned();
  primary->set_node_id(m.member->id.str());
  primary->set_term(s.state.term);
  primary->set_timeline(s.state.newest_timeline + 1);
  if (m.seen != nullptr) primary->set_promoted_at_lsn(m.seen->flush_lsn);
  if (!set) return;
  primary->set_lost_bytes(lost_bytes(s, m));
  auto* out = promotion->mutable_sync_set_assigned();
  out->set_sync_version(set->version);
  out->set_number(set->number);
  add_ids(set->candidates, out->mutable_candidates());
}

bool is_overridable(const S& s) {
  return reporting_and_not_fenced(s).empty() && old_primary_cannot_serve(s);
}

template <class Ids>
std::string joined(const std::string& what, const Ids& ids) {
  std::string out;
  for (const NodeId& id : ids) out += (out.empty() ? what : ", ") + id.str();
  return out;
}

}  // namespace

bool primary_is_gone(const S& s) {
  return s.primary == nullptr && failover_under_way(s.state) == nullptr && s.state.term > 0;
}
void start_failover(const S& s, D* d) {
  start(s, FailoverKind::failover, d);
}
void start_switchover(const S& s, D* d) {
  start(s, FailoverKind::switchover, d);
}

bool switches_over(const S& s) {
  return is_under_way(s, FailoverKind::switchover);
}
bool fails_over(const S& s) {
  return is_under_way(s, FailoverKind::failover);
}
bool is_overridden(const S& s) {
  return is_under_way(s, FailoverKind::override_by_operator);
}

bool switchover_ends(const S& s) {
  return switches_over(s) && switchover_heir(s) != nullptr;
}
bool switchover_is_over_time(const S& s) {
  return switches_over(s) && old_primary_reporting(s) != nullptr &&
         s.now - s.facts.seen_since >= kSwitchoverDeadline;
}
bool switchover_lost_its_primary(const S& s) {
  return switches_over(s) && old_primary_reporting(s) == nullptr && failover_can_start(s);
}

bool can_promote(const S& s) {
  if (!fails_over(s) || loss_is_too_much(s)) return false;
  const M* next = heir(s);
  return next != nullptr && is_covered(s) && old_primary_cannot_serve(s) &&
         next_sync_set(s, *next, true).has_value();
}
bool can_promote_overridden(const S& s) {
  return is_overridden(s) && heir(s) != nullptr && is_overridable(s);
}
bool old_primary_is_all_there_is(const S& s) {
  if (!(fails_over(s) || is_overridden(s)) || s.now - s.facts.seen_since < kAgainAfter) {
    return false;
  }
  const M* old = old_primary_reporting(s);
  return old != nullptr && old->fenced_since && old->seen->timeline > 0 &&
         old->seen->flush_lsn > 0 && history_fits(s.state, *old->seen);
}

void promote_switchover_heir(const S& s, D* d) {
  const M& next = *switchover_heir(s);
  promote(s, next, next_sync_set(s, next, false), d);
}
void promote_heir(const S& s, D* d) {
  const M& next = *heir(s);
  promote(s, next, next_sync_set(s, next, false), d);
}
void promote_old_primary(const S& s, D* d) {
  promote(s, *old_primary_reporting(s), std::nullopt, d);
}

bool too_few_fenced(const S& s) {
  return fails_over(s) && !is_covered(s);
}
bool old_primary_may_serve(const S& s) {
  return failover_under_way(s.state) != nullptr && !old_primary_cannot_serve(s);
}
bool nobody_fits(const S& s) {
  return (fails_over(s) || is_overridden(s)) && heir(s) == nullptr;
}
bool waits_for_stop(const S& s) {
  return switches_over(s) && !old_primary_stopped(s);
}
bool overridden_too_early(const S& s) {
  return is_overridden(s) && !reporting_and_not_fenced(s).empty();
}
void block(const S& s, D* d) {
  d->mutable_failover_blocked()->set_term(s.state.term);
}
bool primary_is_back(const S& s) {
  return !s.state.refused_rule.empty() && s.open_primary != nullptr && !primary_is_away(s);
}
void end_refusal(const S&, D* d) {
  d->mutable_failover_blocked()->set_term(0);
}

std::string what_was_waited_for(const S& s) {
  const std::string& why = s.state.failover->blocked_why;
  return why.empty() ? why : ": " + why;
}
std::string who_is_missing(const S& s) {
  const Quorum quorum = fenced_quorum(s);
  if (!quorum.is_possible) return ": a sync set that may be in force has no voters";
  if (!quorum.missing.empty()) return joined(": not fenced: ", quorum.missing);
  return joined(std::string(": ") + kAreAhead, quorum.ahead);
}
std::string who_is_not_reached(const S& s) {
  return ": " + missing_reporters(s);
}
std::string who_is_not_fenced(const S& s) {
  return joined(": not fenced: ", reporting_and_not_fenced(s));
}
std::string how_much_is_lost(const S& s) {
  const M* next = heir(s);
  if (next == nullptr) return {};
  return ": " + std::to_string(lost_bytes(s, *next)) + " bytes";
}

}  // namespace trunkline::replication::rows
