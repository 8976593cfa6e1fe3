#include "provisioner/domain/instance_react.h"

#include <algorithm>

#include "provisioner/domain/conversions.h"
#include "provisioner/domain/instance_tasks.h"
#include "provisioner/domain/object_decide.h"
#include "provisioner/domain/steps.h"

namespace trunkline::provisioner {
namespace {

bool is_working(const InstanceState& state) {
  return state.status == InstanceStatus::created || state.status == InstanceStatus::in_progress;
}

// A standby's box may go only when nothing of the group depends on it. Before a primary was ever
// open nothing does, and a deleted instance has no group to spare.
bool awaits_detach(const InstanceState& state, const Node& node) {
  if (state.status == InstanceStatus::deleting || state.group.deleted) return false;
  if (!state.group.ever_open) return false;
  const auto member = state.group.members.find(node.id);
  return member != state.group.members.end() && member->second != Membership::detached;
}

bool serves(const v1::NodeReport& report) {
  return report.postgres() == v1::POSTGRES_STATE_OPEN ||
         report.postgres() == v1::POSTGRES_STATE_RECOVERING;
}

class Reaction {
 public:
  Reaction(const InstanceState& state, const ReportBook& reports, const Watch& watch)
      : state_(state), reports_(reports), watch_(watch) {}

  std::vector<Action> run() {
    for (const Node& node : state_.nodes) {
      if (node.is_wanted()) {
        ensure(node);
      } else {
        remove(node);
      }
    }
    if (state_.status != InstanceStatus::deleting) {
      shrink();
      leave_lost_hosts();
      place();
      apply_objects();
      activate();
      look_at_writes();
    }
    look_at_deadline();
    return std::move(actions_);
  }

 private:
  struct Seen {
    const HostSeen* host = nullptr;        // null: silent, nothing is sent there
    const v1::NodeReport* node = nullptr;  // null: not there, or not known
  };
  Seen seen(const Node& node) const {
    Seen out;
    out.host = reports_.find_fresh(node.address.host, watch_.now);
    if (!out.host) return out;
    const auto it = out.host->nodes.find(node.id);
    if (it != out.host->nodes.end()) out.node = &it->second;
    return out;
  }

  void issue(v1::InstanceCommand command) {
    issued_ = true;
    actions_.push_back(IssueCommand{std::move(command), {}});
  }
  void send(const Node& node, v1::Task task) {
    actions_.push_back(SendTask{node.address.host, std::move(task)});
  }
  void fail_step(const FailureNote& failure, const NodeId& node) {
    if (issued_) return;
    v1::InstanceCommand command;
    auto& c = *command.mutable_record_step_failed();
    c.set_step(std::string(step_name(state_.step)));
    *c.mutable_failure() = to_proto(failure);
    c.set_node_id(node.str());
    issue(std::move(command));
  }
  TimePoint counted_from(TimePoint begin) const { return std::max(begin, watch_.watching_since); }

  // ---- boxes -------------------------------------------------------------------------------

  void ensure(const Node& node) {
    const Seen at = seen(node);
    if (!at.host) return;
    if (!at.node) {
      // An empty box in the place of the customer's data would be taken for the data.
      const bool was_made = node.created_generation > 0;
      const bool may_hold_data =
          holds_data(state_, node.id) || (was_made && !state_.group.ever_open);
      if (!may_hold_data) send(node, ensure_task(state_, node));
      return;
    }
    const v1::TaskReport& task = at.node->ensure();
    if (needs_task(node.ensure_generation, task) || at.node->quarantined()) {
      if (may_change(node, *at.node)) send(node, ensure_task(state_, node));
      return;
    }
    if (task.generation() == node.ensure_generation && !node.is_up_to_date() &&
        task.state() == v1::TASK_STATE_SUCCEEDED) {
      return record_created(node);
    }
    if (is_working(state_)) look_at_failure(node, *at.node);
  }

  // Whether a node that serves may be restarted now: standbys in the order of their placement, then
  // the primary, each when those before it are done and the standbys that count are attached.
  bool may_change(const Node& node, const v1::NodeReport& report) const {
    if (!state_.group.ever_open || !serves(report)) return true;
    const NodeId& primary = state_.group.primary;
    for (const Node& other : state_.nodes) {
      if (!other.is_wanted() || other.id == node.id) continue;
      const Seen at = seen(other);
      const bool is_before =
          node.id == primary || (other.id != primary && other.ordinal < node.ordinal);
      const bool is_told = at.node && at.node->ensure().generation() == other.ensure_generation;
      if (!other.is_up_to_date() && (is_before || is_told)) return false;
      const bool counts = other.id != primary && state_.group.streaming.contains(other.id);
      if (counts && (!at.node || !at.node->wal_receiver_streaming())) return false;
    }
    return true;
  }

  void record_created(const Node& node) {
    v1::InstanceCommand command;
    command.mutable_record_node_created()->set_node_id(node.id.str());
    command.mutable_record_node_created()->set_generation(node.ensure_generation);
    issue(std::move(command));
  }

  // A host that goes on failing at a box is given up for another one, a few times; a box that
  // holds data, or once was made, stays where it is.
  void look_at_failure(const Node& node, const v1::NodeReport& report) {
    const bool has_failed = report.ensure().state() == v1::TASK_STATE_FAILED &&
                            report.ensure().generation() == node.ensure_generation &&
                            report.ensure().tries() >= kFailedTries && !node.is_up_to_date();
    const bool has_no_port = report.role().state() == v1::TASK_STATE_FAILED &&
                             report.role().tries() >= kFailedTries &&
                             report.role().failure().code() == kPortInUse;
    if (!has_failed && !has_no_port) return;
    const v1::TaskReport& task = has_failed ? report.ensure() : report.role();
    const bool may_move = !holds_data(state_, node.id) &&
                          (has_no_port || node.created_generation == 0) &&
                          state_.relocations < kMaxRelocations;
    if (may_move && !task.failure().code().empty()) {
      return start_removal(node, task.failure().code());
    }
    fail_step({task.failure().code(), node.address.host.str() + ", tried " +
                                          std::to_string(task.tries()) +
                                          " times: " + task.failure().message()},
              node.id);
  }

  void start_removal(const Node& node, std::string_view why) {
    v1::InstanceCommand command;
    command.mutable_start_node_removal()->set_node_id(node.id.str());
    command.mutable_start_node_removal()->set_why(std::string(why));
    issue(std::move(command));
  }

  void record_removed(const Node& node) {
    v1::InstanceCommand command;
    command.mutable_record_node_removed()->set_node_id(node.id.str());
    issue(std::move(command));
  }

  void remove(const Node& node) {
    if (awaits_detach(state_, node)) return;
    // If that host ever reports, what is still there is nobody's: see orphans().
    if (watch_.left.lost.contains(node.address.host)) return record_removed(node);
    const Seen at = seen(node);
    if (!at.host) return;
    if (!at.node) {
      // Where the box was made its absence says all; else a task may still be on its way there.
      const bool was_there = node.created_generation > 0;
      if (was_there || at.host->received_at >= node.removal_started_at + kRemovalGrace) {
        return record_removed(node);
      }
      return send(node, remove_task(state_.id, node.id));
    }
    const v1::TaskReport& task = at.node->remove();
    if (task.state() == v1::TASK_STATE_NOT_STARTED || task.state() == v1::TASK_STATE_FAILED) {
      send(node, remove_task(state_.id, node.id));
    }
    const bool has_failed = task.state() == v1::TASK_STATE_FAILED && task.tries() >= kFailedTries;
    if (has_failed && !state_.failure && state_.step == Step::removing_nodes) {
      fail_step({task.failure().code(), node.address.host.str() + ", tried " +
                                            std::to_string(task.tries()) +
                                            " times: " + task.failure().message()},
                node.id);
    }
  }

  // ---- the order ---------------------------------------------------------------------------

  // The newest standbys go. Which node is the primary must be known: it stays.
  void shrink() {
    if (!is_working(state_)) return;
    uint32_t wanted = wanted_nodes(state_);
    const Node* primary = find_node(state_, state_.group.primary);
    if (wanted <= state_.spec.nodes_number || !primary || !primary->is_wanted()) return;
    if (has_wanted_node_on(state_, watch_.left.drained)) return leave_drained_host(*primary);
    if (spreads()) return leave_shared_host(*primary);
    for (auto node = state_.nodes.rbegin(); node != state_.nodes.rend(); ++node) {
      if (wanted <= state_.spec.nodes_number) return;
      if (!node->is_wanted() || node->id == primary->id) continue;
      start_removal(*node, kScaledDown);
      --wanted;
    }
  }

  // One at a time, and only when all that stay have the data; the primary last.
  void leave_drained_host(const Node& primary) {
    if (has_removing_nodes(state_) || !state_.group.primary_open) return;
    const Node* leaves = nullptr;
    for (const Node& node : state_.nodes) {
      if (!watch_.left.drained.contains(node.address.host)) {
        const bool has_data = node.id == primary.id || state_.group.streaming.contains(node.id);
        if (!has_data) return;
      } else if (!leaves || leaves->id == primary.id) {
        leaves = &node;
      }
    }
    start_removal(*leaves, kHostDrained);
  }

  // One that is placed beside as many as are ordered takes the place of one that shares its host.
  bool spreads() const {
    return node_that_shares(state_) != nullptr &&
           std::ranges::any_of(state_.nodes, [](const Node& node) {
             return node.is_wanted() && node.is_replacement;
           });
  }
  void leave_shared_host(const Node& primary) {
    const Node& leaves = *node_that_shares(state_);
    if (has_removing_nodes(state_) || !state_.group.primary_open) return;
    for (const Node& node : state_.nodes) {
      const bool has_data = node.id == primary.id || state_.group.streaming.contains(node.id);
      if (node.is_wanted() && node.id != leaves.id && !has_data) return;
    }
    start_removal(leaves, kHostShared);
  }

  void leave_lost_hosts() {
    if (!is_working(state_) && state_.status != InstanceStatus::active) return;
    for (const Node& node : state_.nodes) {
      if (!node.is_wanted() || !watch_.left.lost.contains(node.address.host)) continue;
      if (!holds_data(state_, node.id)) start_removal(node, kHostLost);
    }
  }

  void place() {
    const uint32_t wanted = wanted_nodes(state_);
    const uint32_t to_have = nodes_to_have(state_, watch_.left);
    const bool replaces = to_have > state_.spec.nodes_number;
    const bool may = is_working(state_) || (replaces && state_.status == InstanceStatus::active);
    if (!may || wanted >= to_have) return;
    Needs needs;
    needs.instance = state_.id;
    needs.first_ordinal = state_.nodes_placed;
    needs.count = to_have - wanted;
    needs.size = state_.spec.size;
    needs.image = state_.spec.image;
    needs.spreads = wanted >= state_.spec.nodes_number &&
                    !has_wanted_node_on(state_, watch_.left.drained);
    for (const Node& node : state_.nodes) {
      const bool stays = node.is_wanted() && !watch_.left.drained.contains(node.address.host);
      if (stays) needs.used_hosts.push_back(node.address.host);
      const bool gave_up = !node.is_wanted() && is_relocation(node.removal_why) &&
                           node.removal_why != kPortInUse;
      if (gave_up) needs.avoid.push_back(node.address.host);
    }
    // A replacement that finds no place is asked for again as long as it takes.
    needs.last_chance =
        wanted < state_.spec.nodes_number &&
        watch_.now >= counted_from(state_.step_started_at) + deadline_of(Step::placing);
    actions_.push_back(NeedPlacement{std::move(needs)});
  }

  void activate() {
    if (!is_working(state_) && state_.status != InstanceStatus::error) return;
    if (!nodes_match_order(state_) || !group_matches_order(state_)) return;
    v1::InstanceCommand command;
    auto& c = *command.mutable_record_group_settled();
    for (const NodeId& id : state_.group.settled->nodes) c.add_node_ids(id.str());
    c.set_sync_replica_number(state_.group.settled->sync_replica_number);
    issue(std::move(command));
  }

  // What the primary's host says counts; of a primary that is not open, or whose host is silent,
  // something else tells.
  void look_at_writes() {
    const Node* primary = find_node(state_, state_.group.primary);
    if (!primary || !state_.group.primary_open) return;
    const Seen at = seen(*primary);
    if (!at.node || at.node->reported_role() != v1::ROLE_PRIMARY) return;
    if (at.node->writes().why() == state_.writes_stopped_why) return;
    if (!is_writes_why(at.node->writes().why())) return;  // of an agent that is newer
    if (!at.node->writes().why().empty() && !has_room(state_.paid.stops, watch_.now)) return;
    v1::InstanceCommand command;
    command.mutable_record_writes()->set_why(at.node->writes().why());
    issue(std::move(command));
  }

  // ---- users and databases -----------------------------------------------------------------

  void apply_objects() {
    if (state_.objects_version == 0 || !state_.group.primary_open) return;
    const Node* primary = find_node(state_, state_.group.primary);
    if (!primary) return;
    const Seen at = seen(*primary);
    if (at.node) {
      const v1::TaskReport& task = at.node->objects();
      record_notes(*at.node);
      if (needs_task(state_.objects_version, task)) {
        send(*primary, objects_task(state_, primary->id));
      } else if (task.generation() == state_.objects_version && record_objects(*at.node)) {
        return;
      }
    }
    look_at_objects_deadline(*primary, at);
  }

  // What was done by SQL is said in the name of the database's user who did it.
  void record_notes(const v1::NodeReport& report) {
    for (const auto& seen : report.object_notes()) {
      v1::InstanceCommand command;
      auto& c = *command.mutable_record_object_note();
      c.set_objects_version(report.objects().generation());
      *c.mutable_note() = seen.note();
      c.set_scram_verifier(seen.scram_verifier());
      if (!std::holds_alternative<std::vector<v1::InstanceEvent>>(
              record_object_note(state_, c, watch_.now))) {
        continue;
      }
      const std::string& user = seen.note().database_user();
      actions_.push_back(
          IssueCommand{std::move(command), user.empty() ? "" : "database_user:" + user});
    }
  }

  // True if the host has come to an outcome.
  bool record_objects(const v1::NodeReport& report) {
    const v1::TaskReport& task = report.objects();
    const bool succeeded = task.state() == v1::TASK_STATE_SUCCEEDED;
    const bool failed =
        task.state() == v1::TASK_STATE_FAILED && task.tries() >= kFailedObjectTries;
    if (!succeeded && !failed) return false;
    v1::InstanceCommand command;
    auto& c = *command.mutable_record_objects_applied();
    c.set_objects_version(state_.objects_version);
    for (const auto& object : report.object_failures()) {
      auto& failure = *c.add_failures();
      failure.set_object_id(object.object_id());
      failure.set_kind(object.kind());
      *failure.mutable_failure() = object.failure();
    }
    if (failed && c.failures().empty()) add_pending(c, to_failure(task.failure()));
    if (!objects_outcome(state_, c, watch_.now).empty()) issue(std::move(command));
    return true;
  }

  // Every object whose newest change is not applied fails for this reason.
  void add_pending(v1::RecordObjectsApplied& c, const FailureNote& failure) const {
    const auto add = [&](v1::ObjectKind kind, const std::string& id) {
      auto& f = *c.add_failures();
      f.set_kind(kind);
      f.set_object_id(id);
      *f.mutable_failure() = to_proto(failure);
    };
    const auto is_pending = [&](const auto& object) {
      return object.objects_version > state_.applied_objects_version;
    };
    for (const auto& [id, user] : state_.users) {
      if (is_pending(user)) add(v1::OBJECT_KIND_USER, id.str());
    }
    for (const auto& [id, database] : state_.databases) {
      if (is_pending(database)) add(v1::OBJECT_KIND_DATABASE, id.str());
    }
    for (const Tombstone& dropped : state_.dropped_users) add(v1::OBJECT_KIND_USER, dropped.id);
    for (const Tombstone& dropped : state_.dropped_databases) {
      add(v1::OBJECT_KIND_DATABASE, dropped.id);
    }
  }

  void look_at_objects_deadline(const Node& primary, const Seen& at) {
    if (state_.applied_objects_version >= state_.objects_version) return;
    const TimePoint begin = std::max(state_.objects_changed_at, state_.group.primary_opened_at);
    if (watch_.now < counted_from(begin) + kObjectsDeadline) return;
    const std::string host = primary.address.host.str();
    FailureNote failure{std::string(kDeadlineMissed), ""};
    failure.message = "not applied within " + std::to_string(kObjectsDeadline.count()) + " s: " +
                      (!at.host   ? host + " is silent"
                       : !at.node ? host + " does not have the primary's node"
                                  : host + " has not come to it");
    v1::InstanceCommand command;
    auto& c = *command.mutable_record_objects_applied();
    c.set_objects_version(state_.objects_version);
    add_pending(c, failure);
    if (!objects_outcome(state_, c, watch_.now).empty()) issue(std::move(command));
  }

  // ---- the deadline ------------------------------------------------------------------------

  void look_at_deadline() {
    const bool waits = is_working(state_) || state_.status == InstanceStatus::deleting;
    if (!waits || state_.failure || issued_) return;
    // Of placing, answer_needs() says why it failed.
    if (state_.step == Step::none || state_.step == Step::placing) return;
    if (rests_for_group() || is_forming_replacement()) return;
    if (watch_.now < counted_from(began_at()) + deadline_of(state_.step)) return;
    NodeId node;
    const std::string what = waits_for(&node);
    fail_step({std::string(kDeadlineMissed),
               std::string(step_name(state_.step)) + " was not done within " +
                   std::to_string(deadline_of(state_.step).count()) + " s: " + what},
              node);
  }

  // A failover is under way: what waits for the group waits for it.
  bool rests_for_group() const {
    const bool of_group = state_.step == Step::forming || state_.step == Step::removing_nodes;
    return of_group && state_.status != InstanceStatus::deleting && state_.group.ever_open &&
           !state_.group.primary_open;
  }
  // What waits for the group begins anew with each primary that opens, and removing with each node
  // that is asked to go: it may have been its replacement that took long.
  TimePoint began_at() const {
    TimePoint begin = state_.step_started_at;
    if (state_.step != Step::forming && state_.step != Step::removing_nodes) return begin;
    if (state_.group.primary_open) begin = std::max(begin, state_.group.primary_opened_at);
    for (const Node& node : state_.nodes) {
      if (!node.is_wanted()) begin = std::max(begin, node.removal_started_at);
    }
    return begin;
  }
  // One more node than is ordered copies its data, as long as that takes; those that are to be
  // replaced serve meanwhile.
  bool is_forming_replacement() const {
    return state_.step == Step::removing_nodes && !has_removing_nodes(state_) &&
           (has_wanted_node_on(state_, watch_.left.drained) || spreads());
  }

  std::string waits_for(NodeId* waiting_node) const {
    if (state_.step == Step::forming) return waits_for_group();
    std::string out;
    for (const Node& node : state_.nodes) {
      const bool is_late = state_.step == Step::creating_nodes
                               ? node.is_wanted() && !node.is_up_to_date()
                               : !node.is_wanted();
      if (!is_late) continue;
      if (out.empty()) *waiting_node = node.id;
      out += (out.empty() ? "" : "; ") + waits_for_node(node);
    }
    if (!out.empty()) return out;
    return "which node is the primary, so that it is not removed";
  }

  std::string waits_for_node(const Node& node) const {
    const std::string who = "node " + node.id.str() + " on " + node.address.host.str() + ": ";
    if (!node.is_wanted() && awaits_detach(state_, node)) {
      return who + "replication has not detached it";
    }
    const Seen at = seen(node);
    if (!at.host) return who + "the host is silent";
    if (!at.node) {
      return who + (holds_data(state_, node.id) ? "the host does not have the primary's node"
                                                : "the host has not begun");
    }
    const v1::TaskReport& task = node.is_wanted() ? at.node->ensure() : at.node->remove();
    if (task.state() != v1::TASK_STATE_FAILED) {
      return who + (task.step().empty() ? "the host is at it" : task.step());
    }
    return who + "tried " + std::to_string(task.tries()) + " times: " + task.failure().message();
  }

  std::string waits_for_group() const {
    const GroupView& group = state_.group;
    if (group.primary.empty()) return "replication has not assigned a primary";
    const Node* primary = find_node(state_, group.primary);
    const std::string where = primary ? " on " + primary->address.host.str() : "";
    if (!group.primary_open) {
      const Seen at = primary ? seen(*primary) : Seen{};
      const std::string& why = at.node ? at.node->role().failure().message() : "";
      return "primary " + group.primary.str() + where + " is not open" +
             (why.empty() ? "" : ": " + why);
    }
    return "replication has not settled " + std::to_string(state_.spec.nodes_number) +
           " nodes, " + std::to_string(state_.spec.sync_replica_number) + " of them synchronous";
  }

  const InstanceState& state_;
  const ReportBook& reports_;
  const Watch& watch_;
  std::vector<Action> actions_;
  bool issued_ = false;
};

}  // namespace

std::vector<Action> react(const InstanceState& state, const ReportBook& reports,
                          const Watch& watch) {
  if (state.status == InstanceStatus::none || state.status == InstanceStatus::deleted) return {};
  return Reaction(state, reports, watch).run();
}

bool is_at_rest(const InstanceState& state, const LeftHosts& left) {
  if (state.status == InstanceStatus::none || state.status == InstanceStatus::deleted) return true;
  if (has_wanted_node_on(state, left.drained) || has_wanted_node_on(state, left.lost)) return false;
  if (is_crowded(state, left)) return false;
  return state.status == InstanceStatus::active &&
         state.applied_objects_version >= state.objects_version && !has_removing_nodes(state);
}

namespace {

bool was_placed(const InstanceState& state, const NodeId& node) {
  for (uint32_t ordinal = 0; ordinal < state.nodes_placed; ++ordinal) {
    if (node_id_of(state.id, ordinal) == node) return true;
  }
  return false;
}

}  // namespace

std::vector<SendTask> orphans(const v1::HostReport& report, std::span<const int> nodes,
                              const FindInstance& find, const Watch& watch,
                              const std::set<std::string>& ordered) {
  std::vector<SendTask> out;
  if (watch.now < watch.watching_since + kOrphanGrace) return out;
  std::vector<const v1::NodeReport*> removed, unknown;
  for (const int i : nodes) {
    const v1::NodeReport& node = report.nodes(i);
    const auto known = find(InstanceId(node.instance_id()));
    if (!known) continue;
    const InstanceState* state = *known;
    const NodeId id(node.node_id());
    if (state && find_node(*state, id)) continue;
    const auto progress = node.remove().state();
    if (progress != v1::TASK_STATE_NOT_STARTED && progress != v1::TASK_STATE_FAILED) continue;
    const bool by_log = (state && was_placed(*state, id)) || ordered.contains(id.str());
    (by_log ? removed : unknown).push_back(&node);
  }
  const int many = std::max(kManyOrphans, report.nodes_size() * kManyOrphansPercent / 100);
  const bool brakes = static_cast<int>(removed.size()) > many &&
                      watch.now < watch.watching_since + kOrphanBrake;
  const HostName host(report.host());
  for (const v1::NodeReport* node : removed) {
    if (brakes && !ordered.contains(node->node_id())) {
      unknown.push_back(node);
      continue;
    }
    out.push_back({host, remove_task(InstanceId(node->instance_id()), NodeId(node->node_id()))});
  }
  for (const v1::NodeReport* node : unknown) {
    if (node->quarantined()) continue;
    const InstanceId instance(node->instance_id());
    out.push_back({host, quarantine_task(instance, NodeId(node->node_id()))});
  }
  return out;
}

}  // namespace trunkline::provisioner
