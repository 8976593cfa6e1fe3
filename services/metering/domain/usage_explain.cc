#include "metering/domain/usage_explain.h"

#include <algorithm>

namespace trunkline::metering {

bool MeasuredScan::take(int64_t recorded_ms, v1::UsageMeasured* event) {
  const bool of_node = info(line_.meter).of == MeterOf::node;
  v1::UsageMeasured kept;
  kept.set_source(event->source());
  if (of_node) {
    for (auto& node : *event->mutable_nodes()) {
      if (node.instance_id() != line_.instance_id) continue;
      if (!line_.node_id.empty() && node.node_id() != line_.node_id) continue;
      nodes_.insert(node.node_id());
      *kept.add_nodes() = std::move(node);
    }
  } else {
    for (auto& endpoint : *event->mutable_endpoints()) {
      if (endpoint.instance_id() == line_.instance_id) *kept.add_endpoints() = std::move(endpoint);
    }
  }
  const auto keep = [&](const auto& from, auto* to) {
    for (const auto& id : from) {
      if (of_node ? is_ours(id) : id == line_.instance_id) *to->Add() = id;
    }
  };
  keep(event->silent(), kept.mutable_silent());
  keep(event->gone(), kept.mutable_gone());
  const bool named = kept.nodes_size() + kept.endpoints_size() + kept.silent_size() +
                         kept.gone_size() > 0;
  *event = std::move(kept);
  return named && recorded_ms > line_.from_ms;
}

}  // namespace trunkline::metering
