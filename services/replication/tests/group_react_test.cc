// Tasks, facts from reports, and what reports change.
#include "replication/domain/group_react.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "replication/tests/group_builder.h"

namespace trunkline::replication::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const InstanceId kInstance("11111111-1111-4111-8111-111111111111");

std::vector<std::string> changes(const Group& group) {
  std::vector<std::string> out;
  for (const auto& c : commands_from_reports(group.state, group.facts, group.now)) {
    using Case = v1::GroupCommand::BodyCase;
    switch (c.body_case()) {
      case Case::kRecordPrimaryOpened:
        out.push_back("opened");
        break;
      case Case::kRecordStandbyStreaming:
        out.push_back("streaming " + c.record_standby_streaming().node_id().substr(35));
        break;
      case Case::kRecordStandbyLost:
        out.push_back("lost " + c.record_standby_lost().node_id().substr(35));
        break;
      case Case::kRecordSyncSetApplied:
        out.push_back("applied " + std::to_string(c.record_sync_set_applied().sync_version()));
        break;
      case Case::kRecordNodeDetached:
        out.push_back("detached " + c.record_node_detached().node_id().substr(35));
        break;
      case Case::kSyncMembership:
      case Case::kApplyDecision:
      case Case::kRequestSwitchover:
      case Case::kRequestFailover:
      case Case::BODY_NOT_SET:
        out.push_back("unexpected");
        break;
    }
  }
  return out;
}

// Two nodes, one sync replica, assigned and obeyed; nothing runs yet.
struct Assigned {
  Group group;
  Hosts hosts{2};
  Assigned() {
    group.handle(membership(2, 1, {0, 1}));
    group.run();
    hosts.obey(group);
  }
};

TEST(GroupTasks, say_what_each_member_shall_be) {
  Group group;
  Hosts hosts(3);
  form(group, hosts, 3, 2);
  const auto out = tasks(kInstance, group.state);
  ASSERT_EQ(out.size(), 3u);
  const uint64_t generation = group.state.members[0].role_generation;
  EXPECT_EQ(out[0].host.str(), "host-a");
  EXPECT_EQ(out[0].task.task_id(), node(0).str() + "/role/" + std::to_string(generation));
  EXPECT_EQ(out[0].task.instance_id(), kInstance.str());
  const v1::AssignRole& primary = out[0].task.assign_role();
  EXPECT_EQ(primary.generation(), generation);
  EXPECT_EQ(primary.role(), v1::ROLE_PRIMARY);
  EXPECT_EQ(primary.term(), 1u);
  EXPECT_THAT(primary.standby_node_ids(), ElementsAre(node(1).str(), node(2).str()));
  EXPECT_THAT(primary.sync_candidates(), ElementsAre(node(1).str(), node(2).str()));
  EXPECT_EQ(primary.sync_number(), 2u);
  EXPECT_EQ(primary.sync_version(), 1u);
  EXPECT_TRUE(primary.opened_before());
  const v1::AssignRole& standby = out[2].task.assign_role();
  EXPECT_EQ(standby.role(), v1::ROLE_STANDBY);
  EXPECT_EQ(standby.upstream_node_id(), node(0).str());
  EXPECT_EQ(standby.upstream().address(), "127.0.0.10");
  EXPECT_EQ(standby.upstream().port(), 5432u);
  // Each knows the others, by node and host: a standby may be the next to be copied from.
  ASSERT_EQ(primary.peers_size(), 2);
  EXPECT_EQ(primary.peers(0).node_id(), node(1).str());
  EXPECT_EQ(primary.peers(1).host() + primary.peers(1).address(), "host-c127.0.0.12");
  EXPECT_EQ(standby.peers(0).host(), "host-a");
}

// Until the leaving node is no voter any more.
void leave(Group& group, Hosts& hosts) {
  group.run();
  hosts.obey(group);
  hosts.send(group);
  group.run();
}

TEST(GroupTasks, a_first_primary_was_not_open_before) {
  Assigned a;
  EXPECT_FALSE(tasks(kInstance, a.group.state)[0].task.assign_role().opened_before());
}

TEST(GroupTasks, nothing_is_asked_of_nodes_that_are_going) {
  Group group;
  Hosts hosts(2);
  form(group, hosts, 2, 0);
  group.handle(membership(1, 0, {0, 1}, {1}));
  EXPECT_EQ(tasks(kInstance, group.state).size(), 2u);
  leave(group, hosts);
  ASSERT_EQ(find_member(group.state, node(1))->detach, DetachPhase::detaching);
  const auto out = tasks(kInstance, group.state);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_THAT(out[0].task.assign_role().standby_node_ids(), IsEmpty());
  EXPECT_EQ(out[0].task.assign_role().peers_size(), 0);
  group.handle(membership(1, 0, {0}, {}, true));
  EXPECT_THAT(tasks(kInstance, group.state), IsEmpty());
}

TEST(GroupTasks, are_due_until_the_host_reports_their_generation) {
  Group group;
  Hosts hosts(2);
  group.handle(membership(2, 0, {0, 1}));
  EXPECT_THAT(due_tasks(kInstance, group.state, group.facts), IsEmpty());
  group.run();
  EXPECT_EQ(due_tasks(kInstance, group.state, group.facts).size(), 2u);
  hosts.send(group);
  EXPECT_EQ(due_tasks(kInstance, group.state, group.facts).size(), 2u);
  hosts.obey(group);
  hosts.at(1).mutable_role()->set_state(v1::TASK_STATE_FAILED);  // it tries again by itself
  hosts.send(group);
  EXPECT_THAT(due_tasks(kInstance, group.state, group.facts), IsEmpty());
  hosts.open(0);
  hosts.send(group);
  group.run();
  const auto due = due_tasks(kInstance, group.state, group.facts);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_EQ(due[0].task.node_id(), node(0).str());
  hosts.present = {false, false};  // agents that have lost everything
  hosts.send(group);
  EXPECT_EQ(due_tasks(kInstance, group.state, group.facts).size(), 2u);
}

// ---- opened --------------------------------------------------------------------------------

TEST(GroupReports, a_primary_is_open_when_all_of_its_report_says_so) {
  struct Case {
    const char* what;
    std::function<void(v1::NodeReport&)> change;
    bool is_open;
  };
  const std::vector<Case> cases = {
      {"as it should", [](v1::NodeReport&) {}, true},
      {"starting", [](v1::NodeReport& n) { n.set_postgres(v1::POSTGRES_STATE_STARTING); }, false},
      {"recovering", [](v1::NodeReport& n) { n.set_postgres(v1::POSTGRES_STATE_RECOVERING); },
       false},
      {"older term", [](v1::NodeReport& n) { n.set_term(0); }, false},
      {"newer term", [](v1::NodeReport& n) { n.set_term(2); }, false},
      {"no role", [](v1::NodeReport& n) { n.set_reported_role(v1::ROLE_UNSPECIFIED); }, false},
      {"standby", [](v1::NodeReport& n) { n.set_reported_role(v1::ROLE_STANDBY); }, false},
      {"another node", [](v1::NodeReport& n) { n.set_node_id(node(7).str()); }, false},
  };
  for (const Case& c : cases) {
    Assigned a;
    a.hosts.open(0);
    c.change(a.hosts.at(0));
    a.hosts.send(a.group);
    EXPECT_EQ(!changes(a.group).empty(), c.is_open) << c.what;
  }
}

TEST(GroupReports, a_node_is_only_believed_on_its_own_host) {
  Assigned a;
  v1::HostReport report;
  report.set_host(host(1));
  report.set_sequence(1);
  a.hosts.open(0);
  *report.add_nodes() = a.hosts.at(0);
  observe(a.group.facts, a.group.state, report, a.group.now);
  EXPECT_THAT(changes(a.group), IsEmpty());
}

// ---- streaming -----------------------------------------------------------------------------

TEST(GroupReports, a_standby_streams_when_both_sides_say_so) {
  struct Case {
    const char* what;
    std::function<void(Hosts&)> change;
    bool streams;
  };
  const std::vector<Case> cases = {
      {"as it should", [](Hosts&) {}, true},
      {"not listed", [](Hosts& h) { h.stop_streaming(0, 1); }, false},
      {"base backup", [](Hosts& h) { h.at(0).mutable_standbys(0)->set_state("backup"); }, false},
      {"catching up", [](Hosts& h) { h.at(0).mutable_standbys(0)->set_state("catchup"); }, false},
      {"starting", [](Hosts& h) { h.at(1).set_postgres(v1::POSTGRES_STATE_STARTING); }, false},
      {"other term", [](Hosts& h) { h.at(1).set_term(0); }, false},
      {"a fork", [](Hosts& h) { h.at(1).set_timeline(h.at(0).timeline() - 1); }, false},
      {"no role yet", [](Hosts& h) { h.at(1).set_reported_role(v1::ROLE_UNSPECIFIED); }, false},
      {"not there", [](Hosts& h) { h.present[1] = false; }, false},
      {"primary down", [](Hosts& h) { h.at(0).set_postgres(v1::POSTGRES_STATE_STOPPED); }, false},
  };
  for (const Case& c : cases) {
    Assigned a;
    a.hosts.open(0);
    a.hosts.send(a.group);
    a.group.run();
    a.hosts.stream(0, 1);
    c.change(a.hosts);
    a.hosts.send(a.group);
    const auto out = changes(a.group);
    EXPECT_EQ(out == std::vector<std::string>{"streaming 1"}, c.streams) << c.what;
    EXPECT_EQ(out.empty(), !c.streams) << c.what;
  }
}

TEST(GroupReports, old_reports_say_nothing_of_streaming) {
  Assigned a;
  a.hosts.open(0);
  a.hosts.stream(0, 1);
  a.hosts.send(a.group);
  a.group.now += kFreshReport + milliseconds(1);
  EXPECT_THAT(changes(a.group), IsEmpty());
}

// ---- sync set applied ----------------------------------------------------------------------

// A sync set of nodes 1 and 2 is assigned, obeyed, and the primary was at 0x3000000 when it came
// into force.
struct Applying {
  Group group;
  Hosts hosts{3};
  Applying() {
    group.handle(membership(3, 1, {0, 1, 2}));
    group.run();
    hosts.obey(group);
    hosts.open(0, 0x3000000);
    hosts.stream(0, 1, 0x2000000);
    hosts.stream(0, 2, 0x2000000);
    hosts.send(group);
    group.run();
    hosts.obey(group);
    hosts.send(group);
  }
};

TEST(GroupReports, a_sync_set_is_applied_when_enough_candidates_flushed_what_came_before_it) {
  struct Case {
    const char* what;
    std::function<void(Hosts&)> change;
    bool applied;
  };
  const std::vector<Case> cases = {
      {"nobody flushed", [](Hosts&) {}, false},
      {"one byte short", [](Hosts& h) { h.stream(0, 1, 0x2FFFFFF); }, false},
      {"one flushed", [](Hosts& h) { h.stream(0, 1, 0x3000000); }, true},
      {"the other flushed", [](Hosts& h) { h.stream(0, 2, 0x3000000); }, true},
      {"and the primary went on",
       [](Hosts& h) {
         h.stream(0, 1, 0x3000000);
         h.open(0, 0x9000000);
       },
       true},
      {"the standby's own word only", [](Hosts& h) { h.at(1).set_flush_lsn(0x3000000); }, false},
      {"not in force any more",
       [](Hosts& h) {
         h.stream(0, 1, 0x3000000);
         h.at(0).set_sync_version(0);
       },
       false},
      {"primary not open",
       [](Hosts& h) {
         h.stream(0, 1, 0x3000000);
         h.at(0).set_postgres(v1::POSTGRES_STATE_STARTING);
       },
       false},
  };
  for (const Case& c : cases) {
    Applying a;
    ASSERT_THAT(changes(a.group), IsEmpty());
    c.change(a.hosts);
    a.hosts.send(a.group);
    EXPECT_EQ(changes(a.group) == std::vector<std::string>{"applied 1"}, c.applied) << c.what;
  }
}

TEST(GroupReports, a_weaker_set_is_applied_when_it_is_in_force) {
  struct Case {
    const char* what;
    v1::GroupCommand change;
    bool at_once;
  };
  // From ANY 1 of (1, 2); nobody has flushed what the primary has.
  const std::vector<Case> cases = {
      {"one more candidate", membership(4, 1, {0, 1, 2, 3}), true},
      {"one candidate less", membership(2, 1, {0, 1, 2}, {2}), false},
      {"a higher number", membership(3, 2, {0, 1, 2}), false},
      {"another candidate", membership(3, 1, {0, 1, 2, 3}, {2}), false},
      {"none", membership(3, 0, {0, 1, 2}), true},
  };
  for (const Case& c : cases) {
    Group group;
    Hosts hosts(4);
    form(group, hosts, 3, 1);
    group.handle(c.change);
    group.run();
    hosts.obey(group);
    hosts.open(0, 0x9000000);
    hosts.stream(0, 3, 0x3000000);
    for (int i = 0; i < 4; ++i) {
      group.now += milliseconds(500);
      hosts.send(group);
      group.run();
      hosts.obey(group);
    }
    EXPECT_GT(assigned_sync_set(group.state).version, 1u) << c.what;
    EXPECT_EQ(group.state.sync_pending.empty(), c.at_once) << c.what;
    hosts.stream(0, 1, 0x9000000);
    hosts.stream(0, 2, 0x9000000);
    hosts.send(group);
    group.run();
    EXPECT_TRUE(group.state.sync_pending.empty()) << c.what;
  }
}

// What is acknowledged in the moment between counts as acknowledged before.
TEST(GroupReports, where_a_promise_was_given_the_mark_is_set_a_second_later) {
  Group group;
  Hosts hosts(3);
  form(group, hosts, 3, 1);
  group.handle(membership(3, 2, {0, 1, 2}));
  group.run();
  hosts.obey(group);
  hosts.send(group);
  EXPECT_THAT(changes(group), IsEmpty()) << "in force, and all have flushed, but not for long";
  hosts.open(0, 0x4000000);
  hosts.stream(0, 2, 0x4000000);
  group.now += kSyncMarkAfter;
  hosts.send(group);
  EXPECT_THAT(changes(group), IsEmpty()) << "node 1 has not flushed up to the mark";
  hosts.stream(0, 1, 0x4000000);
  hosts.send(group);
  EXPECT_THAT(changes(group), ElementsAre("applied 2"));
}

TEST(GroupReports, a_set_of_two_needs_two_that_flushed) {
  Group group;
  Hosts hosts(3);
  form(group, hosts, 3, 1);
  group.handle(membership(3, 2, {0, 1, 2}));
  group.run();
  hosts.obey(group);
  hosts.open(0, 0x4000000);
  hosts.stream(0, 1, 0x4000000);
  hosts.send(group);
  group.now += kSyncMarkAfter;
  hosts.send(group);
  EXPECT_THAT(changes(group), IsEmpty());
  hosts.stream(0, 2, 0x4000000);
  hosts.send(group);
  EXPECT_THAT(changes(group), ElementsAre("applied 2"));
}

TEST(GroupReports, switching_off_needs_nobody) {
  Group group;
  Hosts hosts(2);
  form(group, hosts, 2, 1);
  group.handle(membership(2, 0, {0, 1}));
  group.run();
  hosts.stop_streaming(0, 1);
  hosts.obey(group);
  hosts.send(group);
  EXPECT_THAT(changes(group), ElementsAre("applied 2"));
}

// ---- detached ------------------------------------------------------------------------------

TEST(GroupReports, a_node_is_detached_when_the_primary_reports_its_slot_gone_after_the_task) {
  struct Case {
    const char* what;
    std::function<void(Group&, Hosts&)> change;
    bool detached;
  };
  const auto obey = [](Group& g, Hosts& h) {
    h.obey(g);
    h.stop_streaming(0, 1);
  };
  const std::vector<Case> cases = {
      {"not told", [](Group&, Hosts&) {}, false},
      {"as it should", obey, true},
      {"no slot, but not told",
       [](Group&, Hosts& h) {
         h.at(0).clear_slots();
         h.stop_streaming(0, 1);
       },
       false},
      {"told, slot there",
       [&](Group& g, Hosts& h) {
         obey(g, h);
         h.at(0).add_slots(node(1).str());
       },
       false},
      {"told, still attached", [](Group& g, Hosts& h) { h.obey(g); }, false},
      {"told, at work",
       [&](Group& g, Hosts& h) {
         obey(g, h);
         h.at(0).mutable_role()->set_state(v1::TASK_STATE_IN_PROGRESS);
       },
       false},
      {"primary down",
       [&](Group& g, Hosts& h) {
         obey(g, h);
         h.at(0).set_postgres(v1::POSTGRES_STATE_STOPPED);
       },
       false},
  };
  for (const Case& c : cases) {
    Group group;
    Hosts hosts(2);
    form(group, hosts, 2, 0);
    group.handle(membership(1, 0, {0, 1}, {1}));
    leave(group, hosts);
    c.change(group, hosts);
    hosts.send(group);
    EXPECT_EQ(changes(group) == std::vector<std::string>{"detached 1"}, c.detached) << c.what;
  }
}

TEST(GroupReports, a_node_that_never_had_a_role_is_detached_at_once) {
  Group group;
  Hosts hosts(2);
  form(group, hosts, 1, 0);
  group.handle(membership(1, 0, {0, 1}, {1}));
  group.facts = {};
  group.run();
  EXPECT_EQ(find_member(group.state, node(1))->detach, DetachPhase::detached);
}

// ---- order of reports ----------------------------------------------------------------------

TEST(GroupFacts, an_older_report_is_passed_over) {
  struct Case {
    const char* what;
    const char* agent;
    uint64_t sequence;
    int64_t sent;
    double after;
    bool taken;
  };
  // The last one: agent "a", sequence 7, sent at 100, at second 0.
  const std::vector<Case> cases = {
      {"the same again", "a", 7, 100, 0.1, false},
      {"the one before", "a", 6, 99, 0.1, false},
      {"the next", "a", 8, 101, 0.1, true},
      {"the next, clock set back", "a", 8, 50, 0.1, true},
      {"of an agent before", "b", 90, 99, 0.1, false},
      {"of a restarted agent", "b", 1, 101, 0.1, true},
      {"restarted, clock set back", "b", 1, 50, 3.1, true},
      {"very late, same agent", "a", 6, 99, 60, false},
  };
  for (const Case& c : cases) {
    Group group;
    group.handle(membership(1, 0, {0}));
    ReportSlice last{HostName(host(0)), "a", 7, 100, {}};
    ASSERT_TRUE(observe(group.facts, group.state, last, at(0)));
    ReportSlice next{HostName(host(0)), c.agent, c.sequence, c.sent, {}};
    EXPECT_EQ(observe(group.facts, group.state, next, at(c.after)), c.taken) << c.what;
  }
}

TEST(GroupFacts, hostile_reports_are_harmless) {
  Group group;
  Hosts hosts(2);
  form(group, hosts, 2, 1);
  v1::NodeReport bad = hosts.at(0);
  bad.set_postgres(static_cast<v1::PostgresState>(99));
  bad.set_reported_role(static_cast<v1::Role>(-1));
  bad.mutable_role()->set_state(static_cast<v1::TaskState>(1 << 30));
  bad.mutable_role()->mutable_failure()->set_message(std::string(100000, 'x') + "\xC3\xA4");
  hosts.nodes[0] = bad;
  hosts.send(group);
  EXPECT_EQ(group.facts.nodes[node(0)].postgres, PostgresState::unknown);
  EXPECT_LE(group.facts.nodes[node(0)].role_failure.size(), 300u);
  EXPECT_THAT(changes(group), IsEmpty());
}

TEST(GroupFacts, nodes_that_are_no_members_any_more_are_forgotten) {
  Group group;
  Hosts hosts(2);
  form(group, hosts, 2, 0);
  EXPECT_EQ(group.facts.nodes.size(), 2u);
  group.handle(membership(1, 0, {0}));
  hosts.send(group, 0);
  EXPECT_EQ(group.facts.nodes.size(), 1u);
}

}  // namespace
}  // namespace trunkline::replication::test
