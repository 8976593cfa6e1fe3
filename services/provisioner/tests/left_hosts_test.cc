// Hosts that are drained or lost, failovers beside provisioning, and the ports of endpoints.
#include "provisioner/domain/endpoint_ports.h"
#include "provisioner/tests/react_fixture.h"

namespace trunkline::provisioner::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const HostName kHostA("host-a"), kHostB("host-b"), kHostC("host-c"), kHostD("host-d");

class LeftHostsReact : public React {
 protected:
  // Node 0 is the primary, and all others stream.
  void running(uint32_t nodes, uint32_t sync) {
    active(nodes, sync);
    for (uint32_t i = 1; i < nodes; ++i) streams(i);
    ASSERT_THAT(outline(), IsEmpty());
  }
  void placed_and_made(uint32_t ordinal) {
    decide(place(ordinal, 1));
    made(ordinal);
    decide(node_created(ordinal, find_node(state_, NodeId(node_id(ordinal)))->ensure_generation));
  }
  std::vector<HostName> hosts_that_count() {
    for (const Action& action : actions()) {
      if (const auto* need = std::get_if<NeedPlacement>(&action)) return need->needs.used_hosts;
    }
    return {};
  }
};

TEST_F(LeftHostsReact, AStandbyOfADrainedHostIsReplacedFirst) {
  running(3, 1);
  left_.drained = {kHostB};
  EXPECT_FALSE(is_at_rest(state_, left_));
  EXPECT_THAT(outline(), ElementsAre("place 1"));
  EXPECT_THAT(hosts_that_count(), ElementsAre(kHostA, kHostC));
  placed_and_made(3);
  EXPECT_EQ(state_.status, InstanceStatus::in_progress);
  EXPECT_THAT(outline(), IsEmpty()) << "the new one does not stream yet";
  const TimePoint then = now_;
  now_ += seconds(3600);
  EXPECT_THAT(outline(), IsEmpty()) << "it may take as long as it takes";
  now_ = then;
  streams(3);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 1 host_drained"));
  decide(start_removal(1, kHostDrained));
  membership(4, 1, 1);
  EXPECT_THAT(outline(), IsEmpty()) << "not before replication has let it go, and no other one";
  detached(1);
  EXPECT_THAT(outline(), ElementsAre("remove 1"));
  reports_.erase(1);
  now_ += seconds(2);
  EXPECT_THAT(outline(), ElementsAre("record_node_removed 1"));
  decide(node_removed(1));
  EXPECT_EQ(wanted_nodes(state_), 3u);
  EXPECT_THAT(outline(), IsEmpty());
}

TEST_F(LeftHostsReact, ThePrimaryLeavesByASwitchover) {
  running(2, 1);
  left_.drained = {kHostA};
  placed_and_made(2);
  streams(2);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 0 host_drained"));
  decide(start_removal(0, kHostDrained));
  membership(3, 1, 0);
  EXPECT_THAT(outline(), IsEmpty());
  failover_started(0);
  now_ += seconds(3600);
  EXPECT_THAT(outline(), IsEmpty()) << "a failover under way is no failure of the instance";
  opened(1);
  EXPECT_THAT(outline(), IsEmpty()) << "the old primary is not detached yet";
  detached(0);
  EXPECT_THAT(outline(), ElementsAre("remove 0"));
}

TEST_F(LeftHostsReact, TheOnlyNodeMovesToo) {
  running(1, 0);
  left_.drained = {kHostA};
  EXPECT_THAT(outline(), ElementsAre("place 1"));
  placed_and_made(1);
  EXPECT_THAT(outline(), IsEmpty());
  streams(1);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 0 host_drained"));
}

TEST_F(LeftHostsReact, OneAfterTheOtherAndThePrimaryLast) {
  running(2, 1);
  left_.drained = {kHostA, kHostB};
  EXPECT_THAT(outline(), ElementsAre("place 1"));
  EXPECT_THAT(hosts_that_count(), IsEmpty());
  placed_and_made(2);
  streams(2);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 1 host_drained"));
  decide(start_removal(1, kHostDrained));
  membership(3, 1, 1);
  EXPECT_THAT(outline(), IsEmpty()) << "one at a time";
  detached(1);
  reports_.erase(1);
  now_ += seconds(2);
  decide(node_removed(1));
  EXPECT_THAT(outline(), ElementsAre("place 1"));
}

TEST_F(LeftHostsReact, WithoutAPlaceTheInstanceStaysAsItIs) {
  running(1, 0);
  left_.drained = {kHostA};
  now_ += seconds(3600);
  EXPECT_THAT(outline(), ElementsAre("place 1")) << "asked for again, never for the last time";
  const auto decision = provisioner::decide(
      state_, step_failed("placing", "no_capacity"), offered(), now_);
  EXPECT_EQ(trunkline::testing::describe(decision).rfind("ignored", 0), 0u);
}

TEST_F(LeftHostsReact, ADrainThatEndsLeavesTheNewestOneOver) {
  running(2, 1);
  left_.drained = {kHostB};
  placed_and_made(2);
  left_ = {};
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 2 scaled_down"));
}

TEST_F(LeftHostsReact, NoMoreThanOneMoreIsPlaced) {
  running(2, 1);
  left_.drained = {kHostB};
  InstanceFacts facts = offered();
  facts.left.drained = {kHostB};
  const auto outcome = [&](const Command& command, const InstanceFacts& given) {
    return trunkline::testing::describe(provisioner::decide(state_, command, given, now_));
  };
  EXPECT_EQ(outcome(place(2, 1), facts).rfind("accepted", 0), 0u);
  EXPECT_EQ(outcome(place(2, 1), offered()).rfind("ignored", 0), 0u);
  EXPECT_EQ(outcome(place(2, 2), facts).rfind("ignored", 0), 0u);
  facts.left.drained = {kHostC};
  EXPECT_EQ(outcome(place(2, 1), facts).rfind("ignored", 0), 0u);
}

// ---- lost hosts ----------------------------------------------------------------------------

TEST_F(LeftHostsReact, AStandbyOfALostHostGoesAtOnceAndUnheard) {
  running(3, 1);
  left_.lost = {kHostB};
  silent_ = {1};
  EXPECT_FALSE(is_at_rest(state_, left_));
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 1 host_lost"));
  decide(start_removal(1, kHostLost));
  EXPECT_EQ(state_.status, InstanceStatus::in_progress);
  EXPECT_EQ(state_.relocations, 0u);
  membership(3, 1, 1);
  EXPECT_THAT(outline(), ElementsAre("place 1"));
  detached(1);
  EXPECT_THAT(outline(), UnorderedElementsAre("record_node_removed 1", "place 1"));
  left_ = {};
  EXPECT_THAT(outline(), ElementsAre("place 1")) << "a silent host that is not lost is waited for";
}

TEST_F(LeftHostsReact, ThePrimaryOfALostHostStaysUntilAnotherOneIs) {
  running(2, 1);
  left_.lost = {kHostA};
  silent_ = {0};
  EXPECT_THAT(outline(), IsEmpty());
  failover_started(0);
  EXPECT_THAT(outline(), IsEmpty());
  opened(1);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 0 host_lost"));
}

TEST_F(LeftHostsReact, TheOnlyCopyOfTheDataIsNeverGivenUp) {
  running(1, 0);
  left_.lost = {kHostA};
  silent_ = {0};
  now_ += seconds(3600);
  EXPECT_THAT(outline(), IsEmpty());
  const auto decision =
      provisioner::decide(state_, start_removal(0, kHostLost), offered(), now_);
  EXPECT_EQ(trunkline::testing::describe(decision),
            "rejected: primary_must_stay (conflict)");
}

// ---- failovers -----------------------------------------------------------------------------

TEST_F(LeftHostsReact, AnActiveInstanceStaysActiveInAFailover) {
  running(2, 1);
  failover_started(0);
  now_ += seconds(3600);
  EXPECT_THAT(outline(), IsEmpty());
  EXPECT_TRUE(is_at_rest(state_, left_));
  EXPECT_EQ(state_.status, InstanceStatus::active);
}

TEST_F(LeftHostsReact, UsersWaitForThePrimaryOfAFailover) {
  running(2, 1);
  failover_started(0);
  decide(create_user(kAlice, "alice"));
  now_ += seconds(3600);
  EXPECT_THAT(outline(), IsEmpty());
  report(1);
  opened(1);
  EXPECT_THAT(outline(), ElementsAre("objects 1"));
}

TEST_F(LeftHostsReact, FormingWaitsForAFailover) {
  running(2, 1);
  Command more = update();
  more.mutable_update_instance()->set_nodes_number(3);
  decide(more);
  placed_and_made(2);
  failover_started(0);
  now_ += seconds(3600);
  EXPECT_THAT(outline(), IsEmpty());
  opened(1);
  EXPECT_THAT(outline(), IsEmpty()) << "the time begins anew";
  now_ += deadline_of(Step::forming);
  EXPECT_THAT(failure_message(), HasSubstr("has not settled 3 nodes"));
}

// ---- ports of endpoints --------------------------------------------------------------------

const InstanceId kOne("one"), kTwo("two"), kThree("three");

TEST(EndpointPorts, AreUniqueAndUsedAgainLate) {
  EndpointPorts ports({.first = 20000, .count = 5});
  EXPECT_EQ(ports.give(kOne), (EndpointPair{20000, 20001}));
  EXPECT_EQ(ports.give(kOne), (EndpointPair{20000, 20001})) << "asked again";
  EXPECT_EQ(ports.give(kTwo), (EndpointPair{20002, 20003}));
  EXPECT_EQ(ports.give(kThree), EndpointPair{}) << "none is left";
  ports.record(kOne, {20000, 20001});
  ports.give_back(kOne);
  EXPECT_EQ(ports.give(kThree), EndpointPair{}) << "the log has it";
  ports.give_back(kTwo);
  EXPECT_EQ(ports.give(kThree), (EndpointPair{20002, 20003}));
  ports.free(kOne);
  EXPECT_EQ(ports.give(kTwo), (EndpointPair{20000, 20001}));

  EndpointPorts wide({.first = 20000, .count = 6});
  wide.give(kOne);
  wide.free(kOne);
  EXPECT_EQ(wide.give(kTwo), (EndpointPair{20002, 20003})) << "not the one that was just free";
}

TEST(EndpointPorts, AreGivenAfterTheLastOfTheLog) {
  EndpointPorts ports({.first = 20000, .count = 10});
  ports.record(kOne, {20004, 20005});
  ports.record(kTwo, {20000, 20001});
  EXPECT_EQ(ports.give(kThree), (EndpointPair{20006, 20007})) << "20002 may just have become free";
}

TEST(EndpointPorts, OfTheLogCount) {
  EndpointPorts ports({.first = 20000, .count = 4});
  ports.record(kOne, {20000, 20001});
  ports.record(kOne, {20000, 20001});
  EXPECT_EQ(ports.give(kTwo), (EndpointPair{20002, 20003}));
  ports.record(kTwo, {0, 0});
  EXPECT_EQ(ports.give(kThree), (EndpointPair{20002, 20003})) << "it was made without";
  // An older range, and none at all.
  ports.record(kTwo, {9000, 9001});
  ports.free(kTwo);
  EXPECT_EQ(EndpointPorts({.first = 20000, .count = 0}).give(kOne), EndpointPair{});
}

TEST(EndpointPorts, AreRecordedWithTheOrder) {
  Scene scene;
  InstanceFacts facts = offered();
  facts.endpoint = {20006, 20007};
  scene.when(create(), facts).then("accepted: instance_created");
  EXPECT_EQ(scene.state().spec.read_write_port, 20006u);
  EXPECT_EQ(scene.state().spec.read_only_port, 20007u);
}

// ---- spreading -----------------------------------------------------------------------------

// Nodes 0, 1 and 2 on host-a, host-a and host-c.
class SharedHostReact : public LeftHostsReact {
 protected:
  void SetUp() override {
    running(3, 1);
    find_node(state_, NodeId(node_id(1)))->address.host = kHostA;
    find_node(state_, NodeId(node_id(1)))->address.port = 5433;
    shared_ = true;
    left_.open = {kHostA, kHostB, kHostC};
  }
};

TEST_F(SharedHostReact, IsSpreadAgainWithoutAGap) {
  EXPECT_FALSE(is_at_rest(state_, left_));
  EXPECT_THAT(outline(), ElementsAre("place 1 to spread"));
  placed_and_made(3);
  find_node(state_, NodeId(node_id(3)))->address.host = kHostB;
  EXPECT_THAT(outline(), IsEmpty()) << "the new one does not stream yet";
  const TimePoint then = now_;
  now_ += seconds(3600);
  EXPECT_THAT(outline(), IsEmpty()) << "it may take as long as it takes";
  now_ = then;
  streams(3);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 1 host_shared"));
  decide(start_removal(1, kHostShared));
  membership(4, 1, 1);
  detached(1);
  reports_.erase(1);
  now_ += seconds(2);
  decide(node_removed(1));
  EXPECT_FALSE(is_crowded(state_, left_));
  EXPECT_THAT(outline(), IsEmpty());
}

TEST_F(SharedHostReact, StaysWhereNoOtherHostTakesNodes) {
  left_.open = {kHostA, kHostC};
  EXPECT_TRUE(is_at_rest(state_, left_));
  EXPECT_THAT(outline(), IsEmpty());
}

TEST_F(SharedHostReact, WaitsForAPrimary) {
  failover_started(0);
  EXPECT_THAT(outline(), IsEmpty());
}

TEST_F(SharedHostReact, ThePrimaryIsNotTheOneThatGoes) {
  opened(1);
  EXPECT_EQ(node_that_shares(state_)->id.str(), node_id(0));
}

}  // namespace
}  // namespace trunkline::provisioner::testing
