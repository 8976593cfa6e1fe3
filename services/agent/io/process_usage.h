// What processes and the machine have used, as /proc and control groups tell. Nothing here throws.
#pragma once

#include <cstdint>
#include <string>

#include "agent/domain/node_counters.h"

namespace trunkline::agent {

struct ProcessUsage {
  SourceCount cpu_ms;
  SourceCount read_bytes;   // no source where the host does not tell
  SourceCount write_bytes;
  uint64_t rss_mb = 0;      // shared memory counted once
};

// Of a postmaster, its children, and the children that it has reaped. `cgroup`: the node's group
// in the unified hierarchy, which tells more exactly; "" if there is none. 0 for no postmaster.
ProcessUsage process_usage(int postmaster_pid, const std::string& cgroup);

struct MachineUsage {
  uint64_t cpu_busy_ms = 0;  // since boot, of all cores
  uint64_t memory_mb = 0;
  uint64_t memory_available_mb = 0;
  double load_1m = 0;
};
MachineUsage machine_usage();

}  // namespace trunkline::agent
