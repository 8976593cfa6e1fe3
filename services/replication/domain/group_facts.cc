#include "replication/domain/group_facts.h"

#include <algorithm>

#include "replication/domain/conversions.h"
#include "replication/domain/report_conversions.h"

namespace trunkline::replication {
namespace {

// A host's words go into the log as facts: no longer than a sentence, cut between characters.
std::string shortened(std::string text) {
  constexpr size_t kLongest = 300;
  if (text.size() <= kLongest) return text;
  size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

NodeSeen to_seen(const v1::NodeReport& m, TimePoint at) {
  NodeSeen out{.at = at,
               .role_generation = m.role().generation(),
               .role_state = to_task_state(m.role().state()),
               .role_step = shortened(m.role().step()),
               .postgres = to_state(m.postgres()),
               .role = to_role(m.reported_role()),
               .term = m.term(),
               .timeline = m.timeline(),
               .flush_lsn = m.flush_lsn(),
               .wal_end_exact = m.wal_end_exact(),
               .sync_version = m.sync_version(),
               .history = to_history(m.history()),
               .probe_id = m.probe().probe_id(),
               .probe_answered = m.probe().answered(),
               .prepared_id = m.prepared_id(),
               .restart_awaited = m.restart_awaited(),
               .answers = m.answers(),
               .recovers = m.recovers(),
               .stalled = milliseconds(m.stalled_ms()),
               .slots = to_ids(m.slots())};
  if (m.role().has_failure()) {
    out.role_failure = shortened(m.role().failure().code() + ": " + m.role().failure().message());
  }
  if (m.upstream_silent_ms() > 0) out.upstream_silent = milliseconds(m.upstream_silent_ms());
  for (const auto& standby : m.standbys()) {
    out.standbys[NodeId(standby.node_id())] = {.state = shortened(standby.state()),
                                               .flush_lsn = standby.flush_lsn()};
  }
  return out;
}

// Another agent_id is a restarted agent: newer if it was sent later, or if the last one has been
// silent for so long that the host's clock may have been set back.
bool is_newer(const HostSeen& last, const ReportSlice& report, TimePoint at) {
  if (last.agent_id == report.agent_id) return report.sequence > last.sequence;
  return report.sent_unix_us > last.sent_unix_us || at - last.at > kFreshReport;
}

void set_sync_mark(GroupFacts& facts, const GroupState& state, const NodeSeen& primary) {
  auto& mark = facts.sync_mark;
  if (!mark || mark->primary != state.primary || mark->term != primary.term ||
      mark->sync_version != primary.sync_version) {
    mark = SyncMark{.primary = state.primary,
                    .term = primary.term,
                    .sync_version = primary.sync_version,
                    .first_seen = primary.at};
  }
  const bool is_sure = !state.ever_settled || primary.at - mark->first_seen >= kSyncMarkAfter;
  if (is_sure && !mark->flush_lsn) mark->flush_lsn = primary.flush_lsn;
}

// `was_silent`: nobody looked for a while, so nothing can be said of that time.
void look_from_primary(GroupFacts& facts, const GroupState& state, const NodeSeen& primary,
                       bool was_silent) {
  const bool is_open = primary.postgres == PostgresState::open &&
                       primary.role == ReportedRole::primary && primary.term == state.term;
  if (was_silent || !is_open) facts.detached_since.clear();
  if (!is_open) return;
  for (const Member& member : state.members) {
    const auto standby = primary.standbys.find(member.id);
    if (standby != primary.standbys.end() && standby->second.is_attached()) {
      facts.detached_since.erase(member.id);
    } else if (member.role == AssignedRole::standby) {
      facts.detached_since.try_emplace(member.id, primary.at);
    }
  }
  set_sync_mark(facts, state, primary);
}

void look_for_fenced(GroupFacts& facts, const GroupState& state, const NodeId& id,
                     const NodeSeen& seen) {
  const bool is_fenced = seen.role == ReportedRole::fenced && seen.term == state.term &&
                         seen.role_state == TaskState::succeeded;
  if (!is_fenced) {
    facts.fenced.erase(id);
  } else if (auto& known = facts.fenced[id]; known.term != seen.term) {
    known = {.term = seen.term, .since = seen.at - seen.upstream_silent.value_or(milliseconds(0))};
  }
}

// What is said of the newest primary: by its own host, or by a standby's.
void look_for_life(GroupFacts& facts, const GroupState& state, const Member& member,
                   const NodeSeen& seen) {
  const NodeId& newest = state.failover && !state.failover->is_over ? state.failover->from
                                                                    : state.primary;
  if (facts.wal_of != newest) {
    facts.wal_of = newest;
    facts.wal_until = 0;
  }
  if (member.id == newest) {
    if (seen.role != ReportedRole::none) {
      facts.wal_until = std::max(facts.wal_until, seen.flush_lsn);
    }
    return;
  }
  if (seen.role != ReportedRole::standby || seen.term != state.term) return;
  if (seen.upstream_silent) {
    facts.primary_alive_at = std::max(facts.primary_alive_at, seen.at - *seen.upstream_silent);
  }
  ProbeFacts& probe = facts.probe;
  if (!seen.probe_answered || seen.probe_id <= probe.answered_id || seen.probe_id > probe.id) {
    return;
  }
  probe.answered_id = seen.probe_id;
  facts.primary_alive_at = std::max(facts.primary_alive_at, seen.at);
  probe.unanswered_since.reset();
  if (probe.id > seen.probe_id) probe.unanswered_since = probe.asked_at;
}

void look_at_primary(GroupFacts& facts, const GroupState& state, const NodeSeen* seen,
                     TimePoint at) {
  facts.probe.unanswered_since.reset();
  // Whatever it answers, one that answers has not crashed.
  const bool lives =
      seen != nullptr && (seen->postgres == PostgresState::open || seen->answers);
  if (lives || !state.primary_open) {
    facts.primary_down_since.reset();
  } else if (!facts.primary_down_since) {
    facts.primary_down_since = at;
  }
}

}  // namespace

void notice(GroupFacts& facts, const GroupState& state, TimePoint now) {
  if (facts.seen_term == state.term && facts.seen_primary == state.primary &&
      facts.seen_since != TimePoint()) {
    return;
  }
  facts.seen_term = state.term;
  facts.seen_primary = state.primary;
  facts.seen_since = now;
  facts.primary_down_since.reset();
  facts.detached_since.clear();  // from another primary
  facts.probe.unanswered_since.reset();
  std::erase_if(facts.fenced, [&](const auto& node) { return node.second.term != state.term; });
}

void note_lease(GroupFacts& facts, TimePoint until) {
  facts.lease_until = std::max(facts.lease_until, until);
}

void note_probe(GroupFacts& facts, uint64_t id, TimePoint now) {
  facts.probe.id = id;
  facts.probe.asked_at = now;
  if (!facts.probe.unanswered_since) facts.probe.unanswered_since = now;
}

void note_preparation(GroupFacts& facts, uint64_t id, TimePoint now) {
  if (facts.prepare.id != id) facts.prepare = {.id = id, .asked_at = now};
}

bool observe(GroupFacts& facts, const GroupState& state, const ReportSlice& report, TimePoint at) {
  notice(facts, state, at);
  const auto [host, is_first] = facts.hosts.try_emplace(report.host);
  if (!is_first && !is_newer(host->second, report, at)) return false;
  const bool was_silent = is_first || at - host->second.at > kFreshReport;
  host->second = {.at = at,
                  .agent_id = report.agent_id,
                  .sequence = report.sequence,
                  .sent_unix_us = report.sent_unix_us};
  std::map<NodeId, const v1::NodeReport*> reported;
  for (const v1::NodeReport* node : report.nodes) reported[NodeId(node->node_id())] = node;
  for (const Member& member : state.members) {
    if (member.address.host != report.host) continue;
    const auto found = reported.find(member.id);
    if (found == reported.end()) {
      facts.nodes.erase(member.id);
      facts.fenced.erase(member.id);
      if (member.id == state.primary) {
        facts.detached_since.clear();
        look_at_primary(facts, state, nullptr, at);
      }
      continue;
    }
    const NodeSeen& seen = facts.nodes[member.id] = to_seen(*found->second, at);
    look_for_fenced(facts, state, member.id, seen);
    look_for_life(facts, state, member, seen);
    if (member.id != state.primary) continue;
    look_from_primary(facts, state, seen, was_silent);
    look_at_primary(facts, state, &seen, at);
  }
  // What is said of nodes that are members no more is not kept.
  std::erase_if(facts.nodes, [&](const auto& node) { return !find_member(state, node.first); });
  std::erase_if(facts.fenced, [&](const auto& node) { return !find_member(state, node.first); });
  std::erase_if(facts.detached_since,
                [&](const auto& node) { return !find_member(state, node.first); });
  return true;
}

bool observe(GroupFacts& facts, const GroupState& state, const v1::HostReport& report,
             TimePoint at) {
  ReportSlice slice{.host = HostName(report.host()),
                    .agent_id = report.agent_id(),
                    .sequence = report.sequence(),
                    .sent_unix_us = report.sent_unix_us()};
  for (const auto& node : report.nodes()) {
    if (find_member(state, NodeId(node.node_id())) != nullptr) slice.nodes.push_back(&node);
  }
  return observe(facts, state, slice, at);
}

}  // namespace trunkline::replication
