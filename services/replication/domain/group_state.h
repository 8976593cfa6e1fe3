// What the log says of one group: a fold of stream `group-<instance id>` (group_evolve.h).
// Values only; no thread, no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace trunkline::replication {

// `fenced` is no member's own role: it is what a member is told while its term has no primary, and
// until it has a role in that term (role_document.h).
enum class AssignedRole { none, primary, standby, fenced };

// How far the log knows a standby to have come.
enum class StandbyProgress {
  none,     // not a standby
  joining,  // assigned, has not streamed yet
  streaming,
  lost,        // was streaming and is not any more; to be assigned again
  rebuilding,  // assigned again after it was lost
};

// How far a leaving member has come.
enum class DetachPhase {
  attached,
  detaching,  // out of the sync set; its slot is being dropped
  detached,   // nothing of the group depends on it; its box may go
};

struct Address {
  HostName host;
  std::string zone;
  std::string address;
  uint32_t port = 0;
  bool operator==(const Address&) const = default;
};

struct Member {
  NodeId id;
  Address address;
  bool leaving = false;
  AssignedRole role = AssignedRole::none;
  StandbyProgress progress = StandbyProgress::none;
  DetachPhase detach = DetachPhase::attached;
  uint64_t term = 0;              // in which the role was assigned
  NodeId upstream;                // of a standby
  uint64_t assigned_version = 0;  // group version of the newest assignment of this member's role
  TimePoint assigned_at;
  uint32_t assignments = 0;      // of a standby, since it last streamed
  uint64_t role_generation = 0;  // group version at which its role document last changed
  std::string lost_why;          // of progress lost and rebuilding
  bool operator==(const Member&) const = default;
};

// A commit waits for `number` of `candidates`. Version 0 is the asynchronous set of the beginning.
struct SyncSet {
  uint64_t version = 0;
  std::set<NodeId> candidates;
  uint32_t number = 0;
  uint64_t term = 0;  // who began a timeline in a later term never had it in force
  bool operator==(const SyncSet&) const = default;
};

// `timeline` began where the one before it had reached `begin_lsn`.
struct TimelineBegin {
  uint32_t timeline = 0;
  uint64_t begin_lsn = 0;
  bool operator==(const TimelineBegin&) const = default;
};

enum class FailoverKind { failover, switchover, override_by_operator };

// The newest term that began without a primary.
struct Failover {
  uint64_t term = 0;
  FailoverKind kind = FailoverKind::failover;
  NodeId from;    // the newest primary before: it may serve still
  NodeId target;  // empty: the one that is furthest
  uint64_t started_version = 0;
  TimePoint started_at;
  std::string blocked_rule;  // what it waits for, as recorded last
  std::string blocked_why;
  bool is_over = false;  // a primary was assigned in the term
  bool operator==(const Failover&) const = default;
};

struct GroupState {
  uint64_t version = 0;  // of the stream
  uint32_t nodes_number = 0;
  uint32_t sync_replica_number = 0;
  bool deleting = false;
  bool deleted = false;
  std::vector<Member> members;  // in the order of their placement

  uint64_t term = 0;          // newest that began; 0: never a primary
  NodeId primary;             // assigned in `term`; empty while a failover is under way
  bool primary_open = false;  // it was seen open in `term`
  bool ever_open = false;     // a primary was seen open in any term: there may be data
  uint32_t timeline = 0;      // of the newest open primary
  uint64_t timeline_term = 0;  // in which it began that timeline; it may have gone on with it since
  TimePoint primary_opened_at;
  std::vector<TimelineBegin> history;  // of the newest open primary's timelines, oldest first
  uint32_t newest_timeline = 0;   // that was seen open or given to a promotion
  uint32_t primary_timeline = 0;  // given to the primary of `term`; 0: it is a first primary

  std::optional<Failover> failover;   // the newest, also when it is over
  // Why nobody is promoted although the primary is away, as recorded last; empty: it is not away.
  std::string refused_rule;
  std::string refused_why;
  uint32_t failovers_since_open = 0;  // begun since a primary was last seen open
  uint32_t switchovers_given_up = 0;  // in a row, back to the same primary

  SyncSet sync_applied;  // every acknowledged write is covered by this one
  std::vector<SyncSet>
      sync_pending;  // assigned after it and not known to be in force, oldest first

  bool settled = false;  // the newest GroupSettled is about the present order
  bool ever_settled = false;
  bool operator==(const GroupState&) const = default;
};

Member* find_member(GroupState& state, const NodeId& id);
const Member* find_member(const GroupState& state, const NodeId& id);
// The member that is assigned as primary; null if there is none or it is a member no more.
const Member* primary_member(const GroupState& state);

// Null if the term has its primary.
const Failover* failover_under_way(const GroupState& state);

// The set that PostgreSQL shall have.
const SyncSet& assigned_sync_set(const GroupState& state);

// The sets under which a write may have been acknowledged: the applied one and every pending one.
// Each acknowledged write has its `number` of `candidates` in at least one of them, so a failover
// needs more than candidates - number reporters in *each* of them. This is what makes every change
// safe: a weaker set counts from when it is assigned (before PostgreSQL has it), a stronger one
// only from when it is applied (PostgreSQL has it, and what was acknowledged before is flushed by
// enough of its candidates).
std::vector<SyncSet> possible_sync_sets(const GroupState& state);
bool is_possible_sync_candidate(const GroupState& state, const NodeId& id);

// For texts and tests.
std::string_view role_name(AssignedRole role);
std::string_view kind_name(FailoverKind kind);
std::string_view progress_name(StandbyProgress progress);
// "ANY 1 of 2 (<id>, <id>)", "asynchronous, voters <id>, <id>" or "none"
std::string sync_set_text(const SyncSet& set);

}  // namespace trunkline::replication
