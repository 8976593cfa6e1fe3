#include "provisioner/domain/instance_evolve.h"

#include <gtest/gtest.h>

#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {
namespace {

// An event with only its member set: ids of nothing, numbers 0.
template <class Message>
Message bare(const google::protobuf::FieldDescriptor* member) {
  Message message;
  message.GetReflection()->MutableMessage(&message, member);
  return message;
}

TEST(Evolve, TakesEveryEventInEveryState) {
  Scene none, active, deleted;
  active.after_active(2, 1).after(create_user(kAlice, "alice"));
  deleted.after_active(1, 0).after(remove()).after(node_removed(0));
  for (const Scene* scene : {&none, &active, &deleted}) {
    const auto* members = v1::InstanceEvent::descriptor()->oneof_decl(0);
    for (int i = 0; i < members->field_count(); ++i) {
      InstanceState state = scene->state();
      evolve(state, bare<v1::InstanceEvent>(members->field(i)), kStart);
      EXPECT_EQ(state.version, scene->state().version + 1) << members->field(i)->name();
      EXPECT_EQ(state.step, step_of(state)) << members->field(i)->name();
    }
    const auto* group_members = v1::GroupEvent::descriptor()->oneof_decl(0);
    for (int i = 0; i < group_members->field_count(); ++i) {
      InstanceState state = scene->state();
      evolve_from_group(state, bare<v1::GroupEvent>(group_members->field(i)), 1, kStart);
      EXPECT_EQ(state.group.version, 1u);
      state.group = scene->state().group;
      EXPECT_EQ(state, scene->state()) << group_members->field(i)->name();
    }
  }
}

TEST(Evolve, ANewOrderBeginsTheStepAnew) {
  Scene scene;
  scene.after_order(2, 0).after(place(0, 2));
  const TimePoint first = scene.state().step_started_at;
  ASSERT_EQ(scene.state().step, Step::creating_nodes);
  scene.after(node_created(0, scene.state().nodes[0].ensure_generation));
  EXPECT_EQ(scene.state().step_started_at, first) << "progress within a step is not a new one";
  Command grow = update();
  grow.mutable_update_instance()->set_cpu(2);
  scene.after(grow);
  EXPECT_EQ(scene.state().step, Step::creating_nodes);
  EXPECT_GT(scene.state().step_started_at, first);
}

TEST(Evolve, PhasesOfANode) {
  Command shrink = update();
  shrink.mutable_update_instance()->set_nodes_number(1);
  Scene scene;
  scene.after_order(2, 0).after(place(0, 2));
  EXPECT_EQ(scene.state().nodes[1].phase, NodePhase::placed);
  scene.after(node_created(1, scene.state().nodes[1].ensure_generation));
  EXPECT_EQ(scene.state().nodes[1].phase, NodePhase::created);
  scene.after(shrink).after(start_removal(1));
  EXPECT_EQ(scene.state().nodes[1].phase, NodePhase::removing);
  EXPECT_EQ(scene.state().nodes[1].removal_why, kScaledDown);
  scene.after(node_removed(1));
  EXPECT_EQ(scene.state().nodes.size(), 1u);
  EXPECT_EQ(scene.state().nodes_placed, 2u);
}

TEST(Evolve, AGroupEventThatWasFoldedBeforeChangesNothing) {
  InstanceState state(kInstance);
  v1::GroupEvent assigned, opened;
  assigned.mutable_primary_assigned()->set_node_id(node_id(0));
  opened.mutable_primary_opened()->set_node_id(node_id(0));
  evolve_from_group(state, assigned, 1, kStart);
  evolve_from_group(state, opened, 2, kStart);
  const InstanceState before = state;
  evolve_from_group(state, assigned, 1, kStart);
  EXPECT_EQ(state, before);
  EXPECT_TRUE(state.group.primary_open);
}

TEST(Evolve, AnotherTermClosesThePrimaryAndTheDataStay) {
  InstanceState state(kInstance);
  v1::GroupEvent event;
  event.mutable_primary_opened()->set_node_id(node_id(0));
  evolve_from_group(state, event, 1, kStart);
  event.mutable_primary_assigned()->set_node_id(node_id(1));
  evolve_from_group(state, event, 2, kStart);
  EXPECT_FALSE(state.group.primary_open);
  EXPECT_TRUE(holds_data(state, NodeId(node_id(1))));
}

}  // namespace
}  // namespace trunkline::provisioner::testing
