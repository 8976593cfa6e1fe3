// Whose data is the log's, and who has all of it that anybody has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replication/tests/failover_scene.h"

namespace trunkline::replication::test {
namespace {

using ::testing::HasSubstr;

TEST(GroupHistory, data_fits_if_it_did_not_leave_the_logs_history) {
  struct Case {
    const char* what;
    std::vector<TimelineBegin> log, own;
    uint64_t flush_lsn;
    bool fits;
  };
  const std::vector<Case> cases = {
      {"first timeline", {}, {}, 100, true},
      {"the same", {{2, 50}}, {{2, 50}}, 100, true},
      {"behind the switch", {{2, 50}}, {}, 50, true},
      {"past the switch", {{2, 50}}, {}, 51, false},
      {"switched elsewhere", {{2, 50}}, {{2, 40}}, 100, false},
      {"another timeline", {{3, 50}}, {{2, 50}}, 100, false},
      {"a promotion that was not seen", {{2, 50}}, {{2, 50}, {3, 80}}, 100, true},
      {"one before it missing", {{2, 50}, {3, 80}}, {{2, 50}}, 80, true},
      {"one before it missing, and past it", {{2, 50}, {3, 80}}, {{2, 50}}, 81, false},
  };
  for (const Case& c : cases) {
    GroupState state;
    state.history = c.log;
    NodeSeen seen;
    seen.history = c.own;
    seen.flush_lsn = c.flush_lsn;
    EXPECT_EQ(history_fits(state, seen), c.fits) << c.what;
  }
}

TEST(GroupHistory, what_one_that_forked_has_in_common_must_be_there) {
  struct Case {
    const char* what;
    std::vector<TimelineBegin> log, next;
    uint64_t next_lsn;
    std::vector<TimelineBegin> other;
    uint64_t other_lsn;
    bool has_all;
  };
  const std::vector<Case> cases = {
      {"both on the first timeline", {}, {}, 100, {}, 90, true},
      {"the other is further", {}, {}, 100, {}, 101, false},
      {"the other left it later", {{2, 50}, {3, 80}}, {}, 40, {{2, 50}}, 90, false},
      {"it left it before", {{2, 50}, {3, 80}}, {{2, 50}}, 80, {{2, 50}}, 90, true},
      {"it left it at the first switch", {{2, 50}}, {}, 50, {}, 90, true},
      {"past a switch that the next one has yet to come to", {{2, 50}}, {}, 49, {}, 90, false},
      {"switched elsewhere, further", {{2, 50}}, {{2, 50}}, 60, {{2, 40}}, 90, true},
      {"switched elsewhere, and the next one is behind", {{2, 50}}, {}, 30, {{2, 40}}, 90, false},
      {"left out by a promotion that nobody saw", {{2, 50}}, {{2, 50}, {3, 80}}, 85, {{2, 50}},
       120, true},
      {"not left out by it", {{2, 50}}, {{2, 50}, {3, 80}}, 85, {{2, 50}, {3, 80}}, 86, false},
  };
  for (const Case& c : cases) {
    GroupState state;
    state.history = c.log;
    NodeSeen next, other;
    next.history = c.next;
    next.flush_lsn = c.next_lsn;
    other.history = c.other;
    other.flush_lsn = c.other_lsn;
    EXPECT_EQ(has_all_of(state, next, other), c.has_all) << c.what;
  }
}

// Node 1 went on past the switch to the log's timeline, and cannot follow; node 2 is behind it.
class ForkedVoter : public ::testing::TestWithParam<bool> {};

TEST_P(ForkedVoter, is_worth_its_vote_only_if_the_next_primary_has_what_it_has) {
  const bool has_all = GetParam();
  Scene s;
  s.group.state.history = {{2, 0x3000080}};
  s.hosts.at(1).set_flush_lsn(0x3000100);
  s.hosts.at(2).set_flush_lsn(has_all ? 0x3000080 : 0x3000000);
  s.pass(5.0, {1, 2});
  if (!has_all) {
    EXPECT_EQ(failover_under_way(s.group.state), nullptr);
    EXPECT_EQ(s.rule(), "primary_away");
    ASSERT_TRUE(s.group.events.back().has_failover_blocked());
    EXPECT_THAT(s.group.events.back().failover_blocked().reason().why(),
                HasSubstr("has WAL that nobody else has, and forked: " + node(1).str()));
    return;
  }
  s.fence(1);
  s.fence(2);
  s.pass(3.0, {1, 2});
  EXPECT_EQ(s.promoted().node_id(), node(2).str());
}

TEST_P(ForkedVoter, counts_the_same_once_it_is_fenced) {
  const bool has_all = GetParam();
  Scene s;
  s.lose_primary();
  s.group.state.history = {{2, 0x3000080}};
  s.hosts.at(1).set_flush_lsn(0x3000100);
  s.hosts.at(2).set_flush_lsn(has_all ? 0x3000080 : 0x3000000);
  s.fence(1);
  s.fence(2);
  s.pass(5.0, {1, 2});
  EXPECT_EQ(s.promoted().node_id(), has_all ? node(2).str() : node(0).str());
  if (!has_all) {
    EXPECT_EQ(s.rule(), "failover_too_few_voters");
  }
}

INSTANTIATE_TEST_SUITE_P(HasAll, ForkedVoter, ::testing::Bool());

}  // namespace
}  // namespace trunkline::replication::test
