#include "replication/domain/group_failover.h"

#include <algorithm>
#include <tuple>

namespace trunkline::replication {
namespace {

using S = Sight;
using M = MemberSight;

std::optional<TimePoint> heard_of(const S& s, const Member& member) {
  const auto host = s.facts.hosts.find(member.address.host);
  if (host == s.facts.hosts.end()) return std::nullopt;
  return host->second.at;
}
bool is_heard(const S& s, const Member& member) {
  const auto at = heard_of(s, member);
  return at && s.now - *at <= kSilent;
}
const M* sight_of(const S& s, const NodeId& id) {
  const auto found = std::find_if(s.members.begin(), s.members.end(),
                                  [&](const M& m) { return m.member->id == id; });
  return found == s.members.end() ? nullptr : &*found;
}
bool has_data(const M& m) {
  return m.seen != nullptr && m.seen->timeline > 0 && m.seen->flush_lsn > 0;
}
bool owner_is_new(const S& s) {
  return s.now - s.facts.owner_since < kLease;
}
bool is_attached(const M& m) {
  return m.member->detach == DetachPhase::attached;
}
bool is_voter(const S& s, const NodeId& id) {
  return is_possible_sync_candidate(s.state, id);
}

// Members that could be fenced soon, as far as reports say.
std::map<NodeId, TimePoint> reachable(const S& s) {
  std::map<NodeId, TimePoint> out;
  for (const M& m : s.members) {
    if (m.member->id == s.state.primary) continue;
    if (has_data(m) && is_attached(m) && is_heard(s, *m.member)) out[m.member->id] = s.now;
  }
  return out;
}

bool could_follow(const S& s, const M& m) {
  return m.member->id != s.state.primary && is_attached(m) && is_heard(s, *m.member) &&
         has_data(m) && history_fits(s.state, *m.seen);
}

// The possible sets that the voters are asked of. If the next primary continues the newest open
// one, sets of the terms before its timeline say nothing any more: their writes are on it, and who
// could serve under them was stopped or waited out before that timeline began. An old primary that
// was assigned again may go on in a later term without a new timeline: so terms are not enough.
std::vector<SyncSet> sets_to_ask(const S& s, bool continues) {
  std::vector<SyncSet> out = possible_sync_sets(s.state);
  if (continues) {
    std::erase_if(out, [&](const SyncSet& set) { return set.term < s.state.timeline_term; });
  }
  return out;
}

bool is_further(const M& a, const M& b) {
  const auto rank = [](const M& m) {
    return std::tuple(m.seen->timeline, m.seen->flush_lsn, m.is_staying());
  };
  return rank(a) > rank(b);
}

// No `need` voters can answer an old primary any more, and the next one has all that was
// acknowledged.
Quorum quorum_for(const S& s, const M* next, const std::map<NodeId, TimePoint>& voters) {
  auto sets =
      sets_to_ask(s, next != nullptr && continues_newest_primary(s.state, *next->seen));
  Quorum out = count_quorum(sets, voters);
  std::erase_if(sets, [](const SyncSet& set) { return set.number == 0; });
  if (next == nullptr || sets.empty()) return out;
  auto covered = voters;
  std::erase_if(covered, [&](const auto& voter) {
    return !has_all_of(s.state, *next->seen, *sight_of(s, voter.first)->seen);
  });
  const Quorum written = count_quorum(sets, covered);
  out.is_enough = out.is_enough && written.is_enough;
  for (const NodeId& id : written.missing) {
    if (voters.contains(id)) out.ahead.insert(id);
  }
  return out;
}

Quorum reachable_quorum(const S& s) {
  const M* next = nullptr;
  for (const M& m : s.members) {
    if (could_follow(s, m) && (next == nullptr || is_further(m, *next))) next = &m;
  }
  return quorum_for(s, next, reachable(s));
}

std::string names(const std::set<NodeId>& ids) {
  std::string out;
  for (const NodeId& id : ids) out += (out.empty() ? "" : ", ") + id.str();
  return out;
}

}  // namespace

// ---- is the primary dead? ------------------------------------------------------------------

namespace {

// Whoever has SQL can have the kernel kill a process of the server, so that is to bring about no
// failover after failover.
milliseconds crash_patience(const S& s) {
  const auto seen = s.facts.nodes.find(s.primary->id);
  if (seen == s.facts.nodes.end()) return kMissingPatience;
  if (!seen->second.recovers) return kRestartPatience;
  return s.now - s.facts.seen_since < kSoon ? kRecoveryPatienceSoon : kRecoveryPatience;
}

}  // namespace

bool primary_crashed(const S& s) {
  if (s.primary == nullptr || !s.state.primary_open || owner_is_new(s)) return false;
  if (!s.facts.primary_down_since) return false;
  return s.now - *s.facts.primary_down_since >= crash_patience(s);
}

bool primary_host_is_silent(const S& s) {
  return s.primary != nullptr && s.state.ever_open && !is_heard(s, *s.primary);
}

bool primary_is_silent(const S& s) {
  if (!primary_host_is_silent(s) || owner_is_new(s)) return false;
  if (s.now - s.facts.primary_alive_at <= kSilent) return false;
  const auto can_be_asked = [](const M& m) {
    return m.is_standby() && m.host_reports && m.seen != nullptr;
  };
  if (std::none_of(s.members.begin(), s.members.end(), can_be_asked)) return true;
  const auto& unanswered = s.facts.probe.unanswered_since;
  return unanswered && s.now - *unanswered >= kProbeTime;
}

bool primary_does_not_open(const S& s) {
  if (s.primary == nullptr || !s.state.ever_open || s.state.primary_open || owner_is_new(s)) {
    return false;
  }
  const uint32_t doublings = std::min(s.state.failovers_since_open, 10U);
  const auto patience = std::min(kOpenPatience * (1 << doublings), kOpenPatienceAtMost);
  return s.facts.seen_primary == s.state.primary && s.facts.seen_term == s.state.term &&
         s.now - s.facts.seen_since >= patience;
}

bool primary_stalls(const S& s) {
  return s.open_primary != nullptr && s.state.primary_open && !owner_is_new(s) &&
         s.open_primary->stalled >= kStallPatience;
}

bool primary_is_away(const S& s) {
  if (!s.state.ever_open || failover_under_way(s.state) != nullptr) return false;
  return s.primary == nullptr || primary_crashed(s) || primary_is_silent(s) ||
         primary_does_not_open(s) || primary_stalls(s);
}

TimePoint away_since(const S& s) {
  if (s.facts.primary_down_since) return *s.facts.primary_down_since;
  if (primary_stalls(s)) return s.now - s.open_primary->stalled;
  const auto heard = s.primary == nullptr ? std::nullopt : heard_of(s, *s.primary);
  return std::max(heard.value_or(TimePoint()), s.facts.seen_since);
}

bool anyone_reports(const S& s) {
  return std::any_of(s.members.begin(), s.members.end(),
                     [&](const M& m) { return is_heard(s, *m.member); });
}

bool failover_can_start(const S& s) {
  return reachable_quorum(s).is_enough &&
         std::any_of(s.members.begin(), s.members.end(),
                     [&](const M& m) { return could_follow(s, m); });
}

std::string missing_reporters(const S& s) {
  const Quorum quorum = reachable_quorum(s);
  if (!quorum.is_possible) return "a sync set that may be in force has no voters";
  if (!quorum.missing.empty()) return "not reached: " + names(quorum.missing);
  if (!quorum.ahead.empty()) return kAreAhead + names(quorum.ahead);
  return "no other node has data of the log's history";
}

// ---- a failover under way ------------------------------------------------------------------

Quorum fenced_quorum(const S& s) {
  std::map<NodeId, TimePoint> fenced;
  for (const M& m : s.members) {
    // One that lost its data cannot speak for what it had confirmed. The old primary may have been
    // a voter before; it is not the heir, so what it has does not count.
    if (m.member->id == s.state.failover->from) continue;
    if (m.fenced_since && has_data(m)) fenced[m.member->id] = *m.fenced_since;
  }
  return quorum_for(s, heir(s), fenced);
}

const M* old_primary_reporting(const S& s) {
  const M* old = sight_of(s, s.state.failover->from);
  return old != nullptr && is_attached(*old) && is_heard(s, *old->member) ? old : nullptr;
}

bool old_primary_stopped(const S& s) {
  const auto fenced = s.facts.fenced.find(s.state.failover->from);
  return fenced != s.facts.fenced.end() && fenced->second.term == s.state.term;
}

bool is_covered(const S& s) {
  return fenced_quorum(s).is_enough;
}

TimePoint old_primary_serves_until(const S& s) {
  TimePoint out = std::max(s.facts.lease_until, s.facts.others_lease_until);
  const Quorum quorum = fenced_quorum(s);
  if (quorum.is_enough) return std::max(out, quorum.since + kReplyLease) + kSlack;
  for (const auto& [id, fenced] : s.facts.fenced) {
    if (fenced.term == s.state.term) out = std::max(out, fenced.since + kReplyLease);
  }
  return out + kSlack;
}

bool old_primary_cannot_serve(const S& s) {
  return old_primary_stopped(s) || s.now > old_primary_serves_until(s);
}

const M* heir(const S& s) {
  const NodeId& target = s.state.failover->target;
  const M* best = nullptr;
  for (const M& m : s.members) {
    if (!m.fenced_since || !is_attached(m) || m.member->id == s.state.failover->from) continue;
    if (!has_data(m) || !history_fits(s.state, *m.seen)) continue;
    if (!target.empty() && m.member->id != target) continue;
    if (best == nullptr || is_further(m, *best)) best = &m;
  }
  return best;
}

const M* switchover_heir(const S& s) {
  const Failover& failover = *s.state.failover;
  const M* old = sight_of(s, failover.from);
  if (old == nullptr || old->seen == nullptr || !old_primary_stopped(s)) return nullptr;
  if (!old->seen->wal_end_exact) return nullptr;
  const M* best = nullptr;
  for (const M& m : s.members) {
    if (!m.is_staying() || !m.is_standby() || m.seen == nullptr) continue;
    if (!is_heard(s, *m.member) || m.member->upstream != failover.from) continue;
    if (!failover.target.empty() && m.member->id != failover.target) continue;
    const bool has_all = m.seen->postgres == PostgresState::recovering &&
                         m.seen->role == ReportedRole::standby &&
                         m.seen->timeline == old->seen->timeline && old->seen->flush_lsn > 0 &&
                         m.seen->flush_lsn >= old->seen->flush_lsn;
    if (!has_all) continue;
    if (best == nullptr || (is_voter(s, m.member->id) && !is_voter(s, best->member->id))) {
      best = &m;
    }
  }
  return best;
}

uint64_t lost_bytes(const S& s, const M& heir) {
  const auto sets = possible_sync_sets(s.state);
  const bool may_lose = s.state.failover->kind == FailoverKind::override_by_operator ||
                        std::any_of(sets.begin(), sets.end(),
                                    [](const SyncSet& set) { return set.number == 0; });
  if (!may_lose || s.facts.wal_of != s.state.failover->from) return 0;
  return s.facts.wal_until > heir.seen->flush_lsn ? s.facts.wal_until - heir.seen->flush_lsn : 0;
}

bool loss_is_too_much(const S& s) {
  const M* next = heir(s);
  return next != nullptr && s.state.failover->kind != FailoverKind::override_by_operator &&
         lost_bytes(s, *next) > kLagCap;
}

std::vector<NodeId> reporting_and_not_fenced(const S& s) {
  std::vector<NodeId> out;
  for (const M& m : s.members) {
    if (!is_attached(m) || m.fenced_since || !is_heard(s, *m.member) || m.seen == nullptr) continue;
    if (m.member->id == s.state.failover->from || is_voter(s, m.member->id)) {
      out.push_back(m.member->id);
    }
  }
  return out;
}

std::optional<SyncSet> next_sync_set(const S& s, const M& heir, bool must_keep_number) {
  const GroupState& state = s.state;
  const uint32_t ordered = state.nodes_number == 0 ? 0 : state.nodes_number - 1;
  const uint32_t number = std::min(state.sync_replica_number, ordered);
  SyncSet out{.version = assigned_sync_set(state).version + 1};
  const bool is_switchover = state.failover->kind == FailoverKind::switchover;
  for (const M& m : s.members) {
    const bool follows = m.fenced_since.has_value() ||
                         (is_switchover && m.is_standby() && is_heard(s, *m.member) &&
                          m.member->progress == StandbyProgress::streaming);
    const bool is_old = m.member->id == state.failover->from;
    if (&m == &heir || !m.is_staying() || !is_attached(m) || !follows || is_old) continue;
    out.candidates.insert(m.member->id);
  }
  if (out.candidates.size() < number) {
    for (const M& m : s.members) {
      if (&m != &heir && m.is_staying() && is_attached(m)) out.candidates.insert(m.member->id);
    }
  }
  out.number = std::min(number, static_cast<uint32_t>(out.candidates.size()));
  if (must_keep_number && out.number < number) return std::nullopt;
  return out;
}

// ---- a switchover --------------------------------------------------------------------------

bool is_switchover_target(const S& s, const M& m) {
  if (!m.is_staying() || !m.is_streaming() || !is_heard(s, *m.member)) return false;
  return s.open_primary != nullptr &&
         m.seen->flush_lsn + kSwitchoverLag >= s.open_primary->flush_lsn;
}

namespace {

// A switchover that nobody asked for; after one that was given up, not at once.
bool own_switchover_can_start(const S& s) {
  if (s.primary == nullptr || !s.state.primary_open) return false;
  if (s.open_primary == nullptr || owner_is_new(s)) return false;
  const uint32_t given_up = s.state.switchovers_given_up;
  if (given_up > 0) {
    const auto pause = kSwitchoverPause * (1 << std::min(given_up - 1, 6U));
    if (s.now - s.facts.seen_since < pause) return false;
  }
  return std::any_of(s.members.begin(), s.members.end(),
                     [&](const M& m) { return is_switchover_target(s, m); });
}

}  // namespace

bool leaving_switchover_can_start(const S& s) {
  return s.primary != nullptr && s.primary->leaving && own_switchover_can_start(s);
}

bool restart_is_awaited(const S& s) {
  return s.open_primary != nullptr && s.open_primary->restart_awaited;
}

bool restart_switchover_can_start(const S& s) {
  return restart_is_awaited(s) && own_switchover_can_start(s);
}

}  // namespace trunkline::replication
