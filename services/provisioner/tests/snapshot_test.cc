#include "provisioner/domain/snapshot.h"

#include <gtest/gtest.h>

#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {
namespace {

template <class State>
void expect_round_trip(const State& state) {
  decltype(to_snapshot(state)) message;
  ASSERT_TRUE(message.ParseFromString(to_snapshot(state).SerializeAsString()));
  const auto read = from_snapshot(message);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, state);
}

// Every field of the message that some value fills is set, so that none is forgotten.
void expect_all_set(const google::protobuf::Message& m, const std::set<std::string>& but = {}) {
  const auto* descriptor = m.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    if (but.contains(field->name())) continue;
    const bool set = field->is_repeated() ? m.GetReflection()->FieldSize(m, field) > 0
                                          : m.GetReflection()->HasField(m, field);
    EXPECT_TRUE(set) << field->full_name();
  }
}

// An instance with something in every field.
InstanceState full_instance() {
  Scene scene;
  Command order = create(3, 1);
  order.mutable_create_instance()->set_description("for orders");
  InstanceFacts facts = offered();
  facts.endpoint = {20000, 20001};
  scene.when(order, facts).after(place(0, 3));
  scene.after(node_created(0, 2)).after(start_removal(2, "disk_full"));
  scene.after(create_user(kAlice, "alice")).after(create_user(kBob, "bob"));
  scene.after(create_database(kApp, "app", kAlice));
  scene.after(create_database(kShop, "shop", kAlice));
  scene.after(objects_applied(scene.state().objects_version - 1));
  scene.after(delete_database(kShop)).after(delete_user(kBob));
  Command failed = objects_applied(scene.state().objects_version);
  add_failure(failed, kApp, "timeout");
  scene.after(failed);
  scene.after(step_failed("placing", "no_capacity"));
  InstanceState state = scene.state();
  state.nodes[1].failure = FailureNote{"disk_full", "it is full"};
  state.nodes[2].is_replacement = true;
  state.writes_stopped_why = "disk_full";
  state.paid = {kStart, kStart, kStart, kStart, kStart};
  for (auto& [id, user] : state.users) user.noted_at = user.adopted_at = kStart;
  for (auto& [id, database] : state.databases) {
    database.noted_at = kStart;
    database.anew = 7;
    database.text = {"C", "UTF8", "en"};
  }
  for (auto& dropped : state.dropped_users) dropped.noted_at = kStart;
  uint64_t version = 0;
  v1::GroupEvent event;
  auto& members = *event.mutable_group_membership_changed();
  for (uint32_t i = 0; i < 3; ++i) members.add_members()->set_node_id(node_id(i));
  members.mutable_members(2)->set_leaving(true);
  members.set_sync_replica_number(1);
  evolve_from_group(state, event, ++version, kStart);
  event.mutable_primary_opened()->set_node_id(node_id(0));
  evolve_from_group(state, event, ++version, kStart);
  event.mutable_standby_streaming()->set_node_id(node_id(1));
  evolve_from_group(state, event, ++version, kStart);
  event.mutable_node_detached()->set_node_id(node_id(2));
  evolve_from_group(state, event, ++version, kStart);
  event.mutable_group_settled()->add_node_ids(node_id(0));
  event.mutable_group_settled()->set_sync_replica_number(1);
  evolve_from_group(state, event, ++version, kStart);
  return state;
}

TEST(Snapshot, InstanceRoundTrip) {
  const InstanceState state = full_instance();
  expect_round_trip(state);
  const v1::InstanceSnapshot message = to_snapshot(state);
  expect_all_set(message);
  expect_all_set(message.group(), {"deleted"});
  expect_all_set(message.nodes(2), {"failure", "created_generation"});
  expect_all_set(message.databases(0), {"description"});
  expect_round_trip(InstanceState(kInstance));
}

TEST(Snapshot, InEveryState) {
  Scene scene;
  scene.after_created(2, 1);
  expect_round_trip(scene.state());
  scene.after(settled({0, 1}, 1));
  expect_round_trip(scene.state());
  scene.after(remove());
  expect_round_trip(scene.state());
  scene.after(node_removed(0)).after(node_removed(1));
  EXPECT_EQ(scene.state().status, InstanceStatus::deleted);
  expect_round_trip(scene.state());
}

TEST(Snapshot, WhatIsNotOursGivesNothing) {
  v1::InstanceSnapshot message = to_snapshot(full_instance());
  message.set_status(99);
  EXPECT_FALSE(from_snapshot(message));
  message = to_snapshot(full_instance());
  message.mutable_nodes(0)->set_phase(3);
  EXPECT_FALSE(from_snapshot(message));
  message = to_snapshot(full_instance());
  message.mutable_users(0)->set_status(3);
  EXPECT_FALSE(from_snapshot(message));
  message = to_snapshot(full_instance());
  message.mutable_group()->mutable_members(0)->set_membership(3);
  EXPECT_FALSE(from_snapshot(message));
}

TEST(Snapshot, SmallAggregatesRoundTrip) {
  HostState host(host_uuid(HostName("host-a")));
  host.version = 3;
  host.name = HostName("host-a");
  host.zone = "a";
  host.address = "127.0.0.1";
  host.cpu = 2;
  host.ram_mb = 4096;
  host.disk_gb = 100;
  host.images = {"postgresql-14", "postgresql-15"};
  host.service = HostService::draining;
  host.orphans_to_remove = {"a", "b"};
  expect_round_trip(host);
  expect_all_set(to_snapshot(host));
  host.service = HostService::lost;
  host.schedulable = false;
  expect_round_trip(host);

  VersionState version{VersionId(kVersion)};
  version.version = 3;
  version.created = version.deleted = true;
  version.name = "15";
  version.description = "x";
  version.image = "postgresql-15";
  expect_round_trip(version);
  expect_all_set(to_snapshot(version));

  TokenState token("t");
  token.version = 2;
  token.created = token.revoked = true;
  token.sha256 = "ab";
  token.project_id = "p";
  token.role = "member";
  token.name = "ci";
  expect_round_trip(token);
  token.expires_at = kStart;
  expect_round_trip(token);
  expect_all_set(to_snapshot(token));

  QuotaState quota("p");
  quota.version = 2;
  quota.is_set = true;
  quota.quota = {.instances = 1, .cpu = 2, .ram_mb = 3, .disk_gb = 4};
  expect_round_trip(quota);
  expect_all_set(to_snapshot(quota));
}

}  // namespace
}  // namespace trunkline::provisioner::testing
