// What a node's directory holds, counted in slices: whoever has a million files makes the count
// long, and must not make anybody wait for it. Not thread-safe; each slice with the rights of its
// thread.
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "agent/domain/disk_rules.h"
#include "agent/io/agent_context.h"

namespace trunkline::agent {

struct DiskUse {
  uint64_t total = 0;  // bytes
  DiskAmount used;     // what counts against the order: data and log, not the agent's copies
  uint64_t log = 0;    // bytes of the log that is written now
  std::vector<pid_t> temporary;  // processes that have temporary files
};

class NodeWalk {
 public:
  using Clock = std::chrono::steady_clock;
  explicit NodeWalk(const NodePaths& paths);
  ~NodeWalk();
  // Goes on until then, or a little longer; true: all is counted. What vanishes meanwhile does not
  // count. Throws std::system_error if directories cannot be read for want of something.
  bool go_on(Clock::time_point until);
  const DiskUse& counted() const { return counted_; }

 private:
  struct Directory;
  void enter(int parent, const char* name, bool counts);
  void count(Directory& in, const char* name);

  const std::string root_;
  const std::string log_;
  const std::vector<std::string> copies_;
  bool begun_ = false;
  std::vector<Directory> open_;  // from the root to where it is
  DiskUse counted_;
};

// All at once.
DiskUse measure_node(const NodePaths& paths);

}  // namespace trunkline::agent
