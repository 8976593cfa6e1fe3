// Switchover, an operator's override and leases, row by row.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "replication/tests/failover_scene.h"

namespace trunkline::replication::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string rule_of(const Decision<v1::GroupEvent>& outcome) {
  if (const auto* r = std::get_if<Rejection>(&outcome)) return r->rule;
  return std::holds_alternative<AlreadySo>(outcome) ? "ignored" : "accepted";
}

// ---- switchover ----------------------------------------------------------------------------

v1::GroupCommand switchover(int target = -1) {
  v1::GroupCommand c;
  c.mutable_request_switchover();
  if (target >= 0) c.mutable_request_switchover()->set_target_id(node(target).str());
  return c;
}
v1::GroupCommand override_to(int target, bool accept = true) {
  v1::GroupCommand c;
  c.mutable_request_failover()->set_accept_data_loss(accept);
  if (target >= 0) c.mutable_request_failover()->set_target_id(node(target).str());
  return c;
}

TEST(GroupSwitchover, waits_for_a_checkpoint_of_the_primary_but_not_for_ever) {
  Scene s;
  const auto due = [&](const v1::GroupCommand& request) {
    return due_preparation(InstanceId("i"), s.group.state, s.group.facts, request, s.group.now);
  };
  const auto first = due(switchover());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->task.node_id(), node(0).str());
  const uint64_t id = first->task.prepare_stop().prepare_id();
  note_preparation(s.group.facts, id, s.group.now);
  s.pass(1, {0, 1, 2});
  ASSERT_TRUE(due(switchover()));
  EXPECT_EQ(due(switchover())->task.prepare_stop().prepare_id(), id) << "asked again: the same";
  s.hosts.at(0).set_prepared_id(id);
  s.hosts.send(s.group);
  EXPECT_FALSE(due(switchover()));
  EXPECT_FALSE(due(switchover(0))) << "what is not accepted waits for nothing";
  EXPECT_FALSE(due(override_to(1)));

  s.pass(16, {0, 1, 2});
  const auto again = due(switchover());
  ASSERT_TRUE(again) << "that one was long ago";
  EXPECT_GT(again->task.prepare_stop().prepare_id(), id);
  note_preparation(s.group.facts, again->task.prepare_stop().prepare_id(), s.group.now);
  s.pass(9, {0, 1, 2});
  EXPECT_TRUE(due(switchover()));
  s.pass(2, {0, 1, 2});
  EXPECT_FALSE(due(switchover()));
}

TEST(GroupSwitchover, is_refused_by_the_rule_that_stands_against_it) {
  struct Case {
    const char* what;
    std::function<void(Scene&)> change;
    int target;
    const char* rule;
  };
  const std::vector<Case> cases = {
      {"any", [](Scene&) {}, -1, "accepted"},
      {"one", [](Scene&) {}, 2, "accepted"},
      {"itself", [](Scene&) {}, 0, "ignored"},
      {"unknown", [](Scene&) {}, 4, "switchover_target_unknown"},
      {"leaving", [](Scene& s) { s.group.handle(membership(2, 1, {0, 1, 2}, {2})); }, 2,
       "switchover_target_unknown"},
      {"not streaming",
       [](Scene& s) {
         s.hosts.stop_streaming(0, 2);
         s.hosts.send(s.group);
       },
       2, "switchover_target_not_streaming"},
      {"far behind",
       [](Scene& s) {
         s.hosts.at(0).set_flush_lsn(s.hosts.at(2).flush_lsn() + kSwitchoverLag + 1);
         s.hosts.send(s.group);
       },
       2, "switchover_target_behind"},
      {"primary down",
       [](Scene& s) {
         s.crash(0);
         s.hosts.send(s.group);
       },
       2, "primary_not_open"},
      {"under way", [](Scene& s) { s.group.handle(switchover()); }, 2, "failover_under_way"},
      {"deleting", [](Scene& s) { s.group.handle(membership(3, 1, {0, 1, 2}, {}, true)); }, 2,
       "instance_is_deleting"},
  };
  for (const Case& c : cases) {
    Scene s;
    c.change(s);
    EXPECT_EQ(rule_of(s.group.handle(switchover(c.target))), c.rule) << c.what;
  }
  Scene alone(1, 0);
  EXPECT_EQ(rule_of(alone.group.handle(switchover())), "group_has_no_standby");
  EXPECT_EQ(rule_of(Group().handle(switchover())), "group_not_found");
}

TEST(GroupSwitchover, the_standbys_follow_until_the_old_primary_has_stopped) {
  Scene s;
  s.group.handle(switchover(2));
  EXPECT_TRUE(s.is_fenced_task(0));
  EXPECT_FALSE(s.is_fenced_task(1) || s.is_fenced_task(2));
  EXPECT_EQ(s.rule(), "switchover_waits_for_stop");
  s.hosts.at(0).set_flush_lsn(0x3000200);
  s.fence(0);
  EXPECT_EQ(s.rule(), "switchover_waits_for_target");
  EXPECT_FALSE(due_probes(InstanceId("i"), s.group.state, s.group.facts, s.group.now).empty());
  s.hosts.at(1).set_flush_lsn(0x3000200);
  s.hosts.send(s.group, 1);
  EXPECT_EQ(s.rule(), "switchover_waits_for_target") << "another has it";
  s.hosts.at(2).set_flush_lsn(0x3000200);
  s.hosts.send(s.group, 2);
  EXPECT_THAT(s.group.run(), ElementsAre("switchover_promotes", "standby_unassigned",
                                         "standby_of_older_primary", "primary_not_open"));
  EXPECT_EQ(s.promoted().node_id(), node(2).str());
  EXPECT_EQ(assigned_sync_set(s.group.state).candidates, (std::set<NodeId>{node(1)}));
}

TEST(GroupSwitchover, nobody_is_measured_by_a_primary_that_did_not_stop_cleanly) {
  Scene s;
  s.group.handle(switchover(2));
  s.fence(0);
  s.hosts.at(0).set_wal_end_exact(false);
  s.hosts.send(s.group);
  EXPECT_EQ(s.rule(), "switchover_waits_for_target");
  s.hosts.at(0).set_wal_end_exact(true);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ::testing::Contains("switchover_promotes"));
}

TEST(GroupSwitchover, that_does_not_come_about_gives_the_old_primary_back) {
  Scene s;
  s.group.handle(switchover(2));
  s.pass(9.0, {0, 1, 2});
  EXPECT_EQ(s.rule(), "switchover_waits_for_stop");
  s.pass(1.5, {0, 1, 2});
  EXPECT_EQ(s.promoted().node_id(), node(0).str());
  EXPECT_EQ(s.promoted().reason().rule(), "switchover_given_up");
  EXPECT_EQ(s.group.state.switchovers_given_up, 1u);
}

TEST(GroupSwitchover, whose_primary_dies_becomes_a_failover) {
  Scene s;
  s.group.handle(switchover(2));
  s.pass(1.2, {1, 2});
  EXPECT_EQ(s.group.state.term, 3u);
  EXPECT_EQ(s.group.state.failover->kind, FailoverKind::failover);
  EXPECT_EQ(s.group.state.failover->from, node(0));
  EXPECT_TRUE(s.is_fenced_task(1) && s.is_fenced_task(2));
}

TEST(GroupSwitchover, a_leaving_primary_hands_over_and_goes) {
  Scene s;
  s.group.handle(membership(2, 1, {0, 1, 2}, {0}));
  EXPECT_EQ(s.group.run().back(), "switchover_waits_for_stop");
  s.fence(0);
  s.group.step();
  EXPECT_EQ(s.group.state.primary, node(1));
  EXPECT_TRUE(s.is_fenced_task(0)) << "until its box goes";
  s.group.run();
  EXPECT_EQ(find_member(s.group.state, node(0))->detach, DetachPhase::detached);
}

// ---- override ------------------------------------------------------------------------------

TEST(GroupOverride, is_refused_by_the_rule_that_stands_against_it) {
  struct Case {
    const char* what;
    std::function<void(Scene&)> change;
    v1::GroupCommand command;
    const char* rule;
  };
  const auto away = [](Scene& s) { s.pass(2.0, {2}); };
  const std::vector<Case> cases = {
      {"healthy", [](Scene&) {}, override_to(2), "failover_not_needed"},
      {"away", away, override_to(2), "accepted"},
      {"away, any", away, override_to(-1), "accepted"},
      {"loss not accepted", away, override_to(2, false), "data_loss_not_accepted"},
      {"unknown", away, override_to(4), "failover_target_unknown"},
      {"the old primary", away, override_to(0), "failover_target_unknown"},
      {"twice",
       [&](Scene& s) {
         away(s);
         s.group.handle(override_to(2));
       },
       override_to(2), "ignored"},
      {"another target",
       [&](Scene& s) {
         away(s);
         s.group.handle(override_to(2));
       },
       override_to(1), "accepted"},
  };
  for (const Case& c : cases) {
    Scene s;
    c.change(s);
    EXPECT_EQ(rule_of(s.group.handle(c.command)), c.rule) << c.what;
  }
}

TEST(GroupOverride, promotes_without_the_missing_voter_and_records_the_loss) {
  Scene s;
  s.hosts.at(0).set_flush_lsn(0x3000400);
  s.hosts.send(s.group);
  s.pass(2.0, {2});
  EXPECT_EQ(s.rule(), "primary_away");
  s.group.handle(override_to(-1));
  EXPECT_EQ(s.rule(), "override_waits_for_fencing");
  s.fence(2);
  EXPECT_EQ(s.rule(), "failover_old_primary_may_serve");
  s.pass(1.8, {2});
  EXPECT_EQ(s.promoted().node_id(), node(2).str());
  EXPECT_EQ(s.promoted().lost_bytes(), 0x400u);
  EXPECT_THAT(s.promoted().reason().facts(), testing::Contains(HasSubstr("is silent for")));
  EXPECT_EQ(assigned_sync_set(s.group.state).number, 1u) << "the promise is kept from now on";
}

// ---- leases --------------------------------------------------------------------------------

TEST(GroupLease, is_for_the_primary_of_the_term_while_no_failover_is_under_way) {
  Scene s;
  const auto lease = [&](int i, int most = 5000) {
    return due_lease(s.group.state, HostName(host(i)), milliseconds(most));
  };
  ASSERT_TRUE(lease(0));
  EXPECT_EQ(lease(0)->term(), 1u);
  EXPECT_EQ(lease(0)->duration_ms(), 2000u);
  EXPECT_EQ(lease(0, 300)->duration_ms(), 300u);
  EXPECT_FALSE(lease(0, 0));
  EXPECT_FALSE(lease(1));
  s.lose_primary();
  EXPECT_FALSE(lease(0));
  s.fence(1);
  s.fence(2);
  s.pass(1.8, {1, 2});
  EXPECT_FALSE(lease(0));
  ASSERT_TRUE(lease(1)) << "before it is open";
  EXPECT_EQ(lease(1)->term(), 2u);
}

// ---- a restart that is awaited -------------------------------------------------------------

TEST(GroupSwitchover, a_primary_that_waits_with_a_restart_hands_over) {
  Scene s;
  s.hosts.at(0).set_restart_awaited(true);
  s.hosts.send(s.group, 0);
  EXPECT_TRUE(is_restless(s.group.state, s.group.facts, s.group.now));
  EXPECT_EQ(s.rule(), "restart_switchover");
  s.group.run();
  const Failover* started = failover_under_way(s.group.state);
  ASSERT_NE(started, nullptr);
  EXPECT_EQ(started->kind, FailoverKind::switchover);
  EXPECT_EQ(started->from, node(0));
}

TEST(GroupSwitchover, a_restart_is_awaited_in_vain_where_nobody_can_take_over) {
  Scene s(2);
  s.hosts.at(0).set_restart_awaited(true);
  s.hosts.at(1).set_postgres(v1::POSTGRES_STATE_STARTING);
  s.hosts.at(0).clear_standbys();
  s.hosts.send(s.group);
  EXPECT_NE(s.rule(), "restart_switchover");
}

}  // namespace
}  // namespace trunkline::replication::test
