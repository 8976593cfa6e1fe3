#include <gtest/gtest.h>

#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {
namespace {

// One row: the good command, changed in one place, and what it then comes to.
template <class Change>
struct Row {
  const char* name;
  Change change;
  const char* expected;
};

TEST(CreateInstance, EachRuleOneFactAwayFromAGoodOrder) {
  struct Order {
    Command command = create(3, 1);
    InstanceFacts facts = offered();
    v1::CreateInstance& c = *command.mutable_create_instance();
  };
  const Row<void (*)(Order&)> rows[] = {
      {"good", [](Order&) {}, "accepted: instance_created"},
      {"no project", [](Order& o) { o.c.clear_project_id(); },
       "rejected: project_id_missing (bad_value)"},
      {"no name", [](Order& o) { o.c.clear_name(); }, "rejected: name_missing (bad_value)"},
      {"name of 255", [](Order& o) { o.c.set_name(std::string(255, 'x')); },
       "accepted: instance_created"},
      {"name of 256", [](Order& o) { o.c.set_name(std::string(256, 'x')); },
       "rejected: name_too_long (bad_value)"},
      {"characters, not bytes", [](Order& o) {
         std::string name;
         for (int i = 0; i < 255; ++i) name += "é";
         o.c.set_name(name);
       }, "accepted: instance_created"},
      {"control character", [](Order& o) { o.c.set_name("a\nb"); },
       "rejected: name_malformed (bad_value)"},
      {"description of two lines", [](Order& o) { o.c.set_description("a\nb"); },
       "accepted: instance_created"},
      {"description of 4097", [](Order& o) { o.c.set_description(std::string(4097, 'x')); },
       "rejected: description_too_long (bad_value)"},
      {"cpu 0", [](Order& o) { o.c.mutable_size()->set_cpu(0); },
       "rejected: cpu_out_of_range (bad_value)"},
      {"cpu 128", [](Order& o) { o.c.mutable_size()->set_cpu(128); },
       "accepted: instance_created"},
      {"cpu 129", [](Order& o) { o.c.mutable_size()->set_cpu(129); },
       "rejected: cpu_out_of_range (bad_value)"},
      {"ram 511", [](Order& o) { o.c.mutable_size()->set_ram_mb(511); },
       "rejected: ram_out_of_range (bad_value)"},
      {"ram 512", [](Order& o) { o.c.mutable_size()->set_ram_mb(512); },
       "accepted: instance_created"},
      {"ram 1 TB", [](Order& o) { o.c.mutable_size()->set_ram_mb(1048576); },
       "accepted: instance_created"},
      {"ram over 1 TB", [](Order& o) { o.c.mutable_size()->set_ram_mb(1048577); },
       "rejected: ram_out_of_range (bad_value)"},
      {"disk 7", [](Order& o) { o.c.mutable_size()->set_disk_gb(7); },
       "rejected: disk_size_out_of_range (bad_value)"},
      {"disk 8", [](Order& o) { o.c.mutable_size()->set_disk_gb(8); },
       "accepted: instance_created"},
      {"disk 1024", [](Order& o) { o.c.mutable_size()->set_disk_gb(1024); },
       "accepted: instance_created"},
      {"disk 1025", [](Order& o) { o.c.mutable_size()->set_disk_gb(1025); },
       "rejected: disk_size_out_of_range (bad_value)"},
      {"no nodes", [](Order& o) { o.c.set_nodes_number(0); },
       "rejected: nodes_number_out_of_range (bad_value)"},
      {"16 nodes", [](Order& o) { o.c.set_nodes_number(16); }, "accepted: instance_created"},
      {"17 nodes", [](Order& o) { o.c.set_nodes_number(17); },
       "rejected: nodes_number_out_of_range (bad_value)"},
      {"all but one sync", [](Order& o) { o.c.set_sync_replica_number(2); },
       "accepted: instance_created"},
      {"all sync", [](Order& o) { o.c.set_sync_replica_number(3); },
       "rejected: sync_replica_number_too_big (bad_value)"},
      {"16 sync", [](Order& o) { o.c.set_sync_replica_number(16); },
       "rejected: sync_replica_number_out_of_range (bad_value)"},
      {"no version", [](Order& o) { o.facts.version = {}; },
       "rejected: version_not_found (not_found)"},
      {"version withdrawn", [](Order& o) { o.facts.version.offered = false; },
       "rejected: version_not_offered (not_found)"},
      {"another image", [](Order& o) { o.c.set_image("postgresql-14"); },
       "rejected: image_differs (conflict)"},
      {"image left to the service", [](Order& o) { o.c.clear_image(); },
       "accepted: instance_created"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Order order;
    row.change(order);
    Scene().when(order.command, order.facts).then(row.expected);
  }
}

TEST(CreateInstance, TakesTheImageFromTheVersion) {
  Scene scene;
  scene.after_order(3, 1);
  EXPECT_EQ(scene.state().spec.image, "postgresql-15");
  EXPECT_EQ(scene.state().status, InstanceStatus::created);
  EXPECT_EQ(scene.state().step, Step::placing);
}

TEST(CreateInstance, UuidInUseWhateverBecameOfIt) {
  Scene().after_order(1, 0).when(create()).then("rejected: uuid_in_use (conflict)");
  Scene().after_active(1, 0).when(create()).then("rejected: uuid_in_use (conflict)");
  Scene().after_order(1, 0).after(remove()).when(create()).then(
      "rejected: uuid_in_use (conflict)");
}

TEST(AnyCommand, NotFoundUnlessTheInstanceLives) {
  const Command commands[] = {update(),
                              remove(),
                              create_user(kAlice, "alice"),
                              delete_user(kAlice),
                              create_database(kApp, "app", kAlice),
                              delete_database(kApp),
                              place(0, 1),
                              node_created(0, 2),
                              start_removal(0),
                              settled({0}, 0),
                              objects_applied(1)};
  for (const Command& command : commands) {
    SCOPED_TRACE(command.ShortDebugString());
    const char* expected = "rejected: instance_not_found (not_found)";
    Scene().when(command).then(expected);
    Scene().after_active(1, 0).after(remove()).when(command).then(expected);
    Scene().after_order(1, 0).after(remove()).when(command).then(expected);
  }
  Scene().after_active(1, 0).when(Command()).then("rejected: command_empty (bad_value)");
}

TEST(UpdateInstance, EachFieldOneFactAwayFromNothing) {
  const Row<void (*)(v1::UpdateInstance&)> rows[] = {
      {"nothing", [](auto&) {}, "ignored"},
      {"same name", [](auto& c) { c.set_name("orders"); }, "ignored"},
      {"name", [](auto& c) { c.set_name("x"); }, "accepted: instance_renamed"},
      {"empty name", [](auto& c) { c.set_name(""); }, "rejected: name_missing (bad_value)"},
      {"description", [](auto& c) { c.set_description("x"); }, "accepted: instance_renamed"},
      {"same cpu", [](auto& c) { c.set_cpu(1); }, "ignored"},
      {"cpu up", [](auto& c) { c.set_cpu(2); }, "accepted: instance_resized"},
      {"cpu 0", [](auto& c) { c.set_cpu(0); }, "rejected: cpu_out_of_range (bad_value)"},
      {"ram up", [](auto& c) { c.set_ram_mb(2048); }, "accepted: instance_resized"},
      {"ram down", [](auto& c) { c.set_ram_mb(512); }, "accepted: instance_resized"},
      {"ram too far down", [](auto& c) { c.set_ram_mb(511); },
       "rejected: ram_out_of_range (bad_value)"},
      {"disk up", [](auto& c) { c.set_disk_gb(11); }, "accepted: instance_resized"},
      {"disk down", [](auto& c) { c.set_disk_gb(9); },
       "rejected: disk_must_not_shrink (bad_value)"},
      {"nodes up", [](auto& c) { c.set_nodes_number(4); }, "accepted: instance_scaled"},
      {"nodes down", [](auto& c) { c.set_nodes_number(2); }, "accepted: instance_scaled"},
      {"nodes down to sync", [](auto& c) { c.set_nodes_number(1); },
       "rejected: sync_replica_number_too_big (bad_value)"},
      {"nodes and sync down", [](auto& c) {
         c.set_nodes_number(1);
         c.set_sync_replica_number(0);
       }, "accepted: instance_scaled"},
      {"sync", [](auto& c) { c.set_sync_replica_number(2); }, "accepted: instance_scaled"},
      {"sync too many", [](auto& c) { c.set_sync_replica_number(3); },
       "rejected: sync_replica_number_too_big (bad_value)"},
      {"all", [](auto& c) {
         c.set_name("x");
         c.set_cpu(2);
         c.set_nodes_number(5);
       }, "accepted: instance_renamed instance_resized instance_scaled"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Command command = update();
    row.change(*command.mutable_update_instance());
    Scene().after_active(3, 1).when(command).then(row.expected);
  }
}

TEST(UpdateInstance, IsARetryOnlyOfAnInstanceInError) {
  Command rename = update();
  rename.mutable_update_instance()->set_name("x");
  Command grow = update();
  grow.mutable_update_instance()->set_nodes_number(2);
  Scene().after_error().when(update()).then("accepted: instance_retried");
  Scene().after_error().when(rename).then("accepted: instance_renamed");
  Scene().after_error().when(grow).then("accepted: instance_scaled instance_retried");
  Scene().after_order(1, 0).when(update()).then("ignored");
  Scene().after_created(1, 0).when(update()).then("ignored");
}

TEST(UpdateInstance, RetryAsksForTheUnfinishedBoxAnew) {
  Scene scene;
  scene.after_order(2, 0).after(place(0, 2));
  scene.after(node_created(0, scene.state().nodes[0].ensure_generation));
  const uint64_t done = scene.state().nodes[0].ensure_generation;
  scene.after(step_failed("creating_nodes", "disk_full")).after(update());
  EXPECT_EQ(scene.state().status, InstanceStatus::in_progress);
  EXPECT_FALSE(scene.state().failure);
  EXPECT_EQ(scene.state().nodes[0].ensure_generation, done);
  EXPECT_EQ(scene.state().nodes[1].ensure_generation, scene.state().version);
}

TEST(UpdateInstance, ResizeAsksForEveryBoxAnew) {
  Command grow = update();
  grow.mutable_update_instance()->set_ram_mb(4096);
  Scene scene;
  scene.after_active(2, 1).after(grow);
  for (const Node& node : scene.state().nodes) {
    EXPECT_EQ(node.ensure_generation, scene.state().version);
    EXPECT_FALSE(node.is_up_to_date());
  }
  EXPECT_EQ(scene.state().step, Step::creating_nodes);
  EXPECT_EQ(scene.state().status, InstanceStatus::in_progress);
}

TEST(DeleteInstance, FromEveryState) {
  const char* at_once = "accepted: instance_deletion_started instance_deleted";
  const char* later = "accepted: instance_deletion_started";
  Scene().after_order(1, 0).when(remove()).then(at_once);
  Scene().after_error().when(remove()).then(at_once);
  Scene().after_order(1, 0).after(place(0, 1)).when(remove()).then(later);
  Scene().after_created(2, 1).when(remove()).then(later);
  Scene().after_active(2, 1).when(remove()).then(later);
}

TEST(DeleteInstance, EndsWithTheLastNode) {
  Scene scene;
  scene.after_active(2, 1).after(remove());
  scene.when(node_removed(1)).then("accepted: node_removed");
  scene.when(node_removed(1)).then("ignored");
  scene.when(node_removed(0)).then("accepted: node_removed instance_deleted");
  EXPECT_EQ(scene.state().status, InstanceStatus::deleted);
  scene.when(node_removed(0)).then("rejected: instance_not_found (not_found)");
}

TEST(PlaceNodes, EachRuleOneFactAwayFromAGoodPlacement) {
  struct Placement {
    Command command = place(0, 2);
    InstanceFacts facts = offered();
    v1::NodeAddress& second =
        *command.mutable_place_nodes()->mutable_nodes(1)->mutable_address();
  };
  const Row<void (*)(Placement&)> rows[] = {
      {"good", [](Placement&) {}, "accepted: node_placed node_placed"},
      {"nothing", [](Placement& p) { p.command.mutable_place_nodes()->clear_nodes(); },
       "rejected: nodes_missing (bad_value)"},
      {"fewer than ordered", [](Placement& p) { p.command = place(0, 1); },
       "accepted: node_placed"},
      {"more than ordered", [](Placement& p) { p.command = place(0, 3); }, "ignored"},
      {"not the next node", [](Placement& p) { p.command = place(1, 1); }, "ignored"},
      {"port 5431", [](Placement& p) { p.second.set_port(5431); },
       "rejected: port_out_of_range (bad_value)"},
      {"port 65536", [](Placement& p) { p.second.set_port(65536); },
       "rejected: port_out_of_range (bad_value)"},
      {"no host", [](Placement& p) { p.second.clear_host(); },
       "rejected: address_malformed (bad_value)"},
      {"both at one port", [](Placement& p) { p.second.set_host("host-a"); },
       "rejected: address_taken (conflict)"},
      {"two ports of a host", [](Placement& p) {
         p.second.set_host("host-a");
         p.second.set_port(5433);
       }, "accepted: node_placed node_placed"},
      {"another instance's port", [](Placement& p) {
         p.facts.taken = {{HostName("host-b"), 5432}};
       }, "rejected: address_taken (conflict)"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Placement placement;
    row.change(placement);
    Scene().after_order(2, 0).when(placement.command, placement.facts).then(row.expected);
  }
}

TEST(PlaceNodes, NoNodeIsPlacedTwiceHoweverOftenItIsAsked) {
  Scene scene;
  scene.after_order(1, 0).after(place(0, 1)).when(place(0, 1)).then("ignored");
  scene.when(place(1, 1)).then("ignored");
  scene.after(start_removal(0, "disk_full")).when(place(0, 1)).then("ignored");
  scene.after(node_removed(0)).when(place(0, 1)).then("ignored");
  scene.when(place(1, 1)).then("accepted: node_placed");
  Scene().after_error().when(place(0, 1)).then("ignored");
}

TEST(RecordNodeCreated, OnlyTheNewestGenerationCountsAndOnce) {
  Scene scene;
  scene.after_order(1, 0).after(place(0, 1));
  const uint64_t placed = scene.state().version;
  scene.when(node_created(1, placed)).then("ignored");
  scene.when(node_created(0, placed + 1)).then("rejected: generation_unknown (bad_value)");
  scene.when(node_created(0, placed)).then("accepted: node_created");
  scene.when(node_created(0, placed)).then("ignored");
  Command grow = update();
  grow.mutable_update_instance()->set_cpu(2);
  scene.after(grow);
  scene.when(node_created(0, placed)).then("ignored");
  scene.when(node_created(0, scene.state().version)).then("accepted: node_created");
}

TEST(StartNodeRemoval, OnlyWhatIsNotWantedAndNeverThePrimary) {
  Command shrink = update();
  shrink.mutable_update_instance()->set_nodes_number(2);
  Scene().after_active(3, 1).when(start_removal(2)).then("ignored");
  Scene().after_active(3, 1).after(shrink).when(start_removal(2)).then(
      "accepted: node_removal_started");
  Scene().after_active(3, 1).after(shrink).after(start_removal(2)).when(start_removal(2)).then(
      "ignored");
  Scene().after_active(3, 1).after(shrink).after(start_removal(2)).when(start_removal(1)).then(
      "ignored");
  Scene().after_error().when(start_removal(0)).then("ignored");

  Scene scene;
  scene.after_active(3, 1).after(shrink);
  InstanceState state = scene.state();
  v1::GroupEvent opened;
  opened.mutable_primary_opened()->set_node_id(node_id(0));
  evolve_from_group(state, opened, 1, kStart);
  EXPECT_EQ(trunkline::testing::outline(decide(state, start_removal(0), offered(), kStart)),
            "rejected: primary_must_stay (conflict)");
  EXPECT_EQ(trunkline::testing::outline(decide(state, start_removal(1), offered(), kStart)),
            "accepted: node_removal_started");
}

TEST(RecordNodeRemoved, OnlyWhatIsBeingRemoved) {
  Scene scene;
  scene.after_active(1, 0).when(node_removed(0)).then("ignored");
  scene.when(node_removed(1)).then("ignored");
}

TEST(RecordGroupSettled, OnlyForExactlyTheOrder) {
  const char* active = "accepted: instance_activated";
  Scene().after_created(3, 1).when(settled({0, 1, 2}, 1)).then(active);
  Scene().after_created(3, 1).when(settled({0, 1, 2}, 0)).then("ignored");
  Scene().after_created(3, 1).when(settled({0, 1}, 1)).then("ignored");
  Scene().after_created(3, 1).when(settled({0, 1, 3}, 1)).then("ignored");
  Scene().after_created(3, 1).when(settled({0, 1, 2, 3}, 1)).then("ignored");
  Scene().after_order(3, 1).after(place(0, 3)).when(settled({0, 1, 2}, 1)).then("ignored");
  Scene().after_order(3, 1).after(place(0, 2)).when(settled({0, 1}, 1)).then("ignored");
  Scene().after_active(3, 1).when(settled({0, 1, 2}, 1)).then("ignored");
  // Late, but true.
  Scene().after_created(1, 0).after(step_failed("forming", "x")).when(settled({0}, 0)).then(active);
}

TEST(RecordStepFailed, OnlyForTheStepThatIsWaitedFor) {
  const char* failed = "accepted: instance_failed";
  Scene().after_order(1, 0).when(step_failed("placing", "no_capacity")).then(failed);
  Scene().after_order(1, 0).when(step_failed("forming", "no_capacity")).then("ignored");
  Scene().after_created(1, 0).when(step_failed("forming", "x")).then(failed);
  Scene().after_active(1, 0).when(step_failed("none", "x")).then("ignored");
  Scene().after_error().when(step_failed("placing", "no_capacity")).then("ignored");
  // Before its time: the step has begun anew since the deadline was looked at.
  Scene().after_order(1, 0).when(step_failed("placing", "deadline_missed")).then("ignored");
}

TEST(RecordStepFailed, OfADeletionIsRecordedOnceAndChangesNoStatus) {
  Scene scene;
  scene.after_active(1, 0).after(remove());
  scene.when(step_failed("removing_nodes", "host_silent")).then("accepted: instance_failed");
  EXPECT_EQ(scene.state().status, InstanceStatus::deleting);
  scene.when(step_failed("removing_nodes", "host_silent")).then("ignored");
  scene.when(node_removed(0)).then("accepted: node_removed instance_deleted");
}

}  // namespace
}  // namespace trunkline::provisioner::testing
