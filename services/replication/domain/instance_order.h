// What replication needs of an instance's own stream: how many nodes and sync replicas are ordered
// and which boxes there are. A fold of InstanceEvents, turned into the SyncMembership command.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "replication/domain/group_state.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::v1 {
class InstanceEvent;
class InstanceOrderSnapshot;
}  // namespace trunkline::v1

namespace trunkline::replication {

struct Box {
  NodeId id;
  Address address;
  bool leaving = false;
  bool operator==(const Box&) const = default;
};

struct InstanceOrder {
  bool exists = false;
  bool deleting = false;
  uint32_t nodes_number = 0;
  uint32_t sync_replica_number = 0;
  std::vector<Box> boxes;  // placed and not removed, in the order of their placement
  bool operator==(const InstanceOrder&) const = default;
};

// An event of stream `instance-<id>`, in version order. Total. True if the membership changed.
bool evolve(InstanceOrder& order, const v1::InstanceEvent& event);

// The command that brings the group up to date; deciding it again is Ignored. Nothing for an
// instance that was never created.
std::optional<v1::GroupCommand> membership_command(const InstanceOrder& order);

void to_snapshot(const InstanceOrder& order, v1::InstanceOrderSnapshot* out);
InstanceOrder from_snapshot(const v1::InstanceOrderSnapshot& snapshot);

}  // namespace trunkline::replication
