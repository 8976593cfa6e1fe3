// The table of roles, row by row: each case is one fact away from the case before it, or from the
// situation that its name says. And the table as a whole: a golden dump, and what it can assign.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>

#include "replication/tests/group_builder.h"

namespace trunkline::replication::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// ---- formation, step by step ---------------------------------------------------------------

TEST(GroupTable, forms_three_nodes_with_one_sync_replica) {
  Group group;
  Hosts hosts(3);
  EXPECT_EQ(rule_now(group), "nothing_placed");
  group.handle(membership(3, 1, {0, 1, 2}));
  EXPECT_THAT(group.run(), ElementsAre("first_primary", "standby_unassigned", "standby_unassigned",
                                       "primary_not_open"));
  hosts.obey(group);
  hosts.send(group);
  EXPECT_THAT(group.run(), ElementsAre("primary_not_open"));
  hosts.open(0);
  hosts.send(group);
  EXPECT_THAT(group.run(), ElementsAre("standby_not_streaming"));
  hosts.stream(0, 1);
  hosts.send(group);
  EXPECT_THAT(group.run(), ElementsAre("standby_not_streaming"));  // one set for both
  hosts.stream(0, 2);
  hosts.send(group);
  EXPECT_THAT(group.run(), ElementsAre("first_sync_set", "sync_set_not_in_force"));
  EXPECT_EQ(assigned_sync_set(group.state).candidates, (std::set<NodeId>{node(1), node(2)}));
  hosts.send(group);
  EXPECT_THAT(group.run(), ElementsAre("sync_set_not_in_force"));
  hosts.obey(group);
  hosts.send(group);
  EXPECT_THAT(group.run(), ElementsAre("settle", "as_ordered"));
  EXPECT_EQ(group.events.back().group_settled().node_ids_size(), 3);
  EXPECT_EQ(group.events.back().group_settled().sync_replica_number(), 1u);
}

TEST(GroupTable, forms_one_node) {
  Group group;
  Hosts hosts(1);
  group.handle(membership(1, 0, {0}));
  EXPECT_THAT(group.run(), ElementsAre("first_primary", "primary_not_open"));
  hosts.obey(group);
  hosts.open(0);
  hosts.send(group);
  EXPECT_THAT(group.run(), ElementsAre("settle", "as_ordered"));
}

TEST(GroupTable, forms_two_nodes_without_sync_replicas) {
  Group group;
  Hosts hosts(2);
  form(group, hosts, 2, 0);
  EXPECT_EQ(rule_now(group), "as_ordered");
  EXPECT_EQ(assigned_sync_set(group.state).number, 0u);
  EXPECT_EQ(assigned_sync_set(group.state).candidates, (std::set<NodeId>{node(1)}));  // a voter
}

TEST(GroupTable, a_decision_says_its_rule_and_what_it_saw) {
  Group group;
  Hosts hosts(2);
  group.handle(membership(2, 1, {0, 1}));
  hosts.present[1] = false;
  hosts.send(group, 1);
  group.step();
  const v1::Reason reason = group.events.back().primary_assigned().reason();
  EXPECT_EQ(reason.rule(), "first_primary");
  EXPECT_THAT(reason.why(), HasSubstr("placed first"));
  EXPECT_THAT(reason.facts(), ElementsAre(StartsWith("ordered: 2 nodes, 1 sync replicas; term 0"),
                                          HasSubstr("host host-a has not reported yet"),
                                          HasSubstr("host host-b does not have it yet")));
}

// ---- first primary -------------------------------------------------------------------------

TEST(GroupTable, the_first_primary_is_the_first_placed_whose_host_reports) {
  struct Case {
    std::vector<int> reporting;
    std::vector<int> leaving;
    int primary;
  };
  const std::vector<Case> cases = {
      {{}, {}, 0}, {{0, 1, 2}, {}, 0}, {{1, 2}, {}, 1}, {{2}, {}, 2}, {{2}, {2}, 0}, {{}, {0}, 1},
  };
  for (const Case& c : cases) {
    Group group;
    Hosts hosts(3);
    group.handle(membership(3, 0, {0, 1, 2}, c.leaving));
    for (int i : c.reporting) hosts.send(group, i);
    group.step();
    EXPECT_EQ(group.state.primary, node(c.primary));
    EXPECT_EQ(group.state.term, 1u);
  }
}

TEST(GroupTable, a_host_that_reported_long_ago_does_not_report) {
  Group group;
  Hosts hosts(2);
  group.handle(membership(2, 0, {0, 1}));
  hosts.send(group, 0);
  group.now += kFreshReport + milliseconds(1);
  hosts.send(group, 1);
  group.step();
  EXPECT_EQ(group.state.primary, node(1));
}

TEST(GroupTable, a_first_primary_that_goes_before_it_opened_is_replaced) {
  Group group;
  Hosts hosts(4);
  group.handle(membership(2, 0, {0, 1}));
  group.run();
  group.handle(membership(2, 0, {0, 1}, {0, 1}));
  EXPECT_EQ(rule_now(group), "no_first_primary_possible");
  group.handle(membership(2, 0, {0, 1, 2, 3}, {0, 1}));
  EXPECT_EQ(rule_now(group), "no_first_primary_possible");  // no host reports
  hosts.send(group);
  EXPECT_THAT(group.run(), ElementsAre("first_primary_again", "standby_unassigned",
                                       "leaving_detached", "leaving_detached", "primary_not_open"));
}

TEST(GroupTable, a_node_that_has_begun_is_no_first_primary) {
  struct Case {
    const char* what;
    std::function<void(v1::NodeReport&)> has;
    const char* rule;
  };
  const std::vector<Case> cases = {
      {"nothing", [](v1::NodeReport&) {}, "first_primary_again"},
      {"stopped", [](v1::NodeReport& n) { n.set_postgres(v1::POSTGRES_STATE_STOPPED); },
       "first_primary_again"},
      {"starting", [](v1::NodeReport& n) { n.set_postgres(v1::POSTGRES_STATE_STARTING); },
       "no_first_primary_possible"},
      {"recovering", [](v1::NodeReport& n) { n.set_postgres(v1::POSTGRES_STATE_RECOVERING); },
       "no_first_primary_possible"},
      {"role", [](v1::NodeReport& n) { n.set_reported_role(v1::ROLE_STANDBY); },
       "no_first_primary_possible"},
      {"role done",
       [](v1::NodeReport& n) { n.mutable_role()->set_state(v1::TASK_STATE_SUCCEEDED); },
       "no_first_primary_possible"},
  };
  for (const Case& c : cases) {
    Group group;
    Hosts hosts(2);
    group.handle(membership(2, 0, {0, 1}));
    group.run();
    group.handle(membership(2, 0, {0, 1}, {0}));
    c.has(hosts.at(1));
    hosts.send(group);
    EXPECT_EQ(rule_now(group), c.rule) << c.what;
  }
}

TEST(GroupTable, a_first_primary_with_a_standbys_data_is_replaced) {
  Group group;
  Hosts hosts(2);
  group.handle(membership(2, 0, {0, 1}));
  group.run();
  hosts.send(group);
  EXPECT_EQ(rule_now(group), "primary_not_open");
  hosts.at(0).set_reported_role(v1::ROLE_PRIMARY);
  hosts.send(group);
  EXPECT_EQ(rule_now(group), "primary_not_open");
  hosts.at(0).set_reported_role(v1::ROLE_STANDBY);
  hosts.send(group);
  EXPECT_THAT(group.run(),
              ElementsAre("first_primary_again", "standby_unassigned", "primary_not_open"));
  EXPECT_EQ(group.state.primary, node(1));
}

TEST(GroupTable, standbys_of_the_replaced_first_primary_follow_the_new_one) {
  Group group;
  Hosts hosts(3);
  group.handle(membership(3, 0, {0, 1, 2}));
  group.run();
  group.handle(membership(3, 0, {0, 1, 2}, {0}));
  hosts.send(group);
  group.run();
  EXPECT_EQ(group.state.primary, node(1));
  EXPECT_EQ(group.state.term, 2u);
  EXPECT_EQ(find_member(group.state, node(2))->upstream, node(1));
  EXPECT_EQ(find_member(group.state, node(2))->term, 2u);
  EXPECT_EQ(find_member(group.state, node(0))->detach, DetachPhase::detached);
}

// ---- rows that look at a settled group of three with one sync replica ----------------------

TEST(GroupTable, a_settled_group_is_left_alone) {
  Settled s;
  EXPECT_EQ(rule_now(s.group), "as_ordered");
  EXPECT_FALSE(decide_roles(s.group.state, s.group.facts, s.group.now));
  s.group.now += seconds(3600);  // nobody reports any more
  EXPECT_FALSE(decide_roles(s.group.state, s.group.facts, s.group.now));
}

TEST(GroupTable, one_change_away_from_settled) {
  struct Case {
    const char* what;
    v1::GroupCommand change;
    const char* rule;
  };
  const std::vector<Case> cases = {
      {"deleting", membership(3, 1, {0, 1, 2}, {}, true), "group_deleting"},
      {"primary gone", membership(3, 1, {1, 2}), "failover_primary_gone"},
      {"primary leaves", membership(2, 1, {0, 1, 2}, {0}), "leaving_switchover"},
      {"new node", membership(4, 1, {0, 1, 2, 3}), "standby_unassigned"},
      {"more nodes ordered", membership(4, 1, {0, 1, 2}), "nodes_not_as_ordered"},
      {"fewer nodes ordered", membership(2, 1, {0, 1, 2}), "nodes_not_as_ordered"},
      {"sync off", membership(3, 0, {0, 1, 2}), "sync_switched_off"},
      {"sync raised", membership(3, 2, {0, 1, 2}), "sync_number_changed"},
      {"sync too high", membership(3, 3, {0, 1, 2}), "sync_number_unreachable"},
      {"standby leaves", membership(2, 1, {0, 1, 2}, {2}), "leaving_out_of_sync_set"},
      {"standby gone", membership(2, 1, {0, 1}), "leaving_out_of_sync_set"},
  };
  for (const Case& c : cases) {
    Settled s;
    s.group.handle(c.change);
    EXPECT_EQ(rule_now(s.group), c.rule) << c.what;
  }
}

TEST(GroupTable, a_new_standby_joins_the_sync_set_when_it_streams) {
  Settled s;
  s.group.handle(membership(4, 1, {0, 1, 2, 3}));
  EXPECT_THAT(s.group.run(), ElementsAre("standby_unassigned", "standby_not_streaming"));
  s.hosts.obey(s.group);
  s.hosts.stream(0, 3);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("standby_into_sync_set", "sync_set_not_in_force"));
  s.hosts.obey(s.group);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("settle", "as_ordered"));
  EXPECT_EQ(s.group.state.sync_applied.candidates.size(), 3u);
}

TEST(GroupTable, a_standby_leaves_out_of_the_sync_set_then_without_its_slot) {
  Settled s;
  s.group.handle(membership(2, 1, {0, 1, 2}, {2}));
  EXPECT_THAT(s.group.run(), ElementsAre("leaving_out_of_sync_set", "leaving_in_sync_set"));
  s.hosts.obey(s.group);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("leaving_in_sync_set")) << "in force only just now";
  sleep(s.group, s.hosts, 1);
  EXPECT_THAT(s.group.run(), ElementsAre("leaving_detached", "detach_not_confirmed"));
  s.hosts.stop_streaming(0, 2);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("detach_not_confirmed")) << "the slot is still there";
  s.hosts.obey(s.group);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("settle", "as_ordered"));
  EXPECT_EQ(find_member(s.group.state, node(2))->detach, DetachPhase::detached);
  s.group.handle(membership(2, 1, {0, 1}));
  EXPECT_EQ(rule_now(s.group), "as_ordered");
}

TEST(GroupTable, a_standby_does_not_leave_while_too_few_others_stream) {
  Settled s;
  s.hosts.stop_streaming(0, 1);
  s.hosts.send(s.group);
  s.group.handle(membership(2, 1, {0, 1, 2}, {2}));
  EXPECT_THAT(s.group.run(), ElementsAre("leaving_in_sync_set"));
  s.hosts.stream(0, 1);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("leaving_out_of_sync_set", "leaving_in_sync_set"));
}

TEST(GroupTable, down_to_one_node) {
  Settled s(2, 1);
  s.group.handle(membership(1, 0, {0, 1}, {1}));
  EXPECT_THAT(s.group.run(), ElementsAre("sync_switched_off", "leaving_in_sync_set"));
  s.hosts.obey(s.group);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("leaving_detached", "detach_not_confirmed"));
  s.hosts.obey(s.group);
  s.hosts.stop_streaming(0, 1);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("settle", "as_ordered"));
}

TEST(GroupTable, the_sync_number_grows_only_when_enough_stream) {
  Settled s;
  s.hosts.stop_streaming(0, 2);
  s.hosts.send(s.group);
  s.group.handle(membership(3, 2, {0, 1, 2}));
  EXPECT_EQ(rule_now(s.group), "sync_set_incomplete");
  s.hosts.stream(0, 2);
  s.hosts.send(s.group);
  EXPECT_EQ(rule_now(s.group), "sync_number_changed");
}

TEST(GroupTable, the_sync_number_shrinks_also_when_nobody_streams) {
  Settled s(3, 2);
  s.hosts.stop_streaming(0, 1);
  s.hosts.stop_streaming(0, 2);
  s.hosts.send(s.group);
  s.group.handle(membership(3, 1, {0, 1, 2}));
  EXPECT_EQ(s.group.step(), "sync_number_changed");
  EXPECT_EQ(assigned_sync_set(s.group.state).candidates.size(), 2u);
  EXPECT_EQ(assigned_sync_set(s.group.state).number, 1u);
}

TEST(GroupTable, without_reports_no_sync_set_is_assigned_and_nothing_settles) {
  Settled s(3, 0);
  s.group.handle(membership(3, 1, {0, 1, 2}));
  s.group.facts = {};  // the service has just started
  EXPECT_EQ(rule_now(s.group), "primary_away");
  s.hosts.send(s.group);
  EXPECT_EQ(rule_now(s.group), "sync_number_changed");
}

TEST(GroupTable, the_first_sync_set_waits_ten_seconds_for_the_others) {
  Group group;
  Hosts hosts(3);
  group.handle(membership(3, 1, {0, 1, 2}));
  group.run();
  hosts.obey(group);
  hosts.open(0);
  hosts.stream(0, 1);
  hosts.send(group);
  group.run();
  sleep(group, hosts, 10);
  EXPECT_EQ(rule_now(group), "standby_not_streaming");
  sleep(group, hosts, 1);
  EXPECT_EQ(rule_now(group), "first_sync_set");
  group.step();
  EXPECT_EQ(assigned_sync_set(group.state).candidates, (std::set<NodeId>{node(1)}));
  EXPECT_EQ(rule_now(group), "standby_not_streaming") << "not settled without the third";
}

// ---- the table as a whole ------------------------------------------------------------------

TEST(GroupTable, is_the_one_that_was_reviewed) {
  std::ostringstream dump;
  int number = 0;
  for (const Row& row : group_table()) {
    dump << ++number << ". " << row.rule << " -> "
         << (row.assign == nullptr ? std::string("wait") : "assign " + std::string(row.assigns))
         << "\n   " << row.why << "\n";
  }
  const char* update = std::getenv("TRUNKLINE_UPDATE_GOLDEN");
  if (update != nullptr && std::string(update) == "1") {
    std::ofstream(TRUNKLINE_GROUP_TABLE_GOLDEN) << dump.str();
  }
  std::ifstream file(TRUNKLINE_GROUP_TABLE_GOLDEN);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(dump.str(), golden.str()) << "TRUNKLINE_UPDATE_GOLDEN=1 writes the new table";
}

TEST(GroupTable, every_rule_is_named_once_and_the_last_row_always_holds) {
  std::set<std::string> rules;
  for (const Row& row : group_table()) {
    EXPECT_TRUE(rules.insert(row.rule).second) << row.rule;
    EXPECT_EQ(row.assign == nullptr, std::string(row.assigns).empty()) << row.rule;
  }
  const GroupState state;
  const GroupFacts facts;
  EXPECT_TRUE(group_table().back().when(look(state, facts, at(0))));
}

}  // namespace
}  // namespace trunkline::replication::test
