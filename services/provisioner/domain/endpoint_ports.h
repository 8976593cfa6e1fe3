// The ports of the instances' endpoints on the proxies' address: two next to each other for each
// instance, unique among the instances that are not deleted. What became free is given out again
// as late as possible, so that a client with an old address meets nobody. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/ids.h"

namespace trunkline::provisioner {

struct EndpointPair {
  uint32_t read_write = 0;  // 0: none
  uint32_t read_only = 0;
  bool operator==(const EndpointPair&) const = default;
};

class EndpointPorts {
 public:
  struct Range {
    uint32_t first = 20000;
    uint32_t count = 10000;
  };
  explicit EndpointPorts(Range range) : range_(range) {}

  // The pair that the instance has or was given before, else a free one; none if all are taken.
  EndpointPair give(const InstanceId& instance);
  // What the log says that it has, in any order of instances; without ports it has none.
  void record(const InstanceId& instance, const EndpointPair& pair);
  // It has none any more.
  void free(const InstanceId& instance);
  // What it was given and the log does not say is free again.
  void give_back(const InstanceId& instance);

 private:
  struct Held {
    EndpointPair pair;
    bool recorded = false;
  };
  void drop(const EndpointPair& pair);

  Range range_;
  uint32_t next_ = 0;  // pair to look at first, counted from the beginning of the range
  std::unordered_map<InstanceId, Held> held_;
  std::map<uint32_t, uint32_t> uses_;  // first port of a pair → instances that have it
};

}  // namespace trunkline::provisioner
