// What hosts reported of a group's nodes lately: a fold of HostReports beside the log. It may be
// lost at any time; the next reports bring it back. Values only; the time comes in.
//
// Reports may come late, twice or out of order: one that is not newer than the last of its host is
// passed over.
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
enum class ReportedRole { none, primary, standby };
enum class TaskState { not_started, in_progress, succeeded, failed };

// A standby as its primary sees it.
struct StandbySeen {
  std::string state;  // "streaming", "catchup", …
  uint64_t flush_lsn = 0;
  bool streams() const { return state == "streaming"; }
  bool is_attached() const { return streams() || state == "catchup"; }
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
  uint64_t sync_version = 0;
  std::set<NodeId> slots;
  std::map<NodeId, StandbySeen> standbys;
};

struct HostSeen {
  TimePoint at;
  std::string agent_id;
  uint64_t sequence = 0;
  int64_t sent_unix_us = 0;
};

// Where the primary's WAL was once a sync set was surely in force.
struct SyncMark {
  NodeId primary;
  uint64_t term = 0;
  uint64_t sync_version = 0;
  TimePoint first_seen;               // in force, in a report
  std::optional<uint64_t> flush_lsn;  // what was acknowledged under older sets is below it
};

struct GroupFacts {
  std::map<HostName, HostSeen> hosts;
  std::map<NodeId, NodeSeen> nodes;
  // Since when an open, reporting primary has not seen a standby attached.
  std::map<NodeId, TimePoint> detached_since;
  std::optional<SyncMark> sync_mark;
};

// The header of a host's report, and its nodes that belong to this group.
struct ReportSlice {
  HostName host;
  std::string agent_id;
  uint64_t sequence = 0;
  int64_t sent_unix_us = 0;
  std::vector<const v1::NodeReport*> nodes;  // null is not allowed
};

// Takes a report that came at `at`. False if it is not newer than the last one of its host.
bool observe(GroupFacts& facts, const GroupState& state, const ReportSlice& report, TimePoint at);
// The same, picking this group's nodes out of the whole report.
bool observe(GroupFacts& facts, const GroupState& state, const v1::HostReport& report,
             TimePoint at);

}  // namespace trunkline::replication
