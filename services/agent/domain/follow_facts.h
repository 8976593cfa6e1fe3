// Whether a standby that does not stream ever can, by what its own data and its upstream are: never
// by what a log says, which tenants write into. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace trunkline::agent {

// Of the standby's data. 0: not known.
struct OwnEnd {
  uint64_t system_identifier = 0;
  uint32_t timeline = 0;
  uint64_t lsn = 0;  // of the end of its WAL
};

// As the upstream's server says it, after the standby's end was read.
struct UpstreamState {
  bool is_open = false;  // not in recovery
  uint64_t system_identifier = 0;
  uint32_t timeline = 0;
  uint64_t flush_lsn = 0;
  std::string oldest_segment;  // place in the WAL, without the timeline: 16 digits; "": not known
};

// A stable word ("other_system", "diverged", "wal_removed"), or "": it can go on, or nobody knows.
// Data whose history is not the group's is told by compare_lineage().
std::string cannot_follow_reason(const OwnEnd& own, const UpstreamState& upstream,
                                 uint64_t segment_bytes);

}  // namespace trunkline::agent
