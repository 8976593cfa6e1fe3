// The hosts of the simulated world: agents that make boxes and say what they have.
#include <algorithm>

#include "provisioner/tests/instance_builders.h"
#include "provisioner/tests/sim_world.h"

namespace trunkline::provisioner::testing {

void World::take_task(Agent& agent, const v1::Task& task) {
  if (now_ < agent.silent_until) return;
  const auto found = agent.boxes.find(task.node_id());
  if (task.has_remove_node()) {
    if (found == agent.boxes.end() || found->second.removing) return;
    found->second.removing = true;
    found->second.removed_at = now_ + rng_.up_to(500);
    return;
  }
  if (task.has_ensure_node()) {
    Box& box = agent.boxes[task.node_id()];
    if (box.removing || task.ensure_node().generation() <= box.generation) return;
    const auto state = std::ranges::find(states_, InstanceId(task.instance_id()),
                                         &InstanceState::id);
    box.instance = static_cast<size_t>(state - states_.begin());
    const Group& group = groups_[box.instance];
    if (box.generation == 0 && group.ever_open && group.primary == task.node_id() &&
        state->exists()) {
      violation("an empty box is made in the place of the primary's data");
    }
    const bool serves = box_is_ready(box.instance, task.node_id());
    box.address = task.ensure_node().address();
    box.generation = task.ensure_node().generation();
    if (serves) look_at_change(task.node_id(), box);
    box.changed_under = group.primary;
    if (serves && group.open && group.primary == task.node_id() && group.members.size() > 1) {
      box.awaits_restart = true;
      box.restarts_at = now_ + seconds(20);
    }
    if (now_ < agent.failing_until && rng_.chance(50)) box.doomed_generation = box.generation;
    box.done_at = now_ + rng_.up_to(400);
    return;
  }
  if (found == agent.boxes.end() || found->second.removing) return;
  Box& box = found->second;
  if (task.apply_objects().objects_version() <= box.objects.objects_version()) return;
  box.objects = task.apply_objects();
  box.objects_done_at = now_ + rng_.up_to(300);
}

v1::HostReport World::report_of(Agent& agent) {
  v1::HostReport report;
  report.set_host(agent.host.name.str());
  report.set_agent_id(std::to_string(agent.life));
  report.set_sequence(++agent.sequence);
  report.set_sent_unix_us(to_unix_us(now_));
  for (const auto& [id, box] : agent.boxes) {
    auto& node = *report.add_nodes();
    node.set_node_id(id);
    node.set_instance_id(states_[box.instance].id.str());
    const bool is_primary = groups_[box.instance].primary == id;
    if (box_is_ready(box.instance, id) || box.awaits_restart) {
      node.set_postgres(is_primary ? v1::POSTGRES_STATE_OPEN : v1::POSTGRES_STATE_RECOVERING);
      node.set_wal_receiver_streaming(!is_primary);
    }
    auto& ensure = *node.mutable_ensure();
    ensure.set_generation(box.generation);
    if (now_ >= box.done_at) {
      ensure.set_state(v1::TASK_STATE_SUCCEEDED);
    } else if (now_ < agent.failing_until || box.doomed_generation == box.generation) {
      ensure.set_state(v1::TASK_STATE_FAILED);
      ensure.set_tries(static_cast<uint32_t>((now_ - agent.failing_since) / milliseconds(300)));
      ensure.mutable_failure()->set_code("disk_full");
      ensure.mutable_failure()->set_message("no space left");
    } else {
      ensure.set_state(v1::TASK_STATE_IN_PROGRESS);
    }
    if (box.removing) node.mutable_remove()->set_state(v1::TASK_STATE_IN_PROGRESS);
    if (box.objects.objects_version() == 0) continue;
    node.mutable_objects()->set_generation(box.objects.objects_version());
    node.mutable_objects()->set_state(now_ >= box.objects_done_at ? v1::TASK_STATE_SUCCEEDED
                                                                  : v1::TASK_STATE_IN_PROGRESS);
  }
  return report;
}

void World::run_agent(Agent& agent) {
  if (rng_.chance(faults_.agent_dies)) {
    agent.silent_until = now_ + rng_.up_to(rng_.chance(20) ? 30'000 : 2'000);
    ++agent.life;
    agent.sequence = 0;
  }
  if (rng_.chance(faults_.host_fails)) {
    agent.failing_since = now_;
    agent.failing_until = now_ + rng_.up_to(20'000);
  }
  if (now_ < agent.silent_until) return;
  for (auto& [id, box] : agent.boxes) {
    const bool failing = now_ < agent.failing_until && now_ < box.done_at;
    if (failing) box.done_at = std::max(box.done_at, agent.failing_until + milliseconds(1));
    if (box.doomed_generation == box.generation) box.done_at = now_ + seconds(1);
    if (box.awaits_restart) {
      box.awaits_restart = now_ < box.restarts_at;
      box.done_at = now_ + milliseconds(1) + (box.awaits_restart ? seconds(1) : seconds(0));
    }
    if (box.has_data && box.removing && states_[box.instance].exists() &&
        groups_[box.instance].primary == id) {
      violation("the primary's box is removed");
    }
  }
  std::erase_if(agent.boxes, [&](const auto& entry) {
    return entry.second.removing && now_ >= entry.second.removed_at;
  });
  fly({.is_report = true, .report = report_of(agent), .host = agent.host.name});
}

World::Box* World::find_box(const std::string& node) {
  for (auto& [name, agent] : agents_) {
    const auto box = agent.boxes.find(node);
    if (box != agent.boxes.end()) return &box->second;
  }
  return nullptr;
}

bool World::primary_awaits_restart(size_t instance) const {
  for (const auto& [name, agent] : agents_) {
    const auto box = agent.boxes.find(groups_[instance].primary);
    if (box != agent.boxes.end()) return box->second.awaits_restart;
  }
  return false;
}

// Where nothing goes wrong, no two nodes that serve and stay are restarted by one change at a time;
// by a second change, while the first is under way, they may be.
void World::look_at_change(const std::string& node, const Box& box) {
  const Group& group = groups_[box.instance];
  if (!is_calm_ || !group.ever_settled || group.changes_overlap) return;
  ++counts_["change of a node that serves"];
  for (const auto& [name, agent] : agents_) {
    for (const auto& [id, other] : agent.boxes) {
      const Node* known = find_node(states_[box.instance], NodeId(id));
      const bool same_round = other.instance == box.instance && id != node &&
                              other.generation == box.generation && known &&
                              known->is_wanted() && known->created_generation > 0 &&
                              other.changed_under == group.primary;
      if (same_round && now_ < other.done_at) violation("two nodes restart at once");
    }
  }
}

bool World::box_is_ready(size_t instance, const std::string& node) const {
  for (const auto& [name, agent] : agents_) {
    const auto box = agent.boxes.find(node);
    if (box == agent.boxes.end()) continue;
    return !box->second.removing && now_ >= box->second.done_at &&
           box->second.instance == instance;
  }
  return false;
}

}  // namespace trunkline::provisioner::testing
