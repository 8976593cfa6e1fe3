// Whether a node's postmaster may serve at this moment: a page of memory backed by a file, shared
// by the node's keeper and its second. It outlives the keeper, so that the next one goes on where
// it ended. Times are CLOCK_BOOTTIME in milliseconds. Nothing here throws.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace trunkline::agent {

// Who can let a primary of `term` serve beside its lease: `need` of the voters (node ids, separated
// by commas). Without voters nothing is guarded.
struct Guard {
  uint64_t term = 0;
  uint32_t need = 0;
  std::string voters;
  bool on() const { return !voters.empty(); }
  bool operator==(const Guard&) const = default;
};

inline constexpr size_t kLongestVoters = 3500;
// Node ids only: they become part of a statement.
bool is_voter_list(const std::string& text);

enum class Guarded : uint32_t {
  no = 0,
  yes = 1,
  closed = 2,  // the postmaster runs without a lease, and lets in nobody whom it would serve
};

struct LeaseCell {
  uint64_t layout;
  char boot_id[40];
  std::atomic<Guarded> guarded;
  std::atomic<int64_t> until_ms;
  uint64_t term;
  uint32_t need;
  char voters[kLongestVoters + 1];
};

// The cell in `path`, made if it is not there; one of an earlier boot or of another layout is
// cleared. Memory of this process and its children alone if the file cannot be had.
LeaseCell* map_lease_cell(const std::string& path);
void write_guard(LeaseCell& cell, const Guard& guard, bool closed = false);
Guard read_guard(const LeaseCell& cell);

int64_t boot_ms();

}  // namespace trunkline::agent
