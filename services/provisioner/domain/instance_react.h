// What is to be done next for an instance, from its state and what its hosts report: a function of
// both, so it may be asked at any time, as often as one likes, and after any crash. Whatever was
// asked before and is not done yet is asked for again.
//
//   step            waits for                                     within
//   placing         places for the nodes (NeedPlacement)           10 s
//   creating_nodes  every host's report that the box is made       60 s
//   removing_nodes  replication to detach, hosts to remove          60 s
//   forming         replication to settle exactly this order      120 s
// A missed deadline is RecordStepFailed{deadline_missed}, which names the step and what is waited
// for. Users and databases are no step: they are applied to an open primary whatever the instance
// waits for, within 30 s of the change.
//
// A node of a host that is drained goes when one more is placed elsewhere and streams; one of a
// host that is lost goes at once, and its removal does not wait for the host. What holds the data
// goes only as a standby: replication makes another one the primary before.
//
// A running instance changes its size node by node: standbys first, each when the others stream,
// the primary last; its host waits with the restart until replication has made another one the
// primary. What does not serve is changed at once.
//
// Two nodes that share a host, though one that takes nodes has none of the instance's, are spread
// again: one more is placed there, and when that has the data, one of the two goes.
//
// A failover is no step either: the deadlines of what waits for the group begin anew with each
// primary that opens, and rest while none is open.
//
// In ERROR nothing new is begun (no placement, no removal) until a retry; what was assigned stays
// assigned and is recorded when it comes true, so an instance whose trouble passes gets ACTIVE.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "provisioner/domain/instance_state.h"
#include "provisioner/domain/placement.h"
#include "provisioner/domain/report_book.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/task.pb.h"

namespace trunkline::provisioner {

// To be decided at once by the same thread; the state that comes of it is reacted to again.
struct IssueCommand {
  v1::InstanceCommand command;
  std::string actor;  // "": the service itself
};
// To be answered with answer_needs() on the fleet.
struct NeedPlacement {
  Needs needs;
};
// To be published to the host; a repetition within 0.5 s may be left out.
struct SendTask {
  HostName host;
  v1::Task task;
};
using Action = std::variant<IssueCommand, NeedPlacement, SendTask>;

struct Watch {
  TimePoint now;
  // Since when the provisioner knows the whole log: deadlines and silence are not counted from
  // before, nobody was there to see.
  TimePoint watching_since;
  LeftHosts left = {};
};

std::vector<Action> react(const InstanceState& state, const ReportBook& reports,
                          const Watch& watch);

// Whether react() has nothing to do until an event, or a report of the instance's hosts, changes
// something: the shell need not ask at every tick.
bool is_at_rest(const InstanceState& state, const LeftHosts& left);

// What becomes of each node of the report that no instance has. One that an instance had once was
// removed by the log: RemoveNode. One that the log never placed is the customer's, of a log that
// is not there: QuarantineNode, and RemoveNode only if it is among `ordered`. So are, for
// kOrphanBrake, the first kind if there are many. Only of a host's newest report, and only by a
// thread that knows the whole log. `nodes` as in ReportBook::take().
// `find` answers null for an instance that was never ordered, and nothing for one that cannot be
// told (its stream is put aside as poison): the nodes of that one are left alone.
using FindInstance = std::function<std::optional<const InstanceState*>(const InstanceId&)>;
std::vector<SendTask> orphans(const v1::HostReport& report, std::span<const int> nodes,
                              const FindInstance& find, const Watch& watch,
                              const std::set<std::string>& ordered);

}  // namespace trunkline::provisioner
