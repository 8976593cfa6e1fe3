// What follows from a group's state and its newest reports, each time anew: the tasks that hosts
// shall have, and the commands that record what reports changed. Pure, and safe to repeat: the
// same input gives the same output, and what is done already is not asked for again.
//
// The shell's loop for a group, after each event and report and a few times a second:
//   for every command of commands_from_reports(): decide and append it, fold, and start over;
//   if decide_roles() has a decision: ApplyDecision{it, state.version}, fold, and start over;
//   send every task of due_tasks().
#pragma once

#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "replication/domain/group_facts.h"
#include "replication/domain/group_state.h"
#include "trunkline/v1/group.pb.h"
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

// Everything that reports say and the log does not know yet.
std::vector<v1::GroupCommand> commands_from_reports(const GroupState& state,
                                                    const GroupFacts& facts, TimePoint now);

}  // namespace trunkline::replication
