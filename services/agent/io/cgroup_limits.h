// cpu and memory limits of nodes by control groups, v1 or v2, below the agent's own group where the
// hierarchy has one: a limit that was put on the agent holds for its nodes too. The group that all
// nodes of the host are in has a limit of memory, too: beyond that, nodes can only take from each
// other. Thread-safe.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "agent/domain/node_spec.h"

namespace trunkline::agent {

class CgroupLimits {
 public:
  // `root` is /sys/fs/cgroup and `own_groups` the text of /proc/self/cgroup, except in tests.
  // `home` names the group of this copy of the platform.
  CgroupLimits(const std::string& root, const std::string& own_groups, const std::string& home);

  bool enforced() const { return enforced_; }
  const std::string& note() const { return note_; }  // why not

  // What the host has in all; `domain/memory_rules.h` says how much of it nodes get together.
  void limit_host(uint64_t host_ram_mb);
  // Makes or changes the node's group. Returns the files that a process joins by; empty if limits
  // are not enforced here.
  std::vector<std::string> apply(const std::string& node_id, const NodeSize& size);
  // Where the unified hierarchy tells what the node's processes use; "" if there is none.
  std::string usage_directory(const std::string& node_id) const;
  // Removes the group once it is empty; waits up to a second for that.
  void remove(const std::string& node_id);

 private:
  struct Place {
    std::string controller;  // "cpu", "memory", or "" for v2's unified hierarchy
    std::string directory;   // …/trunkline/<home hash>
  };
  void make_host_group(const Place& place) const;
  void find_v1(const std::string& root, const std::string& own_groups, const std::string& name);
  void find_v2(const std::string& root, const std::string& own_groups, const std::string& name);
  mutable std::mutex mutex_;
  std::vector<Place> places_;
  uint64_t host_limit_mb_ = 0;  // 0: none
  bool enforced_ = false;
  std::string note_;
};

}  // namespace trunkline::agent
