#include "metering/domain/usage_state.h"

#include <algorithm>

#include "base/ids.h"

namespace trunkline::metering {

InstanceState* UsageState::find_instance(const std::string& id) {
  const auto found = instances.find(id);
  return found == instances.end() ? nullptr : &found->second;
}

const InstanceState* UsageState::find_instance(const std::string& id) const {
  return const_cast<UsageState*>(this)->find_instance(id);
}

NodeState* UsageState::find_node(const std::string& id) {
  const auto owner = instance_of_node.find(id);
  if (owner == instance_of_node.end()) return nullptr;
  InstanceState* instance = find_instance(owner->second);
  if (instance == nullptr) return nullptr;
  const auto node = std::find_if(instance->nodes.begin(), instance->nodes.end(),
                                 [&](const NodeState& n) { return n.id == id; });
  return node == instance->nodes.end() ? nullptr : &*node;
}

const NodeState* UsageState::find_node(const std::string& id) const {
  return const_cast<UsageState*>(this)->find_node(id);
}

std::string windows_stream_uuid() { return uuid_from_name("usage/windows"); }

std::string source_uuid(const std::string& source) {
  const size_t colon = source.find(':');
  if (colon == std::string::npos) return uuid_from_name(source);
  return uuid_from_name(source.substr(0, colon) + "/" + source.substr(colon + 1));
}

std::string record_id(const UsageRecord& record) {
  return uuid_from_name(record.instance_id + "/" + record.node_id + "/" +
                        std::to_string(record.window.start_ms) + "/" +
                        std::to_string(record.position));
}

}  // namespace trunkline::metering
