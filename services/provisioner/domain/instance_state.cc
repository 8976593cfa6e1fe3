#include "provisioner/domain/instance_state.h"

#include <algorithm>

namespace trunkline::provisioner {

std::string_view status_name(InstanceStatus status) {
  switch (status) {
    case InstanceStatus::none: return "none";
    case InstanceStatus::created: return "created";
    case InstanceStatus::in_progress: return "in_progress";
    case InstanceStatus::active: return "active";
    case InstanceStatus::error: return "error";
    case InstanceStatus::deleting: return "deleting";
    case InstanceStatus::deleted: return "deleted";
  }
  return "";
}

std::string_view step_name(Step step) {
  switch (step) {
    case Step::none: return "none";
    case Step::placing: return "placing";
    case Step::creating_nodes: return "creating_nodes";
    case Step::removing_nodes: return "removing_nodes";
    case Step::forming: return "forming";
  }
  return "";
}

const Node* find_node(const InstanceState& state, const NodeId& id) {
  const auto it = std::ranges::find(state.nodes, id, &Node::id);
  return it == state.nodes.end() ? nullptr : &*it;
}

Node* find_node(InstanceState& state, const NodeId& id) {
  return const_cast<Node*>(find_node(std::as_const(state), id));
}

uint32_t wanted_nodes(const InstanceState& state) {
  return static_cast<uint32_t>(std::ranges::count_if(state.nodes, &Node::is_wanted));
}

bool has_removing_nodes(const InstanceState& state) {
  return !std::ranges::all_of(state.nodes, &Node::is_wanted);
}

Step step_of(const InstanceState& state) {
  switch (state.status) {
    case InstanceStatus::none:
    case InstanceStatus::active:
    case InstanceStatus::deleted: return Step::none;
    case InstanceStatus::deleting: return Step::removing_nodes;
    case InstanceStatus::created:
    case InstanceStatus::in_progress:
    case InstanceStatus::error: break;
  }
  const uint32_t wanted = wanted_nodes(state);
  if (wanted < state.spec.nodes_number) return Step::placing;
  for (const Node& node : state.nodes) {
    if (node.is_wanted() && !node.is_up_to_date()) return Step::creating_nodes;
  }
  if (wanted > state.spec.nodes_number || has_removing_nodes(state)) return Step::removing_nodes;
  return Step::forming;
}

bool has_wanted_node_on(const InstanceState& state, const std::set<HostName>& hosts) {
  return !hosts.empty() && std::ranges::any_of(state.nodes, [&](const Node& node) {
    return node.is_wanted() && hosts.contains(node.address.host);
  });
}

const Node* node_that_shares(const InstanceState& state) {
  std::map<HostName, uint32_t> counts;
  for (const Node& node : state.nodes) {
    if (node.is_wanted()) ++counts[node.address.host];
  }
  for (auto node = state.nodes.rbegin(); node != state.nodes.rend(); ++node) {
    if (!node->is_wanted() || node->id == state.group.primary) continue;
    if (counts[node->address.host] > 1) return &*node;
  }
  return nullptr;
}

bool is_crowded(const InstanceState& state, const LeftHosts& hosts) {
  if (state.nodes.size() < 2 || !state.group.primary_open || !node_that_shares(state)) return false;
  return std::ranges::any_of(hosts.open, [&](const HostName& host) {
    return !has_wanted_node_on(state, {host});
  });
}

uint32_t nodes_to_have(const InstanceState& state, const LeftHosts& hosts) {
  const bool replaces = !has_removing_nodes(state) && (has_wanted_node_on(state, hosts.drained) ||
                                                       is_crowded(state, hosts));
  return state.spec.nodes_number + (replaces ? 1 : 0);
}

bool is_relocation(std::string_view why) {
  return why != kScaledDown && why != kHostDrained && why != kHostShared && why != kHostLost &&
         why != kDeleted;
}

bool holds_data(const InstanceState& state, const NodeId& id) {
  return state.group.ever_open && state.group.primary == id;
}

bool nodes_match_order(const InstanceState& state) {
  return state.nodes.size() == state.spec.nodes_number &&
         std::ranges::all_of(state.nodes, [](const Node& node) {
           return node.is_wanted() && node.is_up_to_date();
         });
}

bool group_matches_order(const InstanceState& state) {
  if (!state.group.settled) return false;
  if (state.group.settled->sync_replica_number != state.spec.sync_replica_number) return false;
  std::set<NodeId> wanted;
  for (const Node& node : state.nodes) {
    if (node.is_wanted()) wanted.insert(node.id);
  }
  return state.group.settled->nodes == wanted;
}

bool is_writes_why(std::string_view why) {
  return why.empty() || why == "disk_full" || why == "host_disk_full" || why == "files_full" ||
         why == "host_files_full" || why == "no_sync_standby";
}

NodeId node_id_of(const InstanceId& instance, uint32_t ordinal) {
  return NodeId(uuid_from_name("instance/" + instance.str() + "/node/" + std::to_string(ordinal)));
}

}  // namespace trunkline::provisioner
