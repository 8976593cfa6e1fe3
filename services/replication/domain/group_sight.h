// State and facts side by side, as the table and the reactor look at a group at one moment.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "replication/domain/group_facts.h"
#include "replication/domain/group_state.h"

namespace trunkline::replication {

inline constexpr seconds kLostAfter{10};      // not attached to an open primary: lost
inline constexpr seconds kStuckAfter{30};     // assigned, runs, but is not attached: again, with
inline constexpr seconds kStuckAtMost{3600};  // pauses that double from the first to the second
inline constexpr seconds kFirstSetPatience{
    10};  // the first sync set waits so long for all standbys

struct MemberSight {
  const Member* member = nullptr;
  const NodeSeen* seen = nullptr;  // null: not in its host's newest report, or that is not fresh
  bool host_reports = false;       // its host was heard of lately
  bool streams = false;  // the primary and it itself say so, lately, and of the same timeline
  std::optional<TimePoint> fenced_since;  // in the group's term, by a report that is fresh
  bool is_staying() const { return !member->leaving; }
  bool is_standby() const {
    return member->role == AssignedRole::standby && member->detach == DetachPhase::attached;
  }
  bool is_lost() const {
    return member->progress == StandbyProgress::lost ||
           member->progress == StandbyProgress::rebuilding;
  }
  // The log knows it and the newest reports do not contradict.
  bool is_streaming() const {
    return is_standby() && member->progress == StandbyProgress::streaming && streams;
  }
};

// Refers to the state and facts that it was made from.
struct Sight {
  const GroupState& state;
  const GroupFacts& facts;
  TimePoint now;
  std::vector<MemberSight> members;        // as in the state
  const Member* primary = nullptr;         // assigned and still a member
  const NodeSeen* open_primary = nullptr;  // its fresh report, if that says open in this term
  // The sync set that the order and the standbys call for, with the next version; equal to the
  // assigned one in candidates and number if nothing is to change. Nothing while too few standbys
  // stream: a set that would make writes wait for a standby that is not there is never assigned.
  std::optional<SyncSet> wanted_sync_set;
};

Sight look(const GroupState& state, const GroupFacts& facts, TimePoint now);

// One sentence for the order and the sync set, one for each member.
std::vector<std::string> fact_sentences(const Sight& sight);

std::string lsn_text(uint64_t lsn);  // "0/3000060"

}  // namespace trunkline::replication
