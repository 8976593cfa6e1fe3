// What replication does in the simulated world: it reads the log at its own pace, assigns, opens,
// detaches and settles.
#include <algorithm>
#include <utility>

#include "provisioner/tests/instance_builders.h"
#include "provisioner/tests/sim_world.h"

namespace trunkline::provisioner::testing {

void World::read_order(size_t instance) {
  Group& group = groups_[instance];
  bool changed = false;
  for (; group.read < log_.size(); ++group.read) {
    const Recorded& recorded = log_[group.read];
    if (recorded.instance != instance || recorded.of_group) continue;
    const v1::InstanceEvent& event = recorded.event;
    if (event.has_instance_created()) {
      group.nodes_number = event.instance_created().nodes_number();
      group.sync = event.instance_created().sync_replica_number();
    } else if (event.has_instance_scaled()) {
      group.nodes_number = event.instance_scaled().nodes_number();
      group.sync = event.instance_scaled().sync_replica_number();
      group.settled = false;
    } else if (event.has_node_placed()) {
      group.members[event.node_placed().node_id()] = false;
      group.order.push_back(event.node_placed().node_id());
      group.settled = false;
    } else if (event.has_node_removal_started()) {
      group.members[event.node_removal_started().node_id()] = true;
      group.settled = false;
    } else if (event.has_node_removed()) {
      group.members.erase(event.node_removed().node_id());
      std::erase(group.order, event.node_removed().node_id());
    } else if (event.has_instance_deletion_started()) {
      group.deleting = true;
    } else {
      continue;
    }
    changed = true;
  }
  if (!changed || group.deleted) return;
  v1::GroupEvent event;
  auto& membership = *event.mutable_group_membership_changed();
  for (const auto& [id, leaving] : group.members) {
    auto& member = *membership.add_members();
    member.set_node_id(id);
    member.set_leaving(leaving);
  }
  membership.set_nodes_number(group.nodes_number);
  membership.set_sync_replica_number(group.sync);
  membership.set_deleting(group.deleting);
  append(instance, event);
}

bool World::look_at_standbys(size_t instance) {
  Group& group = groups_[instance];
  v1::GroupEvent event;
  for (const auto& [id, leaving] : group.members) {
    if (id == group.primary) continue;
    const bool streams = box_is_ready(instance, id);
    if (streams == group.streaming.contains(id)) continue;
    if (streams) {
      group.streaming.insert(id);
      event.mutable_standby_streaming()->set_node_id(id);
    } else {
      group.streaming.erase(id);
      event.mutable_standby_lost()->set_node_id(id);
    }
    append(instance, event);
    return true;
  }
  return false;
}

// A primary that is asked to leave hands over to a standby that stays.
bool World::switch_over(size_t instance) {
  Group& group = groups_[instance];
  const auto member = group.members.find(group.primary);
  if (member == group.members.end()) return false;
  const bool restarts = primary_awaits_restart(instance);
  if (!member->second && !restarts) return false;
  const auto heir = std::ranges::find_if(group.order, [&](const std::string& id) {
    return group.streaming.contains(id) && group.members.contains(id) && !group.members.at(id);
  });
  if (heir == group.order.end()) return false;
  ++counts_[member->second ? "switchover" : "switchover for a restart"];
  group.heir = *heir;
  group.open = group.settled = false;
  v1::GroupEvent event;
  event.mutable_failover_started()->set_from_node_id(group.primary);
  append(instance, event);
  return true;
}

void World::run_replication(size_t instance) {
  Group& group = groups_[instance];
  if (rng_.chance(faults_.replication_sleeps)) group.sleeps_until = now_ + rng_.up_to(5'000);
  if (now_ < group.sleeps_until || group.deleted) return;
  read_order(instance);
  v1::GroupEvent event;
  if (group.deleting) {
    if (!group.members.empty()) return;
    event.mutable_group_deleted();
    group.deleted = true;
    return append(instance, event);
  }
  const auto stays = [&](const std::string& id) {
    const auto member = group.members.find(id);
    return member != group.members.end() && !member->second;
  };
  if (!group.ever_open && !stays(group.primary)) {
    const auto first = std::ranges::find_if(group.order, stays);
    if (first == group.order.end()) return;
    group.primary = *first;
    event.mutable_primary_assigned()->set_node_id(group.primary);
    return append(instance, event);
  }
  if (!group.open) {
    if (!group.heir.empty()) {
      group.streaming.erase(group.heir);
      if (Box* old = find_box(group.primary); old && old->awaits_restart) {
        old->awaits_restart = false;
        old->done_at = now_ + rng_.up_to(400);
      }
      group.primary = std::exchange(group.heir, {});
      event.mutable_primary_assigned()->set_node_id(group.primary);
      return append(instance, event);
    }
    if (!box_is_ready(instance, group.primary)) return;
    find_box(group.primary)->has_data = true;
    group.open = group.ever_open = true;
    event.mutable_primary_opened()->set_node_id(group.primary);
    return append(instance, event);
  }
  if (look_at_standbys(instance) || switch_over(instance)) return;
  for (const auto& [id, leaving] : group.members) {
    if (!leaving || group.detached.contains(id)) continue;
    if (id == group.primary) continue;
    group.detached.insert(id);
    event.mutable_node_detached()->set_node_id(id);
    return append(instance, event);
  }
  uint32_t ready = 0;
  for (const auto& [id, leaving] : group.members) {
    if (!leaving && box_is_ready(instance, id)) ++ready;
  }
  const auto staying = std::ranges::count_if(group.order, stays);
  if (group.settled || ready != group.nodes_number || staying != group.nodes_number) return;
  group.settled = group.ever_settled = true;
  auto& settled = *event.mutable_group_settled();
  for (const auto& [id, leaving] : group.members) {
    if (!leaving) settled.add_node_ids(id);
  }
  settled.set_sync_replica_number(group.sync);
  append(instance, event);
}

}  // namespace trunkline::provisioner::testing
