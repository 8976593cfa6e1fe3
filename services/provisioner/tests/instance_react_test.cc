#include "provisioner/tests/react_fixture.h"

namespace trunkline::provisioner::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// ---- placing -------------------------------------------------------------------------------

TEST_F(React, NothingForWhatIsNotThere) {
  EXPECT_THAT(outline(), IsEmpty());
  scene_.after_order(1, 0).after(remove());
  take();
  EXPECT_THAT(outline(), IsEmpty());
  EXPECT_TRUE(is_at_rest(state_, {}));
}

TEST_F(React, AsksForPlacesUntilTheyAreTaken) {
  order(3, 1);
  take();
  EXPECT_THAT(outline(), ElementsAre("place 3"));
  now_ = state_.step_started_at + deadline_of(Step::placing) - milliseconds(1);
  EXPECT_THAT(outline(), ElementsAre("place 3"));
  now_ += milliseconds(1);
  EXPECT_THAT(outline(), ElementsAre("place 3 now"));
}

TEST_F(React, CountsNoTimeBeforeItWatched) {
  order(3, 1);
  take();
  now_ = state_.step_started_at + seconds(3600);
  watching_since_ = now_ - seconds(9);
  EXPECT_THAT(outline(), ElementsAre("place 3"));
}

TEST_F(React, PlacesAwayFromItsOwnNodesAndFromAHostThatFailed) {
  placed(3, 1);
  decide(start_removal(2, "disk_full"));
  const auto all = actions();
  const auto need = std::ranges::find_if(
      all, [](const Action& action) { return std::holds_alternative<NeedPlacement>(action); });
  ASSERT_NE(need, all.end());
  const Needs& needs = std::get<NeedPlacement>(*need).needs;
  EXPECT_EQ(needs.count, 1u);
  EXPECT_EQ(needs.first_ordinal, 3u);
  EXPECT_THAT(needs.used_hosts, ElementsAre(HostName("host-a"), HostName("host-b")));
  EXPECT_THAT(needs.avoid, ElementsAre(HostName("host-c")));
}

TEST_F(React, BeginsNothingNewInError) {
  scene_.after_error();
  take();
  EXPECT_THAT(outline(), IsEmpty());
}

// ---- creating nodes ------------------------------------------------------------------------

TEST_F(React, EnsuresEachBoxUntilItsHostHasTakenItUp) {
  placed(2, 0);
  EXPECT_THAT(outline(), ElementsAre("ensure 0", "ensure 1"));
  auto& task = *report(0).mutable_ensure();
  task.set_generation(state_.nodes[0].ensure_generation - 1);
  task.set_state(v1::TASK_STATE_SUCCEEDED);
  EXPECT_THAT(outline(), ElementsAre("ensure 0", "ensure 1"));
  task.set_generation(state_.nodes[0].ensure_generation);
  task.set_state(v1::TASK_STATE_NOT_STARTED);
  EXPECT_THAT(outline(), ElementsAre("ensure 0", "ensure 1"));
  task.set_state(v1::TASK_STATE_IN_PROGRESS);
  EXPECT_THAT(outline(), ElementsAre("ensure 1"));
  task.set_state(v1::TASK_STATE_SUCCEEDED);
  EXPECT_THAT(outline(), ElementsAre("record_node_created 0", "ensure 1"));
}

TEST_F(React, TheTaskSaysAllThatTheHostMustKnow) {
  placed(1, 0);
  const auto all = actions();
  const auto& send = std::get<SendTask>(all.at(0));
  EXPECT_EQ(send.host, HostName("host-a"));
  EXPECT_EQ(send.task.instance_id(), kInstance.str());
  EXPECT_EQ(send.task.task_id(), node_id(0) + "/ensure/2");
  EXPECT_EQ(send.task.ensure_node().generation(), 2u);
  EXPECT_EQ(send.task.ensure_node().image(), "postgresql-15");
  EXPECT_EQ(send.task.ensure_node().size().ram_mb(), 1024u);
  EXPECT_EQ(send.task.ensure_node().address().port(), 5432u);
}

TEST_F(React, SendsNothingToASilentHost) {
  placed(2, 0);
  silent_ = {0};
  EXPECT_THAT(outline(), ElementsAre("ensure 1"));
  silent_ = {};
  report_age_ = kReportFresh + milliseconds(1);
  EXPECT_THAT(outline(), IsEmpty());
}

TEST_F(React, GivesAFailingHostUpForAnotherAFewTimes) {
  placed(2, 0);
  made(0);
  decide(node_created(0, state_.nodes[0].ensure_generation));
  auto& task = *report(1).mutable_ensure();
  failed(task, state_.nodes[1].ensure_generation, "disk_full", kFailedTries - 1);
  EXPECT_THAT(outline(), IsEmpty());
  task.set_tries(kFailedTries);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 1 disk_full"));
  state_.relocations = kMaxRelocations;
  EXPECT_THAT(outline(), ElementsAre("record_step_failed creating_nodes disk_full"));
  EXPECT_THAT(failure_message(), HasSubstr("host-b, tried 5 times: it broke"));
}

TEST_F(React, ABoxThatWasMadeStaysWhereItIs) {
  active(2, 1);
  Command grow = update();
  grow.mutable_update_instance()->set_cpu(2);
  decide(grow);
  made(0);
  failed(*report(1).mutable_ensure(), state_.nodes[1].ensure_generation, "disk_full", 5);
  EXPECT_THAT(outline(), ElementsAre("record_node_created 0"));
  decide(node_created(0, state_.nodes[0].ensure_generation));
  EXPECT_THAT(outline(), ElementsAre("record_step_failed creating_nodes disk_full"));
}

TEST_F(React, APortThatIsInUseShowsOnlyAtTheStart) {
  placed(1, 0);
  made(0);
  decide(node_created(0, state_.nodes[0].ensure_generation));
  failed(*report(0).mutable_role(), 1, "port_in_use", kFailedTries);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 0 port_in_use"));
  opened(0);  // by now it has the customer's data
  EXPECT_THAT(outline(), ElementsAre("record_step_failed forming port_in_use"));
}

TEST_F(React, AMissedDeadlineNamesTheStepAndWhatIsWaitedFor) {
  placed(2, 0);
  made(0);
  decide(node_created(0, state_.nodes[0].ensure_generation));
  silent_ = {1};
  now_ = state_.step_started_at + deadline_of(Step::creating_nodes) - milliseconds(1);
  EXPECT_THAT(outline(), IsEmpty());
  now_ += milliseconds(1);
  EXPECT_THAT(outline(), ElementsAre("record_step_failed creating_nodes deadline_missed"));
  EXPECT_EQ(failure_message(), "creating_nodes was not done within 60 s: node " + node_id(1) +
                                   " on host-b: the host is silent");
  watching_since_ = now_ - seconds(1);
  EXPECT_THAT(outline(), IsEmpty());
}

TEST_F(React, InErrorWhatWasAssignedStaysAssigned) {
  placed(1, 0);
  decide(step_failed("creating_nodes", "x"));
  EXPECT_THAT(outline(), ElementsAre("ensure 0"));
  made(0);
  EXPECT_THAT(outline(), ElementsAre("record_node_created 0"));
}

// ---- forming -------------------------------------------------------------------------------

TEST_F(React, WaitsForExactlyThisOrderToSettle) {
  placed(2, 1);
  for (uint32_t i = 0; i < 2; ++i) {
    made(i);
    decide(node_created(i, state_.nodes[i].ensure_generation));
  }
  membership(2, 1);
  EXPECT_THAT(outline(), IsEmpty());
  now_ = state_.step_started_at + deadline_of(Step::forming);
  EXPECT_THAT(failure_message(), HasSubstr("has not assigned a primary"));
  // With a primary that opens the time begins anew.
  opened(0);
  EXPECT_THAT(outline(), IsEmpty());
  now_ += deadline_of(Step::forming);
  EXPECT_THAT(failure_message(), HasSubstr("has not settled 2 nodes, 1 of them synchronous"));
  settled_group(2, 0);
  EXPECT_THAT(outline(), ElementsAre("record_step_failed forming deadline_missed"));
  settled_group(1, 1);
  EXPECT_THAT(outline(), ElementsAre("record_step_failed forming deadline_missed"));
  settled_group(2, 1);
  EXPECT_THAT(outline(), ElementsAre("record_group_settled"));
}

TEST_F(React, SettledBeforeTheBoxesAreRecorded) {
  placed(1, 0);
  membership(1, 0);
  opened(0);
  settled_group(1, 0);
  made(0);
  EXPECT_THAT(outline(), ElementsAre("record_node_created 0"));
  decide(node_created(0, state_.nodes[0].ensure_generation));
  EXPECT_THAT(outline(), ElementsAre("record_group_settled"));
}

TEST_F(React, ALateSuccessEndsTheError) {
  placed(1, 0);
  made(0);
  decide(node_created(0, state_.nodes[0].ensure_generation));
  decide(step_failed("forming", "x"));
  membership(1, 0);
  opened(0);
  settled_group(1, 0);
  EXPECT_THAT(outline(), ElementsAre("record_group_settled"));
}

TEST_F(React, AnotherMembershipUnsettlesAndADepartureDoesNot) {
  active(3, 1);
  membership(3, 1, 2);
  EXPECT_FALSE(state_.group.settled);
  detached(2);
  settled_group(2, 1);
  membership(3, 1, 2);
  EXPECT_TRUE(state_.group.settled);
  EXPECT_EQ(state_.group.members.at(NodeId(node_id(2))), Membership::detached);
  membership(2, 1);
  EXPECT_TRUE(state_.group.settled);
  membership(2, 0);
  EXPECT_FALSE(state_.group.settled);
}

TEST_F(React, AfterActiveNothingIsSent) {
  active(3, 1);
  EXPECT_THAT(outline(), IsEmpty());
  EXPECT_TRUE(is_at_rest(state_, {}));
  silent_ = {0, 1, 2};
  now_ += seconds(3600);
  EXPECT_THAT(outline(), IsEmpty());
}

TEST_F(React, AStandbysBoxThatIsGoneIsMadeAnewAndThePrimarysNever) {
  active(2, 1);
  reports_.erase(1);
  EXPECT_THAT(outline(), ElementsAre("ensure 1"));
  made(1);
  reports_.erase(0);
  EXPECT_THAT(outline(), IsEmpty());
  Command grow = update();
  grow.mutable_update_instance()->set_cpu(2);
  decide(grow);
  EXPECT_THAT(outline(), ElementsAre("ensure 1"));
}

TEST_F(React, WhileThePrimaryIsUnknownNoBoxThatWasMadeIsMadeAnew) {
  scene_.after_active(2, 1);
  take();
  EXPECT_THAT(outline(), IsEmpty());
}

// ---- removing ------------------------------------------------------------------------------

TEST_F(React, ShrinksByTheNewestStandbys) {
  active(4, 1);
  Command shrink = update();
  shrink.mutable_update_instance()->set_nodes_number(2);
  decide(shrink);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 3 scaled_down",
                                     "start_node_removal 2 scaled_down"));
}

TEST_F(React, ShrinksAroundThePrimaryAndNotBeforeItIsKnown) {
  active(3, 0);
  Command shrink = update();
  shrink.mutable_update_instance()->set_nodes_number(1);
  decide(shrink);
  opened(2);
  EXPECT_THAT(outline(), ElementsAre("start_node_removal 1 scaled_down",
                                     "start_node_removal 0 scaled_down"));
  state_.group = GroupView();
  EXPECT_THAT(outline(), IsEmpty());
  now_ = state_.step_started_at + deadline_of(Step::removing_nodes);
  EXPECT_THAT(failure_message(), HasSubstr("which node is the primary"));
}

TEST_F(React, ShrinksAroundNoPrimaryThatIsLeavingItself) {
  scene_.after_created(2, 0);
  take();
  made(0);
  made(1);
  v1::GroupEvent assigned;
  assigned.mutable_primary_assigned()->set_node_id(node_id(0));
  group(assigned);
  Command more = update();
  more.mutable_update_instance()->set_nodes_number(3);
  decide(more);
  decide(place(2, 1));
  decide(start_removal(0, "port_in_use"));
  made(2);
  decide(node_created(2, state_.nodes[2].ensure_generation));
  Command shrink = update();
  shrink.mutable_update_instance()->set_nodes_number(1);
  decide(shrink);
  EXPECT_THAT(outline(), ElementsAre("remove 0"));
  assigned.mutable_primary_assigned()->set_node_id(node_id(2));
  group(assigned);
  EXPECT_THAT(outline(), ElementsAre("remove 0", "start_node_removal 1 scaled_down"));
}

TEST_F(React, ABoxGoesOnlyWhenReplicationHasLetItGo) {
  active(2, 1);
  Command shrink = update();
  shrink.mutable_update_instance()->set_nodes_number(1);
  shrink.mutable_update_instance()->set_sync_replica_number(0);
  decide(shrink);
  decide(start_removal(1));
  EXPECT_THAT(outline(), IsEmpty());
  now_ = state_.nodes[1].removal_started_at + deadline_of(Step::removing_nodes);
  EXPECT_THAT(failure_message(), HasSubstr("replication has not detached it"));
  detached(1);
  EXPECT_THAT(outline(), ElementsAre("remove 1", "record_step_failed removing_nodes "
                                                 "deadline_missed"));
  now_ = state_.step_started_at;
  EXPECT_THAT(outline(), ElementsAre("remove 1"));
  report(1).mutable_remove()->set_state(v1::TASK_STATE_IN_PROGRESS);
  EXPECT_THAT(outline(), IsEmpty());
  silent_ = {1};
  reports_.erase(1);
  EXPECT_THAT(outline(), IsEmpty()) << "a silent host says nothing about its nodes";
  silent_ = {};
  EXPECT_THAT(outline(), ElementsAre("record_node_removed 1"));
}

TEST_F(React, ABoxThatWasNeverSeenMayBeOnItsWay) {
  placed(1, 0);
  decide(remove());
  const TimePoint begin = state_.nodes[0].removal_started_at;
  report_age_ = milliseconds(0);
  now_ = begin + kRemovalGrace - milliseconds(1);
  EXPECT_THAT(outline(), ElementsAre("remove 0"));
  now_ = begin + kRemovalGrace;
  EXPECT_THAT(outline(), ElementsAre("record_node_removed 0"));
}

TEST_F(React, ADeletedInstanceWaitsForNobodyButItsHosts) {
  active(2, 1);
  decide(remove());
  EXPECT_THAT(outline(), ElementsAre("remove 0", "remove 1"));
  EXPECT_FALSE(is_at_rest(state_, {}));
  reports_.clear();
  EXPECT_THAT(outline(), ElementsAre("record_node_removed 0", "record_node_removed 1"));
}

TEST_F(React, ALateDeletionIsSaidOnceAndGoesOn) {
  active(1, 0);
  decide(remove());
  silent_ = {0};
  now_ = state_.step_started_at + deadline_of(Step::removing_nodes);
  EXPECT_THAT(outline(), ElementsAre("record_step_failed removing_nodes deadline_missed"));
  state_.failure = StepFailure{"removing_nodes", {"deadline_missed", ""}, NodeId()};
  EXPECT_THAT(outline(), IsEmpty());
  silent_ = {};
  EXPECT_THAT(outline(), ElementsAre("remove 0"));
}

TEST_F(React, AFailingRemovalIsSaidAndAskedForAgain) {
  active(1, 0);
  decide(remove());
  failed(*report(0).mutable_remove(), 1, "stop_failed", kFailedTries);
  EXPECT_THAT(outline(), ElementsAre("remove 0", "record_step_failed removing_nodes stop_failed"));
}

}  // namespace
}  // namespace trunkline::provisioner::testing
