// The hosts and what is promised on each: a fold of the hosts' and instances' states, the last
// report of each host, and reservations for placements that are not in the log yet. Everything but
// the reservations can be rebuilt at any time. Not thread-safe: who shares it must lock it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "provisioner/domain/host_aggregate.h"
#include "provisioner/domain/instance_decide.h"
#include "provisioner/domain/instance_state.h"

namespace trunkline::v1 {
class PlaceNodes;
}

namespace trunkline::provisioner {

// How much more than a host has may be promised on it. Idle databases use little of what they are
// sold: cpu is time-shared, ram is bounded by each node's settings and fills slowly, disks are
// sparse. What a disk really has left is looked at as well, see kMinDiskFreeGb.
inline constexpr uint64_t kCpuOvercommit = 16;
inline constexpr uint64_t kRamOvercommit = 4;
inline constexpr uint64_t kDiskOvercommit = 16;
// A host whose disk has less than this left, by its own report, takes no new node.
inline constexpr uint64_t kMinDiskFreeGb = 2;
// The same of files, where they are counted: more than its agent calls low (ADR 0075), and one in
// so many of all.
inline constexpr uint64_t kMinFilesFree = 10'000;
inline constexpr uint64_t kMinFilesFreePart = 16;
// Moves that only spread nodes over hosts, of so many instances at a time.
inline constexpr size_t kMaxSpreading = 2;

struct HostUse {
  HostState host;                            // as it registered
  std::optional<TimePoint> last_reported_at;
  std::optional<uint64_t> disk_free_gb;      // as it reported
  uint64_t files = 0;                        // that its disk can hold; 0: it does not count them
  uint64_t files_free = 0;
  uint64_t nodes = 0;
  uint64_t primaries = 0;                    // before a group has one: first nodes
  uint64_t cpu = 0;                          // promised
  uint64_t ram_mb = 0;
  uint64_t disk_gb = 0;
  std::map<uint32_t, uint32_t> ports;        // → nodes that have it; more than 1 is a fault
  std::set<uint32_t> blocked_ports;          // somebody else listens there
  uint32_t lowest_free_port = 5432;          // all below are in use

  uint64_t cpu_limit() const { return host.cpu * kCpuOvercommit; }
  uint64_t ram_limit_mb() const { return host.ram_mb * kRamOvercommit; }
  uint64_t disk_limit_gb() const { return host.disk_gb * kDiskOvercommit; }
  // What a node is given must be there for it alone: PostgreSQL maps its buffers when it starts.
  uint64_t largest_ram_mb() const { return host.ram_mb; }
  uint64_t min_files_free() const {
    return files == 0 ? 0 : std::max(kMinFilesFree, files / kMinFilesFreePart);
  }
  bool is_port_free(uint32_t port) const {
    return !ports.contains(port) && !blocked_ports.contains(port);
  }
};

class Fleet {
 public:
  using HostPort = InstanceFacts::HostPort;

  void set_host(const HostState& host);
  void host_reported(const HostName& host, TimePoint received_at, uint64_t disk_free_gb,
                     uint64_t files = 0, uint64_t files_free = 0);
  // Replaces all that the instance has, and ends its reservation if its nodes are placed now or
  // are not to be placed any more. A node being removed keeps its place until it is gone.
  void set_instance(const InstanceState& instance);

  // Holds the places of nodes that PlaceNodes is about to name, until set_instance(), release() or
  // `until`. One reservation an instance: a new one replaces it.
  void reserve(const InstanceId& instance, const std::vector<Address>& addresses, const Size& size,
               TimePoint until);
  // Holds what nodes that are there will have more, in the same way.
  void hold_growth(const InstanceId& instance, const std::vector<std::pair<HostName, Size>>& more,
                   TimePoint until);
  // Ends both.
  void release(const InstanceId& instance);
  void expire_reservations(TimePoint now);

  // Which of the command's addresses belong to other instances or are reserved for them.
  std::vector<HostPort> taken_by_others(const InstanceId& instance,
                                        const v1::PlaceNodes& command) const;

  const std::map<HostName, HostUse>& hosts() const { return hosts_; }
  // Instances that have more nodes than are ordered: some of them move.
  size_t moving() const { return moving_.size(); }

 private:
  struct Use {
    HostPort at;
    Size size;
    bool is_primary = false;
  };
  struct Reservation {
    std::vector<Use> uses;
    TimePoint until;
  };
  struct Growth {
    std::vector<std::pair<HostName, Size>> more;
    TimePoint until;
  };
  void release_places(const InstanceId& instance);
  void release_growth(const InstanceId& instance);
  void add(const Use& use);
  void subtract(const Use& use);

  std::map<HostName, HostUse> hosts_;
  std::unordered_map<InstanceId, std::vector<Use>> instances_;
  std::map<InstanceId, Reservation> reservations_;
  std::map<InstanceId, Growth> growths_;
  std::set<InstanceId> moving_;
};

}  // namespace trunkline::provisioner
