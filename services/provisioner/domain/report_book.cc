#include "provisioner/domain/report_book.h"

#include <numeric>
#include <vector>

#include "provisioner/domain/steps.h"

namespace trunkline::provisioner {

bool ReportBook::take(const v1::HostReport& report, std::span<const int> nodes,
                      TimePoint received_at) {
  HostSeen& seen = hosts_[HostName(report.host())];
  const bool overtaken = seen.agent_id == report.agent_id()
                             ? report.sequence() <= seen.sequence
                             : report.sent_unix_us() < seen.sent_unix_us;
  if (!seen.agent_id.empty() && overtaken) return false;
  seen.received_at = received_at;
  seen.agent_id = report.agent_id();
  seen.sequence = report.sequence();
  seen.sent_unix_us = report.sent_unix_us();
  seen.nodes.clear();
  for (const int i : nodes) {
    const v1::NodeReport& node = report.nodes(i);
    seen.nodes[NodeId(node.node_id())] = node;
  }
  return true;
}

bool ReportBook::take(const v1::HostReport& report, TimePoint received_at) {
  std::vector<int> all(static_cast<size_t>(report.nodes_size()));
  std::iota(all.begin(), all.end(), 0);
  return take(report, all, received_at);
}

const HostSeen* ReportBook::find(const HostName& host) const {
  const auto it = hosts_.find(host);
  return it == hosts_.end() ? nullptr : &it->second;
}

const HostSeen* ReportBook::find_fresh(const HostName& host, TimePoint now) const {
  const HostSeen* seen = find(host);
  return seen && now - seen->received_at <= kReportFresh ? seen : nullptr;
}

}  // namespace trunkline::provisioner
