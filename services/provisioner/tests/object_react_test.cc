// Users and databases on their way to the primary; orphans; the reports themselves.
#include <numeric>

#include "provisioner/tests/react_fixture.h"

namespace trunkline::provisioner::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// ---- users and databases -------------------------------------------------------------------

TEST_F(React, AppliesObjectsToTheOpenPrimaryUntilItsHostHasTakenThemUp) {
  active(2, 1);
  decide(create_user(kAlice, "alice"));
  decide(create_database(kApp, "app", kAlice));
  EXPECT_FALSE(is_at_rest(state_, {}));
  EXPECT_THAT(outline(), ElementsAre("objects 0"));
  auto& task = *report(0).mutable_objects();
  task.set_generation(state_.objects_version - 1);
  task.set_state(v1::TASK_STATE_SUCCEEDED);
  EXPECT_THAT(outline(), ElementsAre("objects 0"));
  task.set_generation(state_.objects_version);
  task.set_state(v1::TASK_STATE_IN_PROGRESS);
  EXPECT_THAT(outline(), IsEmpty());
  task.set_state(v1::TASK_STATE_SUCCEEDED);
  EXPECT_THAT(outline(), ElementsAre("record_objects_applied with 0 failures"));
  decide(objects_applied(state_.objects_version));
  EXPECT_THAT(outline(), IsEmpty());
  EXPECT_TRUE(is_at_rest(state_, {}));
}

TEST_F(React, ObjectsOfANewPrimaryAreAppliedAnew) {
  active(2, 1);
  decide(create_user(kAlice, "alice"));
  decide(objects_applied(state_.objects_version));
  opened(1);
  EXPECT_THAT(outline(), ElementsAre("objects 1"));
}

TEST_F(React, ObjectsWaitForAnOpenPrimaryAndForNothingElse) {
  placed(1, 0);
  made(0);
  decide(create_user(kAlice, "alice"));
  EXPECT_THAT(outline(), ElementsAre("record_node_created 0"));
  opened(0);
  EXPECT_THAT(outline(), ElementsAre("record_node_created 0", "objects 0"));
  decide(step_failed("creating_nodes", "x"));
  EXPECT_THAT(outline(), ElementsAre("record_node_created 0", "objects 0"));
  decide(remove());
  EXPECT_THAT(outline(), ElementsAre("remove 0"));
}

TEST_F(React, TheTaskHasTheLiveObjectsAndTheDropped) {
  active(1, 0);
  decide(create_user(kAlice, "alice"));
  decide(create_database(kApp, "app", kAlice));
  decide(create_database(kShop, "shop", kAlice));
  decide(delete_database(kApp));
  const auto all = actions();
  const auto& objects = std::get<SendTask>(all.at(0)).task.apply_objects();
  EXPECT_EQ(objects.objects_version(), state_.objects_version);
  ASSERT_EQ(objects.users_size(), 1);
  EXPECT_EQ(objects.users(0).scram_verifier(), verifier());
  ASSERT_EQ(objects.databases_size(), 1);
  EXPECT_EQ(objects.databases(0).name(), "shop");
  EXPECT_EQ(objects.databases(0).owner_id(), kAlice);
  EXPECT_THAT(objects.dropped_database_ids(), ElementsAre(kApp));
}

TEST_F(React, AFailureOfOneObjectIsRecordedAndItsEndToo) {
  active(1, 0);
  decide(create_user(kAlice, "alice"));
  auto& task = *report(0).mutable_objects();
  task.set_generation(state_.objects_version);
  task.set_state(v1::TASK_STATE_SUCCEEDED);
  auto& failure = *report(0).add_object_failures();
  failure.set_object_id(kAlice);
  failure.mutable_failure()->set_code("name_taken");
  EXPECT_THAT(outline(), ElementsAre("record_objects_applied with 1 failures"));
  Command record = objects_applied(state_.objects_version);
  add_failure(record, kAlice, "name_taken");
  decide(record);
  EXPECT_THAT(outline(), IsEmpty());
  report(0).clear_object_failures();
  EXPECT_THAT(outline(), ElementsAre("record_objects_applied with 0 failures"));
}

TEST_F(React, ATaskThatFailsAsAWholeFailsWhatIsPending) {
  active(1, 0);
  decide(create_user(kAlice, "alice"));
  decide(create_user(kBob, "bob"));
  auto& task = *report(0).mutable_objects();
  failed(task, state_.objects_version, "no_connection", kFailedObjectTries - 1);
  EXPECT_THAT(outline(), IsEmpty());
  task.set_tries(kFailedObjectTries);
  EXPECT_THAT(outline(), ElementsAre("record_objects_applied with 2 failures"));
}

TEST_F(React, ObjectsThatNobodyAppliesFailInTheEnd) {
  active(1, 0);
  decide(create_user(kAlice, "alice"));
  silent_ = {0};
  now_ = state_.objects_changed_at + kObjectsDeadline - milliseconds(1);
  EXPECT_THAT(outline(), IsEmpty());
  now_ += milliseconds(1);
  EXPECT_THAT(outline(), ElementsAre("record_objects_applied with 1 failures"));
  watching_since_ = now_;
  EXPECT_THAT(outline(), IsEmpty());
}

// Says who did it, as far as that is known.
TEST_F(React, WhatWasDoneBySqlIsRecordedInTheNameOfWhoDidIt) {
  active(1, 0);
  decide(create_user(kAlice, "alice"));
  decide(objects_applied(state_.objects_version));
  report(0).mutable_objects()->set_generation(state_.objects_version);
  report(0).mutable_objects()->set_state(v1::TASK_STATE_SUCCEEDED);
  auto& seen = *report(0).add_object_notes();
  seen.mutable_note()->set_kind(v1::OBJECT_KIND_USER);
  seen.mutable_note()->set_object_id(kAlice);
  seen.mutable_note()->set_what("password_changed");
  seen.mutable_note()->set_database_user("alice");
  seen.set_scram_verifier(verifier("another salt 16b"));
  const auto all = actions();
  ASSERT_EQ(all.size(), 1u);
  const auto& issue = std::get<IssueCommand>(all[0]);
  EXPECT_EQ(issue.actor, "database_user:alice");
  decide(issue.command);
  EXPECT_EQ(state_.users.at(UserId(kAlice)).scram_verifier, verifier("another salt 16b"));
  EXPECT_THAT(outline(), ElementsAre("objects 0"));
}

TEST_F(React, WhetherClientsCanWriteIsRecordedAsThePrimarysHostSaysIt) {
  active(2, 1);
  report(0).set_reported_role(v1::ROLE_PRIMARY);
  EXPECT_THAT(outline(), IsEmpty());
  report(1).mutable_writes()->set_why("disk_full");
  EXPECT_THAT(outline(), IsEmpty()) << "of a standby";
  report(0).mutable_writes()->set_why("disk_full");
  EXPECT_THAT(outline(), ElementsAre("record_writes disk_full"));
  decide(record_writes("disk_full"));
  EXPECT_EQ(state_.status, InstanceStatus::active);
  EXPECT_THAT(outline(), IsEmpty());
  report(0).mutable_writes()->set_why("no_sync_standby");
  EXPECT_THAT(outline(), ElementsAre("record_writes no_sync_standby"));
  for (const char* why : {"host_disk_full", "files_full", "host_files_full"}) {
    report(0).mutable_writes()->set_why(why);
    EXPECT_THAT(outline(), ElementsAre(std::string("record_writes ") + why));
  }
  report(0).mutable_writes()->set_why("moon_is_full");
  EXPECT_THAT(outline(), IsEmpty()) << "of a newer agent";
  report(0).clear_writes();
  EXPECT_THAT(outline(), ElementsAre("record_writes "));
  decide(record_writes(""));
  EXPECT_THAT(outline(), IsEmpty());
}

TEST_F(React, ANodeThatTheLogKnowsAgainIsReleased) {
  active(1, 0);
  report(0).set_quarantined(true);
  EXPECT_THAT(outline(), ElementsAre(HasSubstr("ensure 0")));
}

// ---- orphans -------------------------------------------------------------------------------

class Orphans : public ::testing::Test {
 protected:
  Orphans() {
    report_.set_host("host-a");
    auto& node = *report_.add_nodes();
    node.set_node_id(node_id(0));
    node.set_instance_id(kInstance.str());
  }
  std::string found(std::optional<const InstanceState*> state,
                    const std::set<std::string>& ordered = {}) {
    std::vector<int> all(static_cast<size_t>(report_.nodes_size()));
    std::iota(all.begin(), all.end(), 0);
    std::string out;
    const auto find = [&](const InstanceId&) { return state; };
    for (const SendTask& task : orphans(report_, all, find, watch_, ordered)) {
      out += task.task.has_remove_node() ? "remove " : "quarantine ";
    }
    return out;
  }
  v1::HostReport report_;
  Watch watch_{kStart + kOrphanGrace, kStart};
};

TEST_F(Orphans, WhatTheLogRemovedIsRemoved) {
  Scene scene;
  scene.after_order(1, 0);
  scene.after(place(0, 1));
  EXPECT_EQ(found(&scene.state()), "");
  scene.after(remove());
  EXPECT_EQ(found(&scene.state()), "") << "its removal is under way";
  scene.after(node_removed(0));
  EXPECT_EQ(scene.state().status, InstanceStatus::deleted);
  EXPECT_EQ(found(&scene.state()), "remove ");
}

// A log that was set back does not have the newest instances and nodes: their data stay.
TEST_F(Orphans, WhatTheLogNeverKnewIsKept) {
  EXPECT_EQ(found(nullptr), "quarantine ") << "the instance";
  Scene scene;
  scene.after_order(1, 0);
  EXPECT_EQ(found(&scene.state()), "quarantine ") << "the node";
  report_.mutable_nodes(0)->set_instance_id("");
  EXPECT_EQ(found(nullptr), "quarantine ") << "not even the host knows of which instance it is";
  report_.mutable_nodes(0)->set_quarantined(true);
  EXPECT_EQ(found(nullptr), "") << "it is done";
}

TEST_F(Orphans, WhatAnAdministratorOrdersIsRemoved) {
  report_.mutable_nodes(0)->set_quarantined(true);
  EXPECT_EQ(found(nullptr, {node_id(0)}), "remove ");
  EXPECT_EQ(found(nullptr, {node_id(1)}), "");
  EXPECT_EQ(found(std::nullopt, {node_id(0)}), "") << "what cannot be read may be in use";
  Scene scene;
  scene.after_order(1, 0);
  scene.after(place(0, 1));
  EXPECT_EQ(found(&scene.state(), {node_id(0)}), "") << "the log has it again";
}

TEST_F(Orphans, OfManyAtOnceNoneGoesForAWhile) {
  Scene scene;
  scene.after_order(1, 0);
  scene.after(place(0, 1));
  scene.after(remove());
  scene.after(node_removed(0));
  const v1::NodeReport one = report_.nodes(0);
  while (report_.nodes_size() < kManyOrphans) *report_.add_nodes() = one;
  EXPECT_THAT(found(&scene.state()), Not(HasSubstr("quarantine")));
  *report_.add_nodes() = one;
  EXPECT_THAT(found(&scene.state()), Not(HasSubstr("remove")));
  EXPECT_THAT(found(&scene.state(), {node_id(0)}), Not(HasSubstr("quarantine")));
  watch_.now = watch_.watching_since + kOrphanBrake;
  EXPECT_THAT(found(&scene.state()), Not(HasSubstr("quarantine")));
}

TEST_F(Orphans, AnInstanceThatCannotBeReadKeepsItsNodes) {
  EXPECT_EQ(found(std::nullopt), "");
}

TEST_F(Orphans, AreLeftAloneAtFirstAndWhileTheyGo) {
  report_.mutable_nodes(0)->mutable_remove()->set_state(v1::TASK_STATE_IN_PROGRESS);
  EXPECT_EQ(found(nullptr, {node_id(0)}), "");
  report_.mutable_nodes(0)->mutable_remove()->set_state(v1::TASK_STATE_FAILED);
  EXPECT_EQ(found(nullptr, {node_id(0)}), "remove ");
  watch_.now -= milliseconds(1);
  EXPECT_EQ(found(nullptr, {node_id(0)}), "");
}

// ---- reports -------------------------------------------------------------------------------

TEST(ReportBook, AnOvertakenReportIsNotTaken) {
  v1::HostReport report;
  report.set_host("host-a");
  report.set_agent_id("one");
  report.set_sequence(5);
  report.set_sent_unix_us(1000);
  ReportBook book;
  EXPECT_TRUE(book.take(report, kStart));
  EXPECT_FALSE(book.take(report, kStart));
  report.set_sequence(4);
  EXPECT_FALSE(book.take(report, kStart));
  report.set_sequence(6);
  EXPECT_TRUE(book.take(report, kStart));
  report.set_agent_id("two");  // the agent was started anew
  report.set_sequence(1);
  report.set_sent_unix_us(2000);
  EXPECT_TRUE(book.take(report, kStart));
  report.set_agent_id("one");  // and this is the old one's last
  report.set_sequence(7);
  report.set_sent_unix_us(1500);
  EXPECT_FALSE(book.take(report, kStart));
}

TEST(ReportBook, KeepsTheNodesThatAreAskedFor) {
  v1::HostReport report;
  report.set_host("host-a");
  for (uint32_t i = 0; i < 3; ++i) report.add_nodes()->set_node_id(node_id(i));
  const int some[] = {0, 2};
  ReportBook book;
  book.take(report, some, kStart);
  const HostSeen* seen = book.find_fresh(HostName("host-a"), kStart + kReportFresh);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->nodes.size(), 2u);
  EXPECT_FALSE(seen->nodes.contains(NodeId(node_id(1))));
  EXPECT_FALSE(book.find_fresh(HostName("host-a"), kStart + kReportFresh + milliseconds(1)));
  EXPECT_FALSE(book.find(HostName("host-b")));
}

}  // namespace
}  // namespace trunkline::provisioner::testing
