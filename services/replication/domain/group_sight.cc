#include "replication/domain/group_sight.h"

#include <algorithm>
#include <cstdio>

namespace trunkline::replication {
namespace {

bool is_fresh(TimePoint at, TimePoint now) {
  return now - at <= kFreshReport;
}

const NodeSeen* fresh_report(const GroupFacts& facts, const NodeId& id, TimePoint now) {
  const auto found = facts.nodes.find(id);
  return found != facts.nodes.end() && is_fresh(found->second.at, now) ? &found->second : nullptr;
}

bool streams(const Sight& sight, const Member& member, const NodeSeen* seen) {
  if (sight.open_primary == nullptr || seen == nullptr) return false;
  if (member.role != AssignedRole::standby || member.upstream != sight.state.primary) return false;
  if (seen->postgres != PostgresState::recovering || seen->role != ReportedRole::standby ||
      seen->term != member.term) {
    return false;
  }
  // A fork of an older timeline is sent what is before the fork, and calls that streaming.
  if (seen->timeline != sight.open_primary->timeline) return false;
  const auto standby = sight.open_primary->standbys.find(member.id);
  return standby != sight.open_primary->standbys.end() && standby->second.streams();
}

const char* to_text(PostgresState state) {
  switch (state) {
    case PostgresState::unknown:
      return "not started yet";
    case PostgresState::stopped:
      return "stopped";
    case PostgresState::starting:
      return "starting";
    case PostgresState::recovering:
      return "recovering";
    case PostgresState::open:
      return "open";
  }
  return "";
}

std::string assigned_text(const Member& member) {
  std::string out(role_name(member.role));
  if (member.role == AssignedRole::standby)
    out += ", " + std::string(progress_name(member.progress));
  if (member.detach == DetachPhase::detaching) out += ", being detached";
  if (member.detach == DetachPhase::detached) out += ", detached";
  if (member.leaving) out += ", leaving";
  return out;
}

std::string wal_text(const NodeSeen& seen) {
  std::string out = to_text(seen.postgres);
  if (seen.flush_lsn != 0) {
    out += ", timeline " + std::to_string(seen.timeline) + ", flushed " + lsn_text(seen.flush_lsn);
  }
  return out;
}

std::string reported_text(const Sight& sight, const MemberSight& member) {
  const HostName& host = member.member->address.host;
  const auto heard = sight.facts.hosts.find(host);
  if (heard == sight.facts.hosts.end()) return "host " + host.str() + " has not reported yet";
  if (!member.host_reports) {
    const auto silent = std::chrono::duration_cast<seconds>(sight.now - heard->second.at);
    std::string out =
        "host " + host.str() + " is silent for " + std::to_string(silent.count()) + " s";
    const auto seen = sight.facts.nodes.find(member.member->id);
    if (seen == sight.facts.nodes.end()) return out;
    return out + "; before: " + wal_text(seen->second);
  }
  if (member.seen == nullptr) return "host " + host.str() + " does not have it yet";
  const NodeSeen& seen = *member.seen;
  std::string out = wal_text(seen);
  if (seen.answers) out += ", answers";
  if (seen.recovers) out += ", recovers from the death of one of its processes";
  if (seen.stalled > milliseconds(0)) {
    out += ", stalled for " + std::to_string(seen.stalled.count()) + " ms";
  }
  if (member.fenced_since) out += ", fenced in term " + std::to_string(seen.term);
  if (seen.role == ReportedRole::primary) {
    out += ", sync set " + std::to_string(seen.sync_version) + " in force";
  }
  if (member.member->role == AssignedRole::standby && member.streams) out += ", streaming";
  if (seen.role_state == TaskState::in_progress && !seen.role_step.empty()) {
    out += ", at work: " + seen.role_step;
  }
  if (seen.role_state == TaskState::failed) out += ", failed: " + seen.role_failure;
  return out;
}

// The assigned set with a smaller number: never harder to satisfy, so it needs nobody to be there.
// Nothing if a candidate is no standby any more.
std::optional<SyncSet> weaker_set(const Sight& sight, uint32_t number) {
  SyncSet out = assigned_sync_set(sight.state);
  if (number >= out.number) return std::nullopt;
  for (const NodeId& id : out.candidates) {
    const Member* member = find_member(sight.state, id);
    if (member == nullptr || member->role != AssignedRole::standby ||
        member->detach != DetachPhase::attached) {
      return std::nullopt;
    }
  }
  ++out.version;
  out.number = number;
  return out;
}

std::optional<SyncSet> wanted_sync_set(const Sight& sight) {
  const GroupState& state = sight.state;
  const SyncSet& assigned = assigned_sync_set(state);
  const uint32_t number = state.sync_replica_number;
  SyncSet out{.version = assigned.version + 1, .number = number};
  if (!state.primary_open) return weaker_set(sight, number);
  uint32_t streaming = 0;
  for (const MemberSight& member : sight.members) {
    if (!member.is_staying() || !member.is_standby()) continue;
    const bool is_kept = assigned.candidates.contains(member.member->id) && !member.is_lost();
    if (member.is_streaming() || is_kept) out.candidates.insert(member.member->id);
    if (member.is_streaming()) ++streaming;
  }
  if (streaming >= number) return out;
  return weaker_set(sight, number);
}

}  // namespace

Sight look(const GroupState& state, const GroupFacts& facts, TimePoint now) {
  Sight out{.state = state, .facts = facts, .now = now};
  out.primary = primary_member(state);
  if (out.primary != nullptr) {
    const NodeSeen* seen = fresh_report(facts, state.primary, now);
    const bool is_open = seen != nullptr && seen->postgres == PostgresState::open &&
                         seen->role == ReportedRole::primary && seen->term == state.term;
    if (is_open) out.open_primary = seen;
  }
  for (const Member& member : state.members) {
    MemberSight sight{.member = &member, .seen = fresh_report(facts, member.id, now)};
    const auto host = facts.hosts.find(member.address.host);
    sight.host_reports = host != facts.hosts.end() && is_fresh(host->second.at, now);
    sight.streams = streams(out, member, sight.seen);
    const auto fenced = facts.fenced.find(member.id);
    const bool is_fenced = fenced != facts.fenced.end() && fenced->second.term == state.term;
    if (is_fenced && sight.seen != nullptr) sight.fenced_since = fenced->second.since;
    out.members.push_back(sight);
  }
  out.wanted_sync_set = wanted_sync_set(out);
  return out;
}

std::vector<std::string> fact_sentences(const Sight& sight) {
  const GroupState& state = sight.state;
  std::vector<std::string> out;
  out.push_back(
      "ordered: " + std::to_string(state.nodes_number) + " nodes, " +
      std::to_string(state.sync_replica_number) + " sync replicas; term " +
      std::to_string(state.term) + "; sync set applied: " + sync_set_text(state.sync_applied) +
      (state.sync_pending.empty() ? ""
                                  : ", assigned: " + sync_set_text(state.sync_pending.back())));
  if (const Failover* failover = failover_under_way(state)) {
    out.push_back("under way: " + std::string(kind_name(failover->kind)) + " from node " +
                  failover->from.str() + (sight.facts.wal_until == 0 ? ""
                      : ", whose WAL was heard of until " + lsn_text(sight.facts.wal_until)));
  }
  for (const MemberSight& member : sight.members) {
    out.push_back("node " + member.member->id.str() + " (" + assigned_text(*member.member) +
                  "): " + reported_text(sight, member));
  }
  return out;
}

std::string lsn_text(uint64_t lsn) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%X/%X", static_cast<unsigned>(lsn >> 32),
                static_cast<unsigned>(lsn & 0xFFFFFFFFU));
  return buffer;
}

}  // namespace trunkline::replication
