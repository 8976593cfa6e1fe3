// What a failover looks at: is the primary dead, can it serve still, who can follow it. Questions
// about one moment, for the table and for requests. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "replication/domain/group_history.h"
#include "replication/domain/group_quorum.h"
#include "replication/domain/group_sight.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {

inline constexpr milliseconds kLease{2000};            // of a primary, from its report
inline constexpr milliseconds kReplyLease{1500};       // while voters answer it, from the heartbeat
inline constexpr milliseconds kSilent{800};            // no report: the standbys are asked
inline constexpr milliseconds kProbeTime{400};         // and have so long to answer
inline constexpr milliseconds kSlack{100};             // added to every lease that is waited out
inline constexpr milliseconds kRestartPatience{700};   // for a crashed primary to open in place
inline constexpr milliseconds kRecoveryPatience{1500};  // for one whose postmaster lives,
inline constexpr seconds kRecoveryPatienceSoon{10};     // and not for long as the primary:
inline constexpr std::chrono::minutes kSoon{10};
inline constexpr milliseconds kMissingPatience{2000};  // its host does not name the primary
inline constexpr seconds kStallPatience{8};  // for one that takes no session or writes nothing
inline constexpr seconds kOpenPatience{10};            // for one that was promoted, doubling
inline constexpr seconds kOpenPatienceAtMost{300};
inline constexpr seconds kSwitchoverDeadline{10};
inline constexpr seconds kSwitchoverPause{30};  // after one that was given up, doubling
inline constexpr seconds kAgainAfter{3};        // no standby can be promoted: the old primary
inline constexpr milliseconds kBlockedAfter{2500};  // a failover that waits so long says why
inline constexpr uint64_t kLagCap = 16 * 1024 * 1024;  // bytes that an asynchronous one may lose
inline constexpr uint64_t kSwitchoverLag = 16 * 1024 * 1024;  // behind, a standby is no target

// ---- is the primary dead? ------------------------------------------------------------------

bool primary_crashed(const Sight& s);
bool primary_is_silent(const Sight& s);        // its host is, and nobody saw it live
bool primary_host_is_silent(const Sight& s);   // it may live all the same
bool primary_does_not_open(const Sight& s);
bool primary_stalls(const Sight& s);         // its sessions and its lease go on, its clients do not
// Any of these, or it is a member no more.
bool primary_is_away(const Sight& s);
TimePoint away_since(const Sight& s);          // for one that is away
// Some host of the group does: else it may be us who are cut off.
bool anyone_reports(const Sight& s);
// Enough voters of each set report, and one that could follow the primary: a failover can end well.
bool failover_can_start(const Sight& s);
std::string missing_reporters(const Sight& s);  // why it cannot

// ---- a failover under way ------------------------------------------------------------------

// Of others than the old primary, in each possible sync set; but not in those of terms before the
// newest open primary's timeline began, if the heir continues it. Of a synchronous set those alone
// count whose WAL the heir has: one that forked cannot follow, and may have what nobody else has.
Quorum fenced_quorum(const Sight& s);
// Every write that may have been acknowledged is on one that is fenced. What a crashed primary
// reports of its own WAL may be short of its end, so no standby is measured by it.
bool is_covered(const Sight& s);
bool old_primary_stopped(const Sight& s);  // its host says so
// If it did not stop: until when it may serve. Counts on those that are fenced: see fenced_quorum.
TimePoint old_primary_serves_until(const Sight& s);
bool old_primary_cannot_serve(const Sight& s);
// The furthest of the fenced, of those whose history is the log's; the target if there is one.
const MemberSight* heir(const Sight& s);
// The standby that has all that the stopped primary had.
const MemberSight* switchover_heir(const Sight& s);
const MemberSight* old_primary_reporting(const Sight& s);
// Of the old primary's WAL, what the heir is known not to have.
uint64_t lost_bytes(const Sight& s, const MemberSight& heir);
bool loss_is_too_much(const Sight& s);
// Voters and the old primary: of those that are silent an operator says that they are dead.
std::vector<NodeId> reporting_and_not_fenced(const Sight& s);
// The set that the heir opens with: who is fenced, else all who stay, so that the ordered number
// can be kept. Nothing if it must be and cannot.
std::optional<SyncSet> next_sync_set(const Sight& s, const MemberSight& heir,
                                     bool must_keep_number);

// ---- a switchover --------------------------------------------------------------------------

// A standby that could take over now: it streams, with little lag.
bool is_switchover_target(const Sight& s, const MemberSight& m);
bool leaving_switchover_can_start(const Sight& s);
// The primary waits with a restart for another one to take over.
bool restart_is_awaited(const Sight& s);
bool restart_switchover_can_start(const Sight& s);

}  // namespace trunkline::replication
