// How much memory nodes may have: all of a host's, one, and a single process of one. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace trunkline::agent {

// Processes outside of PostgreSQL's own accounting, such as a base backup's sender.
inline uint64_t node_limit_mb(uint64_t ram_mb) {
  return ram_mb + std::max<uint64_t>(64, ram_mb / 10);
}

// Of all nodes of a host together: the platform, the kernel and whoever sets things right keep the
// rest.
inline uint64_t host_limit_mb(uint64_t host_ram_mb) {
  const uint64_t reserve = std::clamp<uint64_t>(host_ram_mb / 16, 256, 4096);
  return host_ram_mb - std::min(reserve, host_ram_mb / 2);
}

// What one process of a server may have, beyond which it gets an error.
struct ProcessMemory {
  uint64_t own_mb = 0;     // that nobody shares with it
  uint64_t mapped_mb = 0;  // everything that it sees: shared buffers and programs, too
  bool operator==(const ProcessMemory&) const = default;
};
// Beside shared buffers, a quarter, two processes with all that they may have fit into the node,
// and so does the startup process, which needs twice the largest record of WAL that one can write.
// A parallel hash join takes shared memory; with it, one sees no more than the whole node has.
// What is mapped and costs nothing (programs, LLVM) is more than what the other processes need.
inline ProcessMemory process_memory(uint64_t ram_mb) {
  return {.own_mb = ram_mb / 3, .mapped_mb = ram_mb + 64};
}

}  // namespace trunkline::agent
