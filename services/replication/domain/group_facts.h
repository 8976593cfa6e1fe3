// What hosts reported of a group's nodes lately: a fold of HostReports beside the log. It may be
// lost at any time; the next reports bring it back. Values only; the time comes in.
//
// Reports may come late, twice or out of order: one that is not newer than the last of its host is
// passed over. All times are of one process's own clock that never steps and counts suspend time;
// failover's safety rests on them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "replication/domain/group_state.h"

namespace trunkline::v1 {
class HostReport;
class NodeReport;
}  // namespace trunkline::v1

namespace trunkline::replication {

inline constexpr seconds kFreshReport{3};  // older reports are not believed to be the present
// A WAL sender can take a moment to read a new sync set and nobody can see it, so where a promise
// was given already (the group was settled once), the mark is set so much later.
inline constexpr seconds kSyncMarkAfter{1};

enum class PostgresState { unknown, stopped, starting, recovering, open };
enum class ReportedRole { none, primary, standby, fenced };
enum class TaskState { not_started, in_progress, succeeded, failed };

// A standby as its primary sees it.
struct StandbySeen {
  std::string state;  // "streaming", "catchup", …
  uint64_t flush_lsn = 0;
  bool streams() const { return state == "streaming"; }
  bool is_attached() const { return streams() || state == "catchup"; }
  bool operator==(const StandbySeen&) const = default;
};

struct NodeSeen {
  TimePoint at;  // when the report came
  uint64_t role_generation = 0;
  TaskState role_state = TaskState::not_started;
  std::string role_step;
  std::string role_failure;  // "<code>: <message>" of the last try, or ""
  PostgresState postgres = PostgresState::unknown;
  ReportedRole role = ReportedRole::none;
  uint64_t term = 0;
  uint32_t timeline = 0;
  uint64_t flush_lsn = 0;
  bool wal_end_exact = false;
  uint64_t sync_version = 0;
  std::vector<TimelineBegin> history;
  uint64_t probe_id = 0;
  bool probe_answered = false;
  uint64_t prepared_id = 0;
  bool restart_awaited = false;  // of a primary, until another one is or for a while
  bool answers = false;     // it is not seen open, and lives
  bool recovers = false;    // not open: its postmaster lives, and starts its server anew
  milliseconds stalled{0};  // open, but takes no session or writes nothing down, for so long
  std::optional<milliseconds> upstream_silent;
  std::set<NodeId> slots;
  std::map<NodeId, StandbySeen> standbys;
  bool operator==(const NodeSeen&) const = default;
};

struct HostSeen {
  TimePoint at;
  std::string agent_id;
  uint64_t sequence = 0;
  int64_t sent_unix_us = 0;
  bool operator==(const HostSeen&) const = default;
};

// Where the primary's WAL was once a sync set was surely in force.
struct SyncMark {
  NodeId primary;
  uint64_t term = 0;
  uint64_t sync_version = 0;
  TimePoint first_seen;               // in force, in a report
  std::optional<uint64_t> flush_lsn;  // what was acknowledged under older sets is below it
  bool operator==(const SyncMark&) const = default;
};

// A member that holds still in a term.
struct FencedSeen {
  uint64_t term = 0;
  TimePoint since;  // it has confirmed nothing that was written later
  bool operator==(const FencedSeen&) const = default;
};

// Whether the primary's postmaster answers its standbys' hosts while its own host is silent.
struct ProbeFacts {
  uint64_t id = 0;  // of the newest probe
  TimePoint asked_at;
  std::optional<TimePoint> unanswered_since;  // the oldest one since which none was answered
  uint64_t answered_id = 0;
  bool operator==(const ProbeFacts&) const = default;
};

// The checkpoint of the primary that a switchover waits for before it begins.
struct PrepareFacts {
  uint64_t id = 0;  // of the newest PrepareStop
  TimePoint asked_at;
  bool operator==(const PrepareFacts&) const = default;
};

struct GroupFacts {
  TimePoint owner_since;  // when this process began to decide for the group
  TimePoint lease_until;  // no lease that it granted lasts longer
  TimePoint others_lease_until;  // nor one that another process granted
  // The term and its primary as they were seen last, and since when.
  uint64_t seen_term = 0;
  NodeId seen_primary;
  TimePoint seen_since;
  std::map<NodeId, FencedSeen> fenced;
  // Since when the host of a primary that was open reports it otherwise.
  std::optional<TimePoint> primary_down_since;
  TimePoint primary_alive_at;  // the newest that standbys know of its life
  ProbeFacts probe;
  PrepareFacts prepare;
  // The newest open primary's WAL, as far as it was heard of.
  NodeId wal_of;
  uint64_t wal_until = 0;

  std::map<HostName, HostSeen> hosts;
  std::map<NodeId, NodeSeen> nodes;
  // Since when an open, reporting primary has not seen a standby attached.
  std::map<NodeId, TimePoint> detached_since;
  std::optional<SyncMark> sync_mark;
  bool operator==(const GroupFacts&) const = default;
};

// The header of a host's report, and its nodes that belong to this group.
struct ReportSlice {
  HostName host;
  std::string agent_id;
  uint64_t sequence = 0;
  int64_t sent_unix_us = 0;
  std::vector<const v1::NodeReport*> nodes;  // null is not allowed
};

// Takes note of the state's term and primary; before anything is decided.
void notice(GroupFacts& facts, const GroupState& state, TimePoint now);
// Before a lease is published.
void note_lease(GroupFacts& facts, TimePoint until);
// Before a probe is sent; `id` grows.
void note_probe(GroupFacts& facts, uint64_t id, TimePoint now);

// Before a PrepareStop is sent.
void note_preparation(GroupFacts& facts, uint64_t id, TimePoint now);

// Takes a report that came at `at`. False if it is not newer than the last one of its host.
bool observe(GroupFacts& facts, const GroupState& state, const ReportSlice& report, TimePoint at);
// The same, picking this group's nodes out of the whole report.
bool observe(GroupFacts& facts, const GroupState& state, const v1::HostReport& report,
             TimePoint at);

}  // namespace trunkline::replication
