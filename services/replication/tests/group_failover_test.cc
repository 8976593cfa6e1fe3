// Failover, row by row: each case is one fact away from a failover that goes well.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "replication/domain/group_quorum.h"
#include "replication/tests/failover_scene.h"

namespace trunkline::replication::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// ---- arithmetic ----------------------------------------------------------------------------

SyncSet set_of(std::vector<int> candidates, uint32_t number) {
  SyncSet out{.number = number};
  for (int i : candidates) out.candidates.insert(node(i));
  return out;
}

TEST(GroupQuorum, more_than_candidates_minus_need_must_be_fenced) {
  struct Case {
    uint32_t candidates, number;
    size_t needed;
  };
  const std::vector<Case> cases = {{0, 0, 0}, {1, 0, 1}, {1, 1, 1}, {2, 0, 2}, {2, 1, 2},
                                   {2, 2, 1}, {3, 0, 3}, {3, 1, 3}, {3, 2, 2}, {3, 3, 1},
                                   {4, 2, 3}, {5, 3, 3}};
  for (const Case& c : cases) {
    std::vector<int> ids;
    for (uint32_t i = 1; i <= c.candidates; ++i) ids.push_back(static_cast<int>(i));
    EXPECT_EQ(fenced_voters_needed(set_of(ids, c.number)), c.needed)
        << c.number << " of " << c.candidates;
  }
}

TEST(GroupQuorum, must_hold_in_each_set) {
  struct Case {
    const char* what;
    std::vector<SyncSet> sets;
    std::vector<int> fenced;  // the n-th at second n
    bool is_possible, is_enough;
    int since;
    std::vector<int> missing;
  };
  const std::vector<Case> cases = {
      {"no sets", {}, {1}, true, false, 0, {}},
      {"one of one", {set_of({1}, 1)}, {1}, true, true, 0, {}},
      {"none of one", {set_of({1}, 1)}, {}, true, false, 0, {1}},
      {"a stranger", {set_of({1}, 1)}, {2}, true, false, 0, {1}},
      {"one of two", {set_of({1, 2}, 1)}, {1}, true, false, 0, {2}},
      {"two of two", {set_of({1, 2}, 1)}, {1, 2}, true, true, 1, {}},
      {"the second is not needed", {set_of({1, 2}, 2)}, {1, 2}, true, true, 0, {}},
      {"only in the first", {set_of({1}, 1), set_of({2}, 1)}, {1}, true, false, 0, {2}},
      {"in both", {set_of({1}, 1), set_of({2}, 1)}, {1, 2}, true, true, 1, {}},
      {"one has no voters", {set_of({1}, 1), set_of({}, 0)}, {1}, false, false, 0, {}},
      {"asynchronous", {set_of({1, 2}, 0)}, {1}, true, false, 0, {2}},
  };
  for (const Case& c : cases) {
    std::map<NodeId, TimePoint> fenced;
    for (size_t i = 0; i < c.fenced.size(); ++i) {
      fenced[node(c.fenced[i])] = at(static_cast<double>(i));
    }
    const Quorum quorum = count_quorum(c.sets, fenced);
    EXPECT_EQ(quorum.is_possible, c.is_possible) << c.what;
    EXPECT_EQ(quorum.is_enough, c.is_enough) << c.what;
    EXPECT_EQ(quorum.is_enough ? quorum.since : at(c.since), at(c.since)) << c.what;
    std::set<NodeId> missing;
    for (int i : c.missing) missing.insert(node(i));
    EXPECT_EQ(quorum.missing, missing) << c.what;
  }
}

// ---- a group that loses its primary --------------------------------------------------------

TEST(GroupFailover, a_dead_host_from_silence_to_the_next_primary) {
  Scene s;
  EXPECT_THAT(s.pass(1.6, {1, 2}),
              ElementsAre("as_ordered", "primary_unheard", "failover_primary_silent",
                          "failover_too_few_voters"));
  EXPECT_EQ(s.group.state.term, 2u);
  EXPECT_TRUE(s.is_fenced_task(0) && s.is_fenced_task(1) && s.is_fenced_task(2));
  s.hosts.at(2).set_flush_lsn(0x3000100);
  s.fence(1);
  s.fence(2);
  EXPECT_EQ(s.rule(), "failover_old_primary_may_serve");
  s.pass(1.5, {1, 2});
  EXPECT_EQ(s.rule(), "failover_old_primary_may_serve");
  EXPECT_THAT(s.pass(0.3, {1, 2}),
              ElementsAre("failover_old_primary_may_serve", "failover_promotes",
                          "standby_unassigned", "standby_of_older_primary", "primary_not_open"));
  const auto promoted = s.promoted();
  EXPECT_EQ(promoted.node_id(), node(2).str());
  EXPECT_EQ(promoted.term(), 2u);
  EXPECT_EQ(promoted.timeline(), 2u);
  EXPECT_EQ(promoted.promoted_at_lsn(), 0x3000100u);
  EXPECT_EQ(assigned_sync_set(s.group.state).candidates, (std::set<NodeId>{node(1)}));
  EXPECT_EQ(assigned_sync_set(s.group.state).number, 1u);
  EXPECT_EQ(possible_sync_sets(s.group.state).size(), 2u);
}

TEST(GroupFailover, what_fenced_voters_got_last_is_how_long_the_old_primary_may_serve) {
  Scene s;
  s.lose_primary();
  for (int i : {1, 2}) {
    s.hosts.at(i).set_upstream_silent_ms(i == 1 ? 1400 : 800);
    s.fence(i);
  }
  EXPECT_EQ(old_primary_serves_until(look(s.group.state, s.group.facts, s.group.now)),
            s.group.now - milliseconds(800) + kReplyLease + kSlack);
  s.pass(0.7, {1, 2});
  EXPECT_EQ(s.rule(), "failover_old_primary_may_serve");
  s.pass(0.2, {1, 2});
  EXPECT_EQ(s.promoted().term(), 2u);
}

TEST(GroupFailover, what_keeps_a_silent_primary_from_being_suspected) {
  struct Case {
    const char* what;
    std::function<void(Scene&)> change;
    std::vector<int> reporting;
    const char* rule;
  };
  const std::vector<Case> cases = {
      {"nothing", [](Scene&) {}, {1, 2}, "failover_too_few_voters"},
      {"a voter is silent too", [](Scene&) {}, {1}, "primary_away"},
      {"all are silent", [](Scene&) {}, {}, "primary_away"},
      {"it reports", [](Scene&) {}, {0, 1, 2}, "as_ordered"},
      {"the owner is new",
       [](Scene& s) { s.group.facts.owner_since = s.group.now + milliseconds(100); },
       {1, 2},
       "primary_unheard"},
      {"its standby hears it",
       [](Scene& s) { s.hosts.at(2).set_upstream_silent_ms(100); },
       {1, 2},
       "primary_unheard"},
      {"another term's upstream is heard",
       [](Scene& s) {
         s.hosts.at(2).set_upstream_silent_ms(100);
         s.hosts.at(2).set_term(0);
       },
       {1, 2},
       "failover_too_few_voters"},
  };
  for (const Case& c : cases) {
    Scene s;
    c.change(s);
    s.pass(2.0, c.reporting);
    EXPECT_EQ(s.rule(), c.rule) << c.what;
  }
}

TEST(GroupFailover, an_answered_probe_counts_once) {
  Scene s;
  s.pass(1.0, {1, 2});
  EXPECT_EQ(s.rule(), "primary_unheard");
  ASSERT_NE(s.group.facts.probe.id, 0u);
  s.hosts.at(1).mutable_probe()->set_probe_id(s.group.facts.probe.id);
  s.hosts.at(1).mutable_probe()->set_answered(true);
  s.pass(0.7, {1, 2});
  EXPECT_EQ(s.rule(), "primary_unheard");
  s.pass(0.8, {1, 2});
  EXPECT_EQ(s.rule(), "failover_too_few_voters") << "the same answer again";
}

TEST(GroupFailover, a_crash_is_given_the_time_to_restart_in_place) {
  Scene s;
  s.crash(0);
  s.pass(0.8, {0, 1, 2});
  EXPECT_EQ(failover_under_way(s.group.state), nullptr);
  s.hosts.open(0);
  s.pass(0.4, {0, 1, 2});
  s.crash(0);
  s.hosts.at(0).set_flush_lsn(0x3000100);  // more than any standby has
  EXPECT_EQ(s.pass(1.2, {0, 1, 2}).back(), "failover_too_few_voters");
  s.fence(0);
  s.fence(1);
  EXPECT_EQ(s.rule(), "failover_too_few_voters");
  s.fence(2);
  EXPECT_EQ(s.rule(), "failover_promotes") << "the old primary's host says that it stopped";
}

TEST(GroupFailover, one_fact_away_from_a_promotion) {
  struct Case {
    const char* what;
    std::function<void(Scene&)> change;
    const char* rule;
  };
  const auto later = [](Scene& s) { s.group.now += milliseconds(1700); };
  const std::vector<Case> cases = {
      {"as it should", [](Scene&) {}, "failover_promotes"},
      {"a lease was granted",
       [](Scene& s) { note_lease(s.group.facts, s.group.now); },
       "failover_old_primary_may_serve"},
      {"a lease ran out",
       [](Scene& s) { note_lease(s.group.facts, s.group.now - kSlack - milliseconds(1)); },
       "failover_promotes"},
      {"another process may have granted one",
       [](Scene& s) { s.group.facts.others_lease_until = s.group.now; },
       "failover_old_primary_may_serve"},
      {"what others granted ran out",
       [](Scene& s) {
         s.group.facts.others_lease_until = s.group.now - kSlack - milliseconds(1);
       },
       "failover_promotes"},
      {"a voter's host fell silent",
       [&](Scene& s) {
         s.group.now += kFreshReport + milliseconds(1);
         s.hosts.send(s.group, 1);
       },
       "failover_too_few_voters"},
      {"a voter lost its data",
       [](Scene& s) {
         s.hosts.at(2).set_flush_lsn(0);
         s.hosts.send(s.group, 2);
       },
       "failover_too_few_voters"},
      {"a voter is not fenced any more",
       [](Scene& s) {
         s.hosts.at(2).set_reported_role(v1::ROLE_STANDBY);
         s.hosts.send(s.group, 2);
       },
       "failover_too_few_voters"},
      {"fenced in another term",
       [](Scene& s) {
         s.hosts.at(2).set_term(1);
         s.hosts.send(s.group, 2);
       },
       "failover_too_few_voters"},
      {"fencing is at work",
       [](Scene& s) {
         s.hosts.at(2).mutable_role()->set_state(v1::TASK_STATE_IN_PROGRESS);
         s.hosts.send(s.group, 2);
       },
       "failover_too_few_voters"},
      {"nobody's data is the log's",
       [](Scene& s) {
         for (int i : {1, 2}) {
           s.hosts.at(i).add_history()->set_timeline(7);
           s.hosts.send(s.group, i);
         }
         s.group.state.history = {{6, 1}};
       },
       "failover_nobody_fits"},
      {"too few nodes",
       [](Scene& s) { s.group.state.sync_replica_number = 2; s.group.state.members.erase(
           s.group.state.members.begin()); },
       "failover_too_few_nodes"},
  };
  for (const Case& c : cases) {
    Scene s;
    s.lose_primary();
    s.fence(1);
    s.fence(2);
    later(s);
    s.hosts.send(s.group, 1);
    s.hosts.send(s.group, 2);
    c.change(s);
    EXPECT_EQ(s.rule(), c.rule) << c.what;
  }
}

TEST(GroupFailover, with_two_nodes_writes_wait_for_the_old_primary) {
  Scene s(2, 1);
  s.pass(1.6, {1});
  s.fence(1);
  s.pass(1.8, {1});
  EXPECT_EQ(s.group.state.primary, node(1));
  EXPECT_EQ(assigned_sync_set(s.group.state).candidates, (std::set<NodeId>{node(0)}));
  EXPECT_EQ(assigned_sync_set(s.group.state).number, 1u);
}

TEST(GroupFailover, a_single_node_has_none_and_the_row_says_so) {
  Scene s(1, 0);
  s.pass(10, {});
  EXPECT_EQ(s.rule(), "primary_away");
  EXPECT_THAT(judge(s.group.state, s.group.facts, s.group.now).why, HasSubstr("no voters"));
  EXPECT_EQ(s.group.state.term, 1u);
}

TEST(GroupFailover, an_asynchronous_one_loses_no_more_than_the_cap) {
  for (const uint64_t behind : {uint64_t{0}, kLagCap, kLagCap + 1}) {
    Scene s(2, 0);
    s.hosts.at(0).set_flush_lsn(0x3000000 + behind);
    s.hosts.send(s.group);
    s.pass(1.6, {1});
    s.fence(1);
    s.pass(1.8, {1});
    if (behind > kLagCap) {
      EXPECT_EQ(s.rule(), "failover_loses_too_much");
      s.pass(3, {1});
      const auto& blocked = s.group.events.back();
      ASSERT_TRUE(blocked.has_failover_blocked());
      EXPECT_THAT(blocked.failover_blocked().reason().why(), HasSubstr("16777217 bytes"));
    } else {
      EXPECT_EQ(s.promoted().node_id(), node(1).str());
      EXPECT_EQ(s.promoted().lost_bytes(), behind);
    }
  }
}

TEST(GroupFailover, the_old_primary_is_no_voter_for_another) {
  // Promoted, and gone again before its sync set was in force: it alone may have a write that was
  // acknowledged before it.
  struct Case {
    const char* what;
    uint64_t lsn_of_1, lsn_of_2;
    const char* rule;
  };
  for (const Case& c : {Case{"ahead", 0x3000100, 0x3000000, "failover_too_few_voters"},
                        Case{"equal", 0x3000100, 0x3000100, "failover_too_few_voters"}}) {
    Scene s;
    s.lose_primary();
    s.hosts.at(1).set_flush_lsn(c.lsn_of_1);
    s.hosts.at(2).set_flush_lsn(0x3000000);
    s.fence(1);
    s.fence(2);
    s.pass(1.8, {1, 2});
    ASSERT_EQ(s.group.state.primary, node(1));
    s.hosts.obey(s.group);
    s.hosts.at(1).set_postgres(v1::POSTGRES_STATE_OPEN);
    s.hosts.at(1).set_sync_version(0);
    s.pass(0.4, {1, 2});
    ASSERT_TRUE(s.group.state.primary_open);
    s.crash(1);
    s.hosts.at(2).set_flush_lsn(c.lsn_of_2);
    s.hosts.at(2).set_reported_role(v1::ROLE_STANDBY);
    v1::GroupCommand failover;
    auto* decision = failover.mutable_apply_decision();
    decision->set_group_version(s.group.state.version);
    decision->mutable_decision()->mutable_failover_started()->set_term(3);
    s.group.handle(failover);
    s.fence(1);
    s.fence(2);
    EXPECT_EQ(s.rule(), c.rule) << c.what;
  }
}

// Node 1 was promoted at `begin` and is open on timeline 2; its sync set, of node 2 alone, is not
// known to be in force yet, so that of the term before, of both, is still possible.
constexpr uint64_t kBegin = 0x3000100;

void add_timeline(v1::NodeReport& n, uint32_t timeline, uint64_t begin_lsn, uint64_t flush_lsn) {
  n.set_timeline(timeline);
  n.set_flush_lsn(flush_lsn);
  auto* begin = n.add_history();
  begin->set_timeline(timeline);
  begin->set_begin_lsn(begin_lsn);
}

void open_second_primary(Scene& s) {
  s.lose_primary();
  s.hosts.at(1).set_flush_lsn(kBegin);
  s.fence(1);
  s.fence(2);
  s.pass(1.8, {1, 2});
  ASSERT_EQ(s.group.state.primary, node(1));
  s.hosts.obey(s.group);
  s.hosts.at(1).set_postgres(v1::POSTGRES_STATE_OPEN);
  s.hosts.at(1).set_sync_version(0);
  add_timeline(s.hosts.at(1), 2, kBegin, kBegin + 0x100);
  s.pass(0.4, {1, 2});
  ASSERT_TRUE(s.group.state.primary_open);
  ASSERT_EQ(possible_sync_sets(s.group.state).size(), 2u);
}

TEST(GroupFailover, a_second_one_soon_needs_only_who_continues_the_newest_timeline) {
  struct Case {
    const char* what;
    std::function<void(v1::NodeReport&)> node_2;
    const char *rule, *rule_when_fenced;
  };
  const char* refused = "primary_away";
  const char* too_few = "failover_too_few_voters";
  const std::vector<Case> cases = {
      {"all of the term before", [](auto& n) { add_timeline(n, 2, kBegin, kBegin); }, too_few,
       "failover_promotes"},
      {"and more", [](auto& n) { add_timeline(n, 2, kBegin, kBegin + 0x50); }, too_few,
       "failover_promotes"},
      {"not up to its begin", [](auto& n) { add_timeline(n, 2, kBegin, kBegin - 1); }, refused,
       too_few},
      {"of another begin", [](auto& n) { add_timeline(n, 2, kBegin - 8, kBegin + 8); }, refused,
       too_few},
      {"not on it yet", [](auto& n) { n.set_flush_lsn(kBegin); }, refused, too_few},
      {"has its history, not its WAL",
       [](auto& n) {
         add_timeline(n, 2, kBegin, kBegin);
         n.set_timeline(1);
       },
       refused, too_few},
  };
  for (const Case& c : cases) {
    Scene s;
    open_second_primary(s);
    s.crash(1);
    c.node_2(s.hosts.at(2));
    s.hosts.at(2).set_reported_role(v1::ROLE_STANDBY);
    s.pass(2.0, {1, 2});
    EXPECT_EQ(s.rule(), c.rule) << c.what;
    if (failover_under_way(s.group.state) == nullptr) {
      v1::GroupCommand failover;
      auto* decision = failover.mutable_apply_decision();
      decision->set_group_version(s.group.state.version);
      decision->mutable_decision()->mutable_failover_started()->set_term(3);
      s.group.handle(failover);
    }
    s.fence(1);
    s.fence(2);
    EXPECT_EQ(s.rule(), c.rule_when_fenced) << c.what;
  }
}

TEST(GroupFailover, an_old_primary_that_goes_on_without_a_new_timeline_keeps_its_sync_sets) {
  Scene s;
  open_second_primary(s);
  // Given up before it stopped: assigned in term 3, it goes on as it is.
  v1::GroupEvent failover;
  failover.mutable_failover_started()->set_term(3);
  failover.mutable_failover_started()->set_from_node_id(node(1).str());
  failover.mutable_failover_started()->set_kind(v1::FAILOVER_KIND_SWITCHOVER);
  evolve(s.group.state, failover, s.group.now);
  v1::GroupEvent again;
  again.mutable_primary_assigned()->set_node_id(node(1).str());
  again.mutable_primary_assigned()->set_term(3);
  again.mutable_primary_assigned()->set_timeline(3);
  evolve(s.group.state, again, s.group.now);
  s.hosts.obey(s.group);
  s.hosts.at(1).set_sync_version(0);
  s.pass(0.4, {1, 2});
  ASSERT_TRUE(s.group.state.primary_open);
  EXPECT_EQ(s.group.state.timeline_term, 2u);
  add_timeline(s.hosts.at(1), 3, kBegin + 0x200, kBegin + 0x300);
  s.pass(0.4, {1, 2});
  EXPECT_EQ(s.group.state.timeline_term, 3u);
}

TEST(GroupFailover, the_old_primary_goes_on_where_nobody_else_can) {
  Scene s;
  s.crash(0);
  s.hosts.at(0).set_flush_lsn(0x3000100);  // more than any standby has
  s.pass(1.2, {0, 1, 2});
  s.fence(0);
  s.fence(1);
  s.pass(2.0, {0, 1});
  EXPECT_EQ(s.rule(), "failover_too_few_voters");
  s.pass(2.0, {0, 1});
  EXPECT_EQ(s.promoted().node_id(), node(0).str());
  EXPECT_EQ(s.promoted().term(), 2u);
  EXPECT_EQ(s.promoted().reason().rule(), "old_primary_again");
  EXPECT_TRUE(s.group.state.sync_pending.empty());
}

TEST(GroupFailover, a_promoted_primary_that_does_not_open_is_followed_by_another) {
  Scene s(3, 2);
  s.lose_primary();
  s.fence(1);
  s.fence(2);
  s.pass(1.8, {1, 2});
  ASSERT_EQ(s.group.state.primary, node(1));
  s.pass(25, {1, 2});
  EXPECT_EQ(s.group.state.term, 3u);
  EXPECT_EQ(s.group.state.failover->from, node(1));
}

TEST(GroupFailover, what_is_waited_for_is_recorded_once_and_when_it_changes) {
  Scene s;
  s.lose_primary();
  s.pass(2.0, {1, 2});
  EXPECT_TRUE(s.group.events.back().has_failover_started()) << "a short wait is no news";
  s.pass(1.0, {1, 2});
  ASSERT_TRUE(s.group.events.back().has_failover_blocked());
  const size_t count = s.group.events.size();
  EXPECT_THAT(s.group.events.back().failover_blocked().reason().why(),
              HasSubstr("not fenced: " + node(1).str() + ", " + node(2).str()));
  s.pass(5.0, {1, 2});
  EXPECT_EQ(s.group.events.size(), count);
  s.fence(1);
  s.pass(0.2, {1, 2});
  ASSERT_EQ(s.group.events.size(), count + 1);
  EXPECT_THAT(s.group.events.back().failover_blocked().reason().why(),
              HasSubstr("not fenced: " + node(2).str()));
}

TEST(GroupFailover, why_nobody_is_promoted_is_recorded_until_the_primary_is_back) {
  Scene s;
  const size_t before = s.group.events.size();
  s.pass(2.0, {1});
  EXPECT_EQ(s.rule(), "primary_away");
  EXPECT_EQ(s.group.events.size(), before) << "a short absence is no news";
  s.pass(3.0, {1});
  ASSERT_EQ(s.group.events.size(), before + 1);
  const auto& refused = s.group.events.back().failover_blocked();
  EXPECT_EQ(refused.term(), 1u);
  EXPECT_EQ(refused.reason().rule(), "primary_away");
  EXPECT_THAT(refused.reason().why(), HasSubstr("not reached: " + node(2).str()));
  EXPECT_EQ(failover_under_way(s.group.state), nullptr);
  s.pass(3.0, {1});
  EXPECT_EQ(s.group.events.size(), before + 1) << "it is known";
  s.pass(1.0, {0, 1});
  ASSERT_EQ(s.group.events.size(), before + 2);
  EXPECT_EQ(s.group.events.back().failover_blocked().term(), 0u);
  EXPECT_EQ(s.group.events.back().failover_blocked().reason().rule(), "primary_back");
  s.pass(1.0, {0, 1});
  EXPECT_EQ(s.group.events.size(), before + 2);
}

TEST(GroupFailover, a_failover_that_could_begin_after_all_ends_the_refusal) {
  Scene s;
  s.pass(5.0, {1});
  ASSERT_EQ(s.group.state.refused_rule, "primary_away");
  s.pass(1.0, {1, 2});
  EXPECT_NE(failover_under_way(s.group.state), nullptr);
  EXPECT_EQ(s.group.state.refused_rule, "");
}

TEST(GroupFailover, who_hears_nobody_records_nothing) {
  Scene s;
  const size_t before = s.group.events.size();
  s.pass(10.0, {});
  EXPECT_EQ(s.group.events.size(), before);
}

}  // namespace
}  // namespace trunkline::replication::test
