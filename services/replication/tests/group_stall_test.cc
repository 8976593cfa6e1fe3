// A primary that is neither dead nor well: it refuses its agent's questions, or answers them and
// serves nobody.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replication/tests/failover_scene.h"

namespace trunkline::replication::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint32_t kPatienceMs = 8000;

TEST(GroupStall, one_that_answers_with_an_error_has_not_crashed) {
  for (const bool answers : {false, true}) {
    Scene s;
    s.hosts.at(0).set_postgres(v1::POSTGRES_STATE_STARTING);
    s.hosts.at(0).set_answers(answers);
    const auto rules = s.pass(20, {0, 1, 2});
    if (answers) {
      EXPECT_THAT(rules, Not(Contains(std::string("failover_primary_crashed"))));
      EXPECT_EQ(s.group.state.term, 1u);
    } else {
      EXPECT_THAT(rules, Contains(std::string("failover_primary_crashed")));
    }
  }
}

TEST(GroupStall, one_that_ceases_to_answer_has_its_patience_from_then_on) {
  Scene s;
  s.hosts.at(0).set_postgres(v1::POSTGRES_STATE_STARTING);
  s.hosts.at(0).set_answers(true);
  s.pass(5, {0, 1, 2});
  s.hosts.at(0).set_answers(false);
  s.pass(0.6, {0, 1, 2});
  EXPECT_EQ(s.group.state.term, 1u);
  s.pass(0.6, {0, 1, 2});
  EXPECT_EQ(s.group.state.term, 2u);
}

// What brings about the death of a backend is in a tenant's hands; that of a postmaster is not.
TEST(GroupStall, a_postmaster_that_lives_has_the_time_to_recover) {
  struct Case {
    const char* what;
    bool recovers;
    int primary_for_s;
    double down_s;
    bool fails_over;
  };
  const std::vector<Case> cases = {{"dead", false, 3, 1.1, true},
                                   {"dead, after long", false, 700, 1.1, true},
                                   {"recovers", true, 700, 1.3, false},
                                   {"recovers for too long", true, 700, 2.0, true},
                                   {"recovers again", true, 3, 9.5, false},
                                   {"recovers again, for ever", true, 3, 11, true}};
  for (const Case& c : cases) {
    Scene s;
    s.pass(c.primary_for_s, {0, 1, 2});
    s.hosts.at(0).set_postgres(v1::POSTGRES_STATE_STARTING);
    s.hosts.at(0).set_recovers(c.recovers);
    s.pass(c.down_s, {0, 1, 2});
    EXPECT_EQ(s.group.state.term, c.fails_over ? 2U : 1U) << c.what;
  }
}

TEST(GroupStall, one_whose_postmaster_dies_as_it_recovers_is_not_waited_for) {
  Scene s;
  s.hosts.at(0).set_postgres(v1::POSTGRES_STATE_STARTING);
  s.hosts.at(0).set_recovers(true);
  s.pass(3, {0, 1, 2});
  EXPECT_EQ(s.group.state.term, 1u);
  s.crash(0);
  s.hosts.at(0).set_recovers(false);
  s.pass(0.3, {0, 1, 2});
  EXPECT_EQ(s.group.state.term, 2u);
}

TEST(GroupStall, one_that_stalls_for_long_is_failed_over) {
  struct Case {
    const char* what;
    uint32_t stalled_ms;
    bool fails_over;
  };
  const std::vector<Case> cases = {{"well", 0, false},
                                   {"late", kPatienceMs - 1, false},
                                   {"stalled", kPatienceMs, true},
                                   {"for long", 60'000, true}};
  for (const Case& c : cases) {
    Scene s;
    s.pass(3, {0, 1, 2});
    s.hosts.at(0).set_stalled_ms(c.stalled_ms);
    s.hosts.send(s.group);
    EXPECT_EQ(s.rule() == "failover_primary_stalls", c.fails_over) << c.what;
    s.group.run();
    EXPECT_EQ(s.is_fenced_task(0), c.fails_over) << c.what;
  }
}

// It may serve those whom it serves, and nobody else would.
TEST(GroupStall, nobody_is_failed_over_to_nobody) {
  Scene s;
  s.pass(3, {0, 1, 2});
  s.pass(3, {0});
  s.hosts.at(0).set_stalled_ms(60'000);
  const auto rules = s.pass(5, {0});
  EXPECT_EQ(s.group.state.term, 1u);
  EXPECT_THAT(rules, Contains(std::string("primary_away")));
  EXPECT_EQ(s.group.state.refused_rule, "primary_away");
  s.hosts.at(0).set_stalled_ms(0);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), Contains(std::string("primary_back")));
}

TEST(GroupStall, a_new_owner_looks_for_a_while_first) {
  Scene s;
  s.pass(3, {0, 1, 2});
  s.hosts.at(0).set_stalled_ms(60'000);
  s.group.facts.owner_since = s.group.now;
  s.pass(1, {0, 1, 2});
  EXPECT_EQ(s.group.state.term, 1u);
  s.pass(2, {0, 1, 2});
  EXPECT_EQ(s.group.state.term, 2u);
}

TEST(GroupStall, a_decision_says_that_it_saw_a_stall) {
  Scene s;
  s.pass(3, {0, 1, 2});
  s.hosts.at(0).set_stalled_ms(9000);
  s.hosts.send(s.group);
  s.group.run();
  const auto& reason = s.group.events.back().failover_started().reason();
  EXPECT_EQ(reason.rule(), "failover_primary_stalls");
  EXPECT_THAT(reason.facts(1), HasSubstr("stalled for 9000 ms"));
}

}  // namespace
}  // namespace trunkline::replication::test
