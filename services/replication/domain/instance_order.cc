#include "replication/domain/instance_order.h"

#include <algorithm>

#include "replication/domain/conversions.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/snapshot_group.pb.h"

namespace trunkline::replication {
namespace {

void place(InstanceOrder& order, const v1::NodePlaced& e) {
  const NodeId id(e.node_id());
  const auto known = std::find_if(order.boxes.begin(), order.boxes.end(),
                                  [&](const Box& box) { return box.id == id; });
  Box& box = known != order.boxes.end() ? *known : order.boxes.emplace_back(Box{.id = id});
  box.address = to_address(e.address());
}

void start_removal(InstanceOrder& order, const v1::NodeRemovalStarted& e) {
  for (Box& box : order.boxes) {
    if (box.id.str() == e.node_id()) box.leaving = true;
  }
}

void fold(InstanceOrder& order, const v1::InstanceEvent& event) {
  using Case = v1::InstanceEvent::BodyCase;
  switch (event.body_case()) {
    case Case::kInstanceCreated:
      order.exists = true;
      order.nodes_number = event.instance_created().nodes_number();
      order.sync_replica_number = event.instance_created().sync_replica_number();
      return;
    case Case::kInstanceScaled:
      order.nodes_number = event.instance_scaled().nodes_number();
      order.sync_replica_number = event.instance_scaled().sync_replica_number();
      return;
    case Case::kNodePlaced:
      return place(order, event.node_placed());
    case Case::kNodeRemovalStarted:
      return start_removal(order, event.node_removal_started());
    case Case::kNodeRemoved:
      std::erase_if(order.boxes,
                    [&](const Box& box) { return box.id.str() == event.node_removed().node_id(); });
      return;
    case Case::kInstanceDeletionStarted:
      order.deleting = true;
      return;
    case Case::kInstanceDeleted:
      order.deleting = true;
      order.boxes.clear();
      return;
    case Case::kInstanceRenamed:
    case Case::kInstanceResized:
    case Case::kNodeCreated:
    case Case::kInstanceRetried:
    case Case::kInstanceActivated:
    case Case::kInstanceFailed:
    case Case::kUserCreated:
    case Case::kUserUpdated:
    case Case::kUserActivated:
    case Case::kUserFailed:
    case Case::kUserDeleted:
    case Case::kDatabaseCreated:
    case Case::kDatabaseUpdated:
    case Case::kDatabaseActivated:
    case Case::kDatabaseFailed:
    case Case::kDatabaseDeleted:
    case Case::kObjectsApplied:
    case Case::kObjectNoted:
    case Case::kWritesStopped:
    case Case::kWritesResumed:
    case Case::BODY_NOT_SET:
      return;
  }
}

}  // namespace

bool evolve(InstanceOrder& order, const v1::InstanceEvent& event) {
  const InstanceOrder before = order;
  fold(order, event);
  return order != before;
}

std::optional<v1::GroupCommand> membership_command(const InstanceOrder& order) {
  if (!order.exists) return std::nullopt;
  v1::GroupCommand out;
  auto* sync = out.mutable_sync_membership();
  sync->set_nodes_number(order.nodes_number);
  sync->set_sync_replica_number(order.sync_replica_number);
  sync->set_deleting(order.deleting);
  for (const Box& box : order.boxes) {
    auto* member = sync->add_members();
    member->set_node_id(box.id.str());
    *member->mutable_address() = to_proto(box.address);
    member->set_leaving(box.leaving);
  }
  return out;
}

void to_snapshot(const InstanceOrder& order, v1::InstanceOrderSnapshot* out) {
  out->Clear();
  out->set_exists(order.exists);
  out->set_deleting(order.deleting);
  out->set_nodes_number(order.nodes_number);
  out->set_sync_replica_number(order.sync_replica_number);
  for (const Box& box : order.boxes) {
    auto* m = out->add_boxes();
    m->set_node_id(box.id.str());
    *m->mutable_address() = to_proto(box.address);
    m->set_leaving(box.leaving);
  }
}

InstanceOrder from_snapshot(const v1::InstanceOrderSnapshot& m) {
  InstanceOrder out{.exists = m.exists(),
                    .deleting = m.deleting(),
                    .nodes_number = m.nodes_number(),
                    .sync_replica_number = m.sync_replica_number()};
  for (const auto& box : m.boxes()) {
    out.boxes.push_back({.id = NodeId(box.node_id()),
                         .address = to_address(box.address()),
                         .leaving = box.leaving()});
  }
  return out;
}

}  // namespace trunkline::replication
