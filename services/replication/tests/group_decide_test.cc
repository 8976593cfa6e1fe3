// Given events, when a command, then events, nothing or a broken rule; and what evolve makes of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replication/domain/group_snapshot.h"
#include "replication/tests/group_builder.h"
#include "trunkline/v1/snapshot_group.pb.h"

namespace trunkline::replication::test {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;
using Outcome = Decision<v1::GroupEvent>;

std::string rule_of(const Outcome& outcome) {
  if (const auto* r = std::get_if<Rejection>(&outcome)) return r->rule;
  return std::holds_alternative<AlreadySo>(outcome) ? "ignored" : "accepted";
}

v1::GroupCommand apply(const Group& group, const v1::GroupDecision& decision) {
  v1::GroupCommand c;
  *c.mutable_apply_decision()->mutable_decision() = decision;
  c.mutable_apply_decision()->set_group_version(group.state.version);
  return c;
}
v1::GroupDecision primary(int i, uint64_t term) {
  v1::GroupDecision d;
  d.mutable_reason()->set_rule("test");
  d.mutable_primary_assigned()->set_node_id(node(i).str());
  d.mutable_primary_assigned()->set_term(term);
  return d;
}
v1::GroupDecision failover(uint64_t term,
                           v1::FailoverKind kind = v1::FAILOVER_KIND_FAILOVER) {
  v1::GroupDecision d;
  d.mutable_reason()->set_rule("test");
  d.mutable_failover_started()->set_term(term);
  d.mutable_failover_started()->set_kind(kind);
  return d;
}
v1::GroupDecision promotion(int i, uint64_t term, uint32_t timeline, std::vector<int> candidates,
                            uint32_t number, uint64_t sync_version) {
  v1::GroupDecision d;
  auto* p = d.mutable_promotion();
  p->mutable_primary_assigned()->set_node_id(node(i).str());
  p->mutable_primary_assigned()->set_term(term);
  p->mutable_primary_assigned()->set_timeline(timeline);
  for (int c : candidates) p->mutable_sync_set_assigned()->add_candidates(node(c).str());
  p->mutable_sync_set_assigned()->set_number(number);
  p->mutable_sync_set_assigned()->set_sync_version(sync_version);
  return d;
}
v1::GroupDecision standby(int i, int upstream, uint64_t term) {
  v1::GroupDecision d;
  d.mutable_standby_assigned()->set_node_id(node(i).str());
  d.mutable_standby_assigned()->set_upstream_id(node(upstream).str());
  d.mutable_standby_assigned()->set_term(term);
  return d;
}
v1::GroupDecision sync_set(std::vector<int> candidates, uint32_t number, uint64_t version) {
  v1::GroupDecision d;
  for (int i : candidates) d.mutable_sync_set_assigned()->add_candidates(node(i).str());
  d.mutable_sync_set_assigned()->set_number(number);
  d.mutable_sync_set_assigned()->set_sync_version(version);
  return d;
}
v1::GroupDecision detach(int i) {
  v1::GroupDecision d;
  d.mutable_node_detach_started()->set_node_id(node(i).str());
  return d;
}
v1::GroupCommand opened(int i, uint64_t term, uint32_t timeline) {
  v1::GroupCommand c;
  c.mutable_record_primary_opened()->set_node_id(node(i).str());
  c.mutable_record_primary_opened()->set_term(term);
  c.mutable_record_primary_opened()->set_timeline(timeline);
  return c;
}
v1::GroupCommand streaming(int i, uint64_t term) {
  v1::GroupCommand c;
  c.mutable_record_standby_streaming()->set_node_id(node(i).str());
  c.mutable_record_standby_streaming()->set_term(term);
  return c;
}
v1::GroupCommand lost(int i, uint64_t term) {
  v1::GroupCommand c;
  c.mutable_record_standby_lost()->set_node_id(node(i).str());
  c.mutable_record_standby_lost()->set_term(term);
  c.mutable_record_standby_lost()->set_why("gone");
  return c;
}
v1::GroupCommand applied(uint64_t version) {
  v1::GroupCommand c;
  c.mutable_record_sync_set_applied()->set_sync_version(version);
  return c;
}
v1::GroupCommand detached(int i) {
  v1::GroupCommand c;
  c.mutable_record_node_detached()->set_node_id(node(i).str());
  return c;
}

// Three members; 0 is the primary of term 1, 1 a standby, 2 has no role.
Group three() {
  Group group;
  group.handle(membership(3, 1, {0, 1, 2}));
  group.handle(apply(group, primary(0, 1)));
  group.handle(apply(group, standby(1, 0, 1)));
  return group;
}

TEST(GroupDecide, membership_is_recorded_once) {
  Group group;
  EXPECT_EQ(rule_of(group.handle(membership(2, 1, {0, 1}))), "accepted");
  EXPECT_EQ(rule_of(group.handle(membership(2, 1, {0, 1}))), "ignored");
  EXPECT_EQ(group.state.version, 1u);
}

TEST(GroupDecide, each_difference_of_the_membership_is_a_change) {
  const std::vector<v1::GroupCommand> changes = {
      membership(3, 1, {0, 1}),          membership(2, 0, {0, 1}),      membership(2, 1, {0}),
      membership(2, 1, {0, 1, 2}),       membership(2, 1, {0, 1}, {1}), membership(2, 1, {0, 2}),
      membership(2, 1, {0, 1}, {}, true)};
  for (const auto& change : changes) {
    Group group;
    group.handle(membership(2, 1, {0, 1}));
    EXPECT_EQ(rule_of(group.handle(change)), "accepted") << change.ShortDebugString();
  }
}

TEST(GroupDecide, a_changed_address_is_a_change) {
  Group group;
  group.handle(membership(1, 0, {0}));
  auto change = membership(1, 0, {0});
  change.mutable_sync_membership()->mutable_members(0)->mutable_address()->set_port(5433);
  EXPECT_EQ(rule_of(group.handle(change)), "accepted");
  EXPECT_EQ(group.state.members[0].address.port, 5433u);
}

TEST(GroupDecide, malformed_membership_is_rejected) {
  Group group;
  EXPECT_EQ(rule_of(group.handle(membership(2, 1, {0, 0}))), "members_must_differ");
  auto bad = membership(1, 0, {0});
  bad.mutable_sync_membership()->mutable_members(0)->set_node_id("../x");
  EXPECT_EQ(rule_of(group.handle(bad)), "node_id_must_be_uuid");
  EXPECT_EQ(rule_of(group.handle({})), "command_must_have_body");
  EXPECT_EQ(rule_of(group.handle(apply(group, {}))), "decision_must_assign");
  EXPECT_EQ(group.state.version, 0u);
}

TEST(GroupDecide, the_last_member_of_a_deleted_instance_deletes_the_group) {
  Group group = three();
  group.handle(membership(3, 1, {0, 1, 2}, {}, true));
  EXPECT_FALSE(group.state.deleted);
  group.handle(membership(3, 1, {0}, {}, true));
  EXPECT_FALSE(group.state.deleted);
  group.handle(membership(3, 1, {}, {}, true));
  EXPECT_TRUE(group.state.deleted);
  EXPECT_TRUE(group.events.back().has_group_deleted());
  EXPECT_EQ(rule_of(group.handle(membership(3, 1, {0}))), "ignored");
}

TEST(GroupDecide, an_instance_without_a_node_leaves_no_group) {
  Group group;
  EXPECT_EQ(rule_of(group.handle(membership(1, 0, {}, {}, true))), "ignored");
}

TEST(GroupDecide, a_stale_decision_is_ignored) {
  Group group;
  group.handle(membership(2, 0, {0, 1}));
  const auto decision = apply(group, primary(0, 1));
  group.handle(membership(2, 0, {0, 1}, {0}));
  const auto outcome = group.handle(decision);
  ASSERT_EQ(rule_of(outcome), "ignored");
  EXPECT_THAT(std::get<AlreadySo>(outcome).why, StartsWith("stale decision"));
}

TEST(GroupDecide, nothing_is_assigned_in_a_group_that_is_deleted) {
  Group group = three();
  group.handle(membership(3, 1, {0, 1, 2}, {}, true));
  EXPECT_EQ(rule_of(group.handle(apply(group, standby(2, 0, 1)))), "ignored");
}

TEST(GroupDecide, an_assignment_must_keep_the_groups_invariants) {
  struct Case {
    v1::GroupDecision decision;
    const char* rule;
  };
  const std::vector<Case> cases = {
      {primary(1, 2), "accepted"},
      {primary(1, 1), "term_must_grow_by_one"},
      {primary(1, 3), "term_must_grow_by_one"},
      {primary(9, 2), "primary_must_be_member"},
      {primary(3, 2), "primary_must_be_member"},
      {standby(2, 0, 1), "accepted"},
      {standby(9, 0, 1), "standby_must_be_member"},
      {standby(2, 1, 1), "standby_follows_primary"},
      {standby(2, 0, 2), "standby_follows_primary"},
      {standby(0, 0, 1), "standby_is_not_primary"},
      {sync_set({1}, 1, 1), "accepted"},
      {sync_set({}, 0, 1), "accepted"},
      {sync_set({1}, 1, 2), "sync_version_must_grow_by_one"},
      {sync_set({1}, 1, 0), "sync_version_must_grow_by_one"},
      {sync_set({1}, 2, 1), "sync_number_within_candidates"},
      {sync_set({2}, 1, 1), "sync_candidates_are_standbys"},
      {sync_set({0}, 1, 1), "sync_candidates_are_standbys"},
      {sync_set({9}, 1, 1), "sync_candidates_are_standbys"},
      {detach(3), "accepted"},
      {detach(1), "only_leaving_nodes_detach"},
      {detach(9), "only_leaving_nodes_detach"},
  };
  for (const Case& c : cases) {
    Group group = three();
    group.handle(membership(3, 1, {0, 1, 2, 3}, {3}));
    EXPECT_EQ(rule_of(group.handle(apply(group, c.decision))), c.rule)
        << c.decision.ShortDebugString();
  }
}

TEST(GroupDecide, a_node_does_not_detach_while_writes_may_wait_for_it) {
  Group group = three();
  group.handle(apply(group, sync_set({1}, 1, 1)));
  group.handle(membership(3, 1, {0, 1, 2}, {0, 1}));
  EXPECT_EQ(rule_of(group.handle(apply(group, detach(1)))), "sync_candidates_do_not_detach");
  EXPECT_EQ(rule_of(group.handle(apply(group, detach(0)))), "primary_does_not_detach");
  group.handle(applied(1));
  group.handle(apply(group, sync_set({}, 0, 2)));
  EXPECT_EQ(rule_of(group.handle(apply(group, detach(1)))), "sync_candidates_do_not_detach");
  group.handle(applied(2));
  EXPECT_EQ(rule_of(group.handle(apply(group, detach(1)))), "accepted");
  EXPECT_EQ(rule_of(group.handle(apply(group, detach(1)))), "ignored");
}

TEST(GroupDecide, a_decisions_reason_goes_into_its_event) {
  Group group;
  group.handle(membership(1, 0, {0}));
  group.handle(apply(group, primary(0, 1)));
  EXPECT_EQ(group.events.back().primary_assigned().reason().rule(), "test");
}

TEST(GroupDecide, an_open_primary_is_recorded_once_a_timeline) {
  Group group = three();
  EXPECT_EQ(rule_of(group.handle(opened(0, 0, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(opened(0, 2, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(opened(1, 1, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(opened(0, 1, 2))), "accepted");
  EXPECT_EQ(rule_of(group.handle(opened(0, 1, 2))), "ignored");
  EXPECT_EQ(rule_of(group.handle(opened(0, 1, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(opened(0, 1, 3))), "accepted");
  EXPECT_EQ(group.state.timeline, 3u);
}

TEST(GroupDecide, streaming_and_lost_take_turns) {
  Group group = three();
  EXPECT_EQ(rule_of(group.handle(lost(1, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(streaming(1, 0))), "ignored");
  EXPECT_EQ(rule_of(group.handle(streaming(2, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(streaming(0, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(streaming(9, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(streaming(1, 1))), "accepted");
  EXPECT_EQ(rule_of(group.handle(streaming(1, 1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(lost(1, 0))), "ignored");
  EXPECT_EQ(rule_of(group.handle(lost(1, 1))), "accepted");
  EXPECT_EQ(rule_of(group.handle(lost(1, 1))), "ignored");
  EXPECT_EQ(find_member(group.state, node(1))->progress, StandbyProgress::lost);
  group.handle(apply(group, standby(1, 0, 1)));
  EXPECT_EQ(find_member(group.state, node(1))->progress, StandbyProgress::rebuilding);
  EXPECT_EQ(find_member(group.state, node(1))->lost_why, "gone");
}

TEST(GroupDecide, an_applied_sync_set_ends_all_before_it) {
  Group group = three();
  group.handle(apply(group, sync_set({1}, 1, 1)));
  group.handle(apply(group, sync_set({}, 0, 2)));
  group.handle(apply(group, sync_set({1}, 1, 3)));
  EXPECT_EQ(possible_sync_sets(group.state).size(), 4u);
  EXPECT_EQ(rule_of(group.handle(applied(4))), "ignored");
  EXPECT_EQ(rule_of(group.handle(applied(0))), "ignored");
  EXPECT_EQ(rule_of(group.handle(applied(2))), "accepted");
  EXPECT_EQ(rule_of(group.handle(applied(1))), "ignored");
  EXPECT_EQ(group.state.sync_applied.version, 2u);
  ASSERT_EQ(group.state.sync_pending.size(), 1u);
  EXPECT_EQ(group.state.sync_pending[0].version, 3u);
}

TEST(GroupDecide, only_a_detaching_node_is_detached) {
  Group group = three();
  group.handle(membership(3, 1, {0, 1, 2}, {1}));
  EXPECT_EQ(rule_of(group.handle(detached(1))), "ignored");
  EXPECT_EQ(rule_of(group.handle(detached(9))), "ignored");
  group.handle(apply(group, detach(1)));
  EXPECT_EQ(rule_of(group.handle(detached(1))), "accepted");
  EXPECT_EQ(rule_of(group.handle(detached(1))), "ignored");
}

TEST(GroupEvolve, a_new_primary_takes_the_role_from_the_old_one) {
  Group group = three();
  group.handle(opened(0, 1, 1));
  EXPECT_EQ(rule_of(group.handle(apply(group, primary(1, 2)))), "promotion_needs_failover");
  group.handle(apply(group, failover(2)));
  group.handle(apply(group, promotion(1, 2, 2, {2}, 1, 1)));
  EXPECT_EQ(find_member(group.state, node(0))->role, AssignedRole::none);
  EXPECT_EQ(find_member(group.state, node(1))->role, AssignedRole::primary);
  EXPECT_EQ(group.state.primary, node(1));
  EXPECT_FALSE(group.state.primary_open);
  EXPECT_TRUE(group.state.ever_open);
}

TEST(GroupEvolve, is_total) {
  // Every event on an empty group and on a full one, about a node that is nowhere.
  std::vector<v1::GroupEvent> events(15);
  events[0].mutable_group_membership_changed();
  events[1].mutable_primary_assigned();
  events[2].mutable_primary_opened();
  events[3].mutable_standby_assigned();
  events[4].mutable_standby_streaming();
  events[5].mutable_standby_lost();
  events[6].mutable_sync_set_assigned();
  events[7].mutable_sync_set_applied();
  events[8].mutable_node_detach_started();
  events[9].mutable_node_detached();
  events[10].mutable_group_settled();
  events[11].mutable_group_deleted();
  events[12].mutable_failover_started();
  events[13].mutable_failover_blocked();
  for (const auto& first : events) {
    for (const auto& second : events) {
      for (GroupState state : {GroupState(), three().state}) {
        const uint64_t version = state.version;
        evolve(state, first, at(0));
        evolve(state, second, at(0));
        EXPECT_EQ(state.version, version + 2);
      }
    }
  }
}

TEST(GroupDecide, a_failover_keeps_terms_and_timelines) {
  struct Case {
    v1::GroupDecision first;
    v1::GroupDecision second;
    const char* rule;
  };
  const auto switchover = failover(2, v1::FAILOVER_KIND_SWITCHOVER);
  v1::GroupDecision blocked;
  blocked.mutable_failover_blocked()->set_term(2);
  blocked.mutable_reason()->set_rule("test");
  const std::vector<Case> cases = {
      {{}, failover(2), "accepted"},
      {{}, failover(1), "term_must_grow_by_one"},
      {{}, failover(3), "term_must_grow_by_one"},
      {{}, promotion(1, 1, 2, {2}, 1, 1), "promotion_needs_failover"},
      {{}, blocked, "ignored"},
      {failover(2), failover(3), "failover_under_way"},
      {failover(2), failover(3, v1::FAILOVER_KIND_SWITCHOVER), "failover_under_way"},
      {failover(2), failover(3, v1::FAILOVER_KIND_OVERRIDE), "accepted"},
      {switchover, failover(3), "accepted"},
      {switchover, failover(3, v1::FAILOVER_KIND_SWITCHOVER), "failover_under_way"},
      {failover(2), standby(2, 0, 2), "standby_follows_primary"},
      {failover(2), sync_set({1}, 1, 1), "failover_under_way"},
      {failover(2), primary(1, 3), "failover_under_way"},
      {failover(2), blocked, "accepted"},
      {failover(2), promotion(1, 2, 2, {2}, 1, 1), "accepted"},
      {failover(2), promotion(1, 3, 2, {2}, 1, 1), "promotion_in_its_failovers_term"},
      {failover(2), promotion(1, 2, 1, {2}, 1, 1), "timeline_must_grow"},
      {failover(2), promotion(9, 2, 2, {2}, 1, 1), "primary_must_be_member"},
      {failover(2), promotion(1, 2, 2, {2}, 1, 2), "sync_version_must_grow_by_one"},
      {failover(2), promotion(1, 2, 2, {2}, 2, 1), "sync_number_within_candidates"},
      {failover(2), promotion(1, 2, 2, {1}, 1, 1), "sync_candidates_are_members"},
      {failover(2), promotion(1, 2, 2, {9}, 1, 1), "sync_candidates_are_members"},
      {promotion(1, 2, 2, {2}, 1, 1), promotion(2, 2, 3, {1}, 1, 2), "promotion_needs_failover"},
  };
  for (const Case& c : cases) {
    Group group = three();
    group.handle(apply(group, standby(2, 0, 1)));
    group.handle(opened(0, 1, 1));
    if (c.first.has_promotion()) group.handle(apply(group, failover(2)));
    if (c.first.assign_case() != v1::GroupDecision::ASSIGN_NOT_SET) {
      ASSERT_EQ(rule_of(group.handle(apply(group, c.first))), "accepted");
    }
    EXPECT_EQ(rule_of(group.handle(apply(group, c.second))), c.rule)
        << c.first.ShortDebugString() << c.second.ShortDebugString();
  }
}

TEST(GroupDecide, only_the_old_primary_goes_on_with_its_own_sync_set) {
  Group group = three();
  group.handle(opened(0, 1, 1));
  group.handle(apply(group, failover(2)));
  auto again = promotion(1, 2, 2, {}, 0, 1);
  again.mutable_promotion()->clear_sync_set_assigned();
  EXPECT_EQ(rule_of(group.handle(apply(group, again))), "promotion_has_sync_set");
  again.mutable_promotion()->mutable_primary_assigned()->set_node_id(node(0).str());
  EXPECT_EQ(rule_of(group.handle(apply(group, again))), "accepted");
}

TEST(GroupDecide, a_group_that_never_opened_has_no_failover) {
  Group group = three();
  EXPECT_EQ(rule_of(group.handle(apply(group, failover(2)))), "failover_needs_data");
}

// Which members get a new task with which event.
TEST(GroupEvolve, the_role_generation_grows_with_the_role_document_only) {
  const auto generations = [](const Group& group) {
    std::vector<uint64_t> out;
    for (const auto& m : group.state.members) out.push_back(m.role_generation);
    return out;
  };
  Group group;
  group.handle(membership(3, 1, {0, 1, 2}));
  EXPECT_THAT(generations(group), ElementsAre(0, 0, 0));
  group.handle(apply(group, primary(0, 1)));
  EXPECT_THAT(generations(group), ElementsAre(2, 0, 0));
  group.handle(apply(group, standby(1, 0, 1)));  // and a slot for it
  EXPECT_THAT(generations(group), ElementsAre(3, 3, 0));
  group.handle(apply(group, standby(2, 0, 1)));
  EXPECT_THAT(generations(group), ElementsAre(4, 3, 4));
  group.handle(opened(0, 1, 1));  // it may not be made from the template any more
  EXPECT_THAT(generations(group), ElementsAre(5, 3, 4));
  group.handle(streaming(1, 1));
  group.handle(streaming(2, 1));
  EXPECT_THAT(generations(group), ElementsAre(5, 3, 4));
  group.handle(apply(group, sync_set({1, 2}, 1, 1)));
  EXPECT_THAT(generations(group), ElementsAre(8, 3, 4));
  group.handle(applied(1));
  EXPECT_THAT(generations(group), ElementsAre(8, 3, 4));
  group.handle(lost(2, 1));
  EXPECT_THAT(generations(group), ElementsAre(8, 3, 4));
  group.handle(apply(group, standby(2, 0, 1)));  // anew
  EXPECT_THAT(generations(group), ElementsAre(8, 3, 11));
  group.handle(membership(3, 0, {0, 1, 2}));
  EXPECT_THAT(generations(group), ElementsAre(8, 3, 11));
}

TEST(GroupSnapshot, comes_back_as_it_was) {
  Group group;
  Hosts hosts(4);
  form(group, hosts, 3, 1);
  group.handle(membership(4, 2, {0, 1, 2, 3}, {2}));
  group.run();
  group.handle(lost(1, 1));
  group.handle(apply(group, sync_set({}, 0, 2)));
  group.handle(apply(group, sync_set({1}, 1, 3)));
  auto opening = opened(0, 1, 3);
  opening.mutable_record_primary_opened()->add_history()->set_timeline(3);
  group.handle(opening);
  group.handle(apply(group, failover(2)));
  v1::GroupDecision blocked;
  blocked.mutable_reason()->set_rule("rule");
  blocked.mutable_reason()->set_why("why");
  blocked.mutable_failover_blocked()->set_term(2);
  group.handle(apply(group, blocked));
  v1::GroupSnapshot snapshot;
  to_snapshot(group.state, &snapshot);
  v1::GroupSnapshot parsed;
  ASSERT_TRUE(parsed.ParseFromString(snapshot.SerializeAsString()));
  EXPECT_EQ(from_snapshot(parsed), group.state);
  ASSERT_EQ(group.state.sync_pending.size(), 2u);  // the test is worth something
}

}  // namespace
}  // namespace trunkline::replication::test
