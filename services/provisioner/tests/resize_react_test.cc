// A change of size of a running instance, node by node.
#include "provisioner/tests/react_fixture.h"

namespace trunkline::provisioner::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ResizeReact : public React {
 protected:
  // Node 0 is the primary, the others stream; then all are to have 2048 MB.
  void resized(uint32_t nodes) {
    active(nodes, nodes > 1 ? 1 : 0);
    for (uint32_t i = 0; i < nodes; ++i) serves(i, i == 0);
    for (uint32_t i = 1; i < nodes; ++i) streams(i);
    Command command = update();
    command.mutable_update_instance()->set_ram_mb(2048);
    decide(command);
  }
  void serves(uint32_t ordinal, bool as_primary) {
    auto& node = report(ordinal);
    node.set_postgres(as_primary ? v1::POSTGRES_STATE_OPEN : v1::POSTGRES_STATE_RECOVERING);
    node.set_wal_receiver_streaming(!as_primary);
  }
  void restarts(uint32_t ordinal) {
    made(ordinal);
    auto& node = report(ordinal);
    node.mutable_ensure()->set_state(v1::TASK_STATE_IN_PROGRESS);
    node.set_postgres(v1::POSTGRES_STATE_STARTING);
    node.set_wal_receiver_streaming(false);
  }
  void done(uint32_t ordinal) {
    made(ordinal);
    serves(ordinal, NodeId(node_id(ordinal)) == state_.group.primary);
    decide(node_created(ordinal, find_node(state_, NodeId(node_id(ordinal)))->ensure_generation));
  }
};

TEST_F(ResizeReact, StandbysOneByOneThenThePrimary) {
  resized(3);
  EXPECT_THAT(outline(), ElementsAre("ensure 1"));
  restarts(1);
  EXPECT_THAT(outline(), IsEmpty());
  done(1);
  report(1).set_wal_receiver_streaming(false);
  EXPECT_THAT(outline(), IsEmpty()) << "it is up, and does not stream again yet";
  serves(1, false);
  EXPECT_THAT(outline(), ElementsAre("ensure 2"));
  restarts(2);
  EXPECT_THAT(outline(), IsEmpty());
  done(2);
  EXPECT_THAT(outline(), ElementsAre("ensure 0"));
  made(0);
  report(0).mutable_ensure()->set_state(v1::TASK_STATE_IN_PROGRESS);
  EXPECT_THAT(outline(), IsEmpty());
  done(0);
  EXPECT_EQ(state_.step, Step::forming);
}

TEST_F(ResizeReact, ANodeAloneRestartsAtOnce) {
  resized(1);
  EXPECT_THAT(outline(), ElementsAre("ensure 0"));
}

TEST_F(ResizeReact, WhatDoesNotServeIsChangedAtOnce) {
  resized(3);
  for (uint32_t i = 0; i < 3; ++i) {
    report(i).set_postgres(v1::POSTGRES_STATE_STARTING);
    report(i).set_wal_receiver_streaming(false);
  }
  EXPECT_THAT(outline(), ElementsAre("ensure 0", "ensure 1", "ensure 2"));
}

TEST_F(ResizeReact, AStandbyThatRefusesItSparesTheOthersAndSaysWhy) {
  resized(3);
  failed(*report(1).mutable_ensure(), state_.nodes[1].ensure_generation, "size_refused", 5);
  EXPECT_THAT(outline(), ElementsAre("record_step_failed creating_nodes size_refused"));
  EXPECT_THAT(failure_message(), HasSubstr("it broke"));
  Command command = step_failed("creating_nodes", "size_refused");
  decide(command);
  EXPECT_THAT(outline(), IsEmpty()) << "nobody else is told";
  command = update();
  command.mutable_update_instance()->set_ram_mb(1024);
  decide(command);
  EXPECT_EQ(state_.status, InstanceStatus::in_progress);
  EXPECT_THAT(outline(), ElementsAre("ensure 1"));
}

TEST_F(ResizeReact, TheTimeBeginsAnewWithEachNode) {
  resized(3);
  restarts(1);
  now_ = state_.step_started_at + deadline_of(Step::creating_nodes) - milliseconds(1);
  EXPECT_THAT(outline(), IsEmpty());
  const TimePoint late = state_.step_started_at + deadline_of(Step::creating_nodes);
  done(1);
  now_ = std::max(now_, late);
  EXPECT_THAT(outline(), ElementsAre("ensure 2"));
}

TEST_F(ResizeReact, ASilentHostHoldsUpThoseAfterIt) {
  resized(3);
  silent_ = {1};
  EXPECT_THAT(outline(), IsEmpty());
  now_ += deadline_of(Step::creating_nodes);
  EXPECT_THAT(failure_message(), HasSubstr("host-b: the host is silent"));
}

}  // namespace
}  // namespace trunkline::provisioner::testing
