#include "replication/domain/instance_order.h"

#include <gtest/gtest.h>

#include "replication/tests/group_builder.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/snapshot_group.pb.h"

namespace trunkline::replication::test {
namespace {

v1::InstanceEvent created(uint32_t nodes, uint32_t sync) {
  v1::InstanceEvent e;
  e.mutable_instance_created()->set_nodes_number(nodes);
  e.mutable_instance_created()->set_sync_replica_number(sync);
  return e;
}
v1::InstanceEvent placed(int i) {
  v1::InstanceEvent e;
  e.mutable_node_placed()->set_node_id(node(i).str());
  e.mutable_node_placed()->mutable_address()->set_host(host(i));
  return e;
}
v1::InstanceEvent removal_started(int i) {
  v1::InstanceEvent e;
  e.mutable_node_removal_started()->set_node_id(node(i).str());
  return e;
}
v1::InstanceEvent removed(int i) {
  v1::InstanceEvent e;
  e.mutable_node_removed()->set_node_id(node(i).str());
  return e;
}
v1::InstanceEvent scaled(uint32_t nodes, uint32_t sync) {
  v1::InstanceEvent e;
  e.mutable_instance_scaled()->set_nodes_number(nodes);
  e.mutable_instance_scaled()->set_sync_replica_number(sync);
  return e;
}
v1::InstanceEvent activated() {
  v1::InstanceEvent e;
  e.mutable_instance_activated();
  return e;
}
v1::InstanceEvent deletion_started() {
  v1::InstanceEvent e;
  e.mutable_instance_deletion_started();
  return e;
}
v1::InstanceEvent deleted() {
  v1::InstanceEvent e;
  e.mutable_instance_deleted();
  return e;
}

TEST(InstanceOrder, follows_an_instances_life) {
  InstanceOrder order;
  EXPECT_FALSE(membership_command(order));
  EXPECT_TRUE(evolve(order, created(2, 1)));
  EXPECT_TRUE(evolve(order, placed(0)));
  EXPECT_TRUE(evolve(order, placed(1)));
  EXPECT_FALSE(evolve(order, activated()));
  EXPECT_FALSE(evolve(order, {}));
  auto c = membership_command(order)->sync_membership();
  EXPECT_EQ(c.nodes_number(), 2u);
  EXPECT_EQ(c.sync_replica_number(), 1u);
  ASSERT_EQ(c.members_size(), 2);
  EXPECT_EQ(c.members(1).node_id(), node(1).str());
  EXPECT_EQ(c.members(1).address().host(), "host-b");

  EXPECT_TRUE(evolve(order, scaled(1, 0)));
  EXPECT_TRUE(evolve(order, removal_started(1)));
  c = membership_command(order)->sync_membership();
  EXPECT_EQ(c.nodes_number(), 1u);
  EXPECT_FALSE(c.members(0).leaving());
  EXPECT_TRUE(c.members(1).leaving());
  EXPECT_TRUE(evolve(order, removed(1)));
  EXPECT_EQ(membership_command(order)->sync_membership().members_size(), 1);

  EXPECT_TRUE(evolve(order, deletion_started()));
  EXPECT_TRUE(membership_command(order)->sync_membership().deleting());
  EXPECT_TRUE(evolve(order, removed(0)));
  EXPECT_EQ(membership_command(order)->sync_membership().members_size(), 0);
  EXPECT_FALSE(evolve(order, deleted()));
}

TEST(InstanceOrder, a_node_that_is_placed_twice_is_one) {
  InstanceOrder order;
  evolve(order, created(1, 0));
  evolve(order, placed(0));
  EXPECT_FALSE(evolve(order, placed(0)));
  EXPECT_EQ(order.boxes.size(), 1u);
}

TEST(InstanceOrder, snapshot_comes_back_as_it_was) {
  InstanceOrder order;
  for (const auto& e :
       {created(3, 1), placed(0), placed(1), removal_started(1), deletion_started()}) {
    evolve(order, e);
  }
  v1::InstanceOrderSnapshot snapshot;
  to_snapshot(order, &snapshot);
  EXPECT_EQ(from_snapshot(snapshot), order);
}

}  // namespace
}  // namespace trunkline::replication::test
