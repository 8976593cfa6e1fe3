// The newest report of each host, as far as one thread's instances are concerned. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "base/ids.h"
#include "trunkline/v1/report.pb.h"

namespace trunkline::provisioner {

struct HostSeen {
  TimePoint received_at;  // by our clock
  std::string agent_id;
  uint64_t sequence = 0;
  int64_t sent_unix_us = 0;  // by the agent's clock
  std::unordered_map<NodeId, v1::NodeReport> nodes;  // a node that is not here is not there
};

class ReportBook {
 public:
  // Keeps the nodes of the report at `nodes` (indexes; those of this thread's instances). False,
  // and nothing is kept, if a newer report of the host is known: reports may overtake each other.
  bool take(const v1::HostReport& report, std::span<const int> nodes, TimePoint received_at);
  bool take(const v1::HostReport& report, TimePoint received_at);

  const HostSeen* find(const HostName& host) const;
  // Only if it is not older than kReportFresh.
  const HostSeen* find_fresh(const HostName& host, TimePoint now) const;

 private:
  std::map<HostName, HostSeen> hosts_;
};

}  // namespace trunkline::provisioner
