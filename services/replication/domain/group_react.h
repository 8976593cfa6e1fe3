// What follows from a group's state and its newest reports, each time anew: the tasks that hosts
// shall have, and the commands that record what reports changed. Pure, and safe to repeat: the
// same input gives the same output, and what is done already is not asked for again.
//
// The shell's loop for a group, after each event and report and a few times a second:
//   for every command of commands_from_reports(): decide and append it, fold, and start over;
//   if decide_roles() has a decision: ApplyDecision{it, state.version}, fold, and start over;
//   send every task of due_tasks() and due_probes().
#pragma once

#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "replication/domain/group_facts.h"
#include "replication/domain/group_state.h"
#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/lease.pb.h"
#include "trunkline/v1/task.pb.h"

namespace trunkline::replication {

struct HostTask {
  HostName host;
  v1::Task task;  // without traceparent
};

// The AssignRole that each member with a role should have.
std::vector<HostTask> tasks(const InstanceId& instance, const GroupState& state);

// True until the node's host reports that it has the member's newest role document.
bool needs_task(const Member& member, const NodeSeen* seen);

// tasks() for those members that need theirs.
std::vector<HostTask> due_tasks(const InstanceId& instance, const GroupState& state,
                                const GroupFacts& facts);

// Probes of a primary that is not heard of, one for each standby that reports; and in a switchover
// of standbys whose newest WAL is to be known. Note them before they are sent.
std::vector<HostTask> due_probes(const InstanceId& instance, const GroupState& state,
                                 const GroupFacts& facts, TimePoint now);

// A switchover that may begin waits until the primary has checkpointed: its clients are held while
// it stops. What to send meanwhile; nothing: it waits no more. One whose checkpoint takes longer
// than kPreparePatience begins all the same.
inline constexpr seconds kPreparePatience{10};
std::optional<HostTask> due_preparation(const InstanceId& instance, const GroupState& state,
                                        const GroupFacts& facts, const v1::GroupCommand& request,
                                        TimePoint now);

// Something may have to be decided when time passes, without any event or report.
bool is_restless(const GroupState& state, const GroupFacts& facts, TimePoint now);

// The leases that a report of `host` is answered with: of this group's primary, if it is there.
std::optional<v1::NodeLease> due_lease(const GroupState& state, const HostName& host,
                                       milliseconds at_most);

// Everything that reports say and the log does not know yet.
std::vector<v1::GroupCommand> commands_from_reports(const GroupState& state,
                                                    const GroupFacts& facts, TimePoint now);

}  // namespace trunkline::replication
