#include "provisioner/domain/endpoint_ports.h"

#include <algorithm>

namespace trunkline::provisioner {

EndpointPair EndpointPorts::give(const InstanceId& instance) {
  if (const auto held = held_.find(instance); held != held_.end()) return held->second.pair;
  const uint32_t pairs = range_.count / 2;
  for (uint32_t tried = 0; tried < pairs; ++tried) {
    const uint32_t slot = (next_ + tried) % pairs;
    const uint32_t port = range_.first + 2 * slot;
    if (uses_.contains(port)) continue;
    next_ = slot + 1;
    uses_[port] = 1;
    held_[instance] = {{port, port + 1}, false};
    return {port, port + 1};
  }
  return {};
}

void EndpointPorts::record(const InstanceId& instance, const EndpointPair& pair) {
  if (const auto held = held_.find(instance); held != held_.end()) {
    if (held->second.pair == pair) {
      held->second.recorded = true;
      return;
    }
    drop(held->second.pair);
    held_.erase(held);
  }
  if (pair.read_write == 0) return;
  held_[instance] = {pair, true};
  ++uses_[pair.read_write];
  const bool ours = pair.read_write >= range_.first &&
                    pair.read_write - range_.first < range_.count;
  if (ours) next_ = std::max(next_, (pair.read_write - range_.first) / 2 + 1);
}

void EndpointPorts::free(const InstanceId& instance) {
  const auto held = held_.find(instance);
  if (held == held_.end()) return;
  drop(held->second.pair);
  held_.erase(held);
}

void EndpointPorts::give_back(const InstanceId& instance) {
  const auto held = held_.find(instance);
  if (held != held_.end() && !held->second.recorded) free(instance);
}

void EndpointPorts::drop(const EndpointPair& pair) {
  const auto use = uses_.find(pair.read_write);
  if (use != uses_.end() && --use->second == 0) uses_.erase(use);
}

}  // namespace trunkline::provisioner
