// Standbys that are lost, stuck or only look so: one fact away from each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "replication/tests/group_builder.h"

namespace trunkline::replication::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void record(Group& group) {
  for (const auto& c : commands_from_reports(group.state, group.facts, group.now)) group.handle(c);
}

TEST(GroupLost, a_standby_that_does_not_stream_for_ten_seconds_is_lost_and_assigned_anew) {
  Settled s;
  s.hosts.stop_streaming(0, 2);
  s.hosts.send(s.group);
  sleep(s.group, s.hosts, 10);
  EXPECT_THAT(s.group.run(), ElementsAre("as_ordered"));
  const uint64_t generation = find_member(s.group.state, node(2))->role_generation;
  sleep(s.group, s.hosts, 1);
  EXPECT_THAT(s.group.run(),
              ElementsAre("standby_lost", "lost_out_of_sync_set", "standby_not_streaming"));
  EXPECT_GT(find_member(s.group.state, node(2))->role_generation, generation);
  EXPECT_EQ(assigned_sync_set(s.group.state).candidates, (std::set<NodeId>{node(1)}));
  sleep(s.group, s.hosts, 30);
  EXPECT_THAT(s.group.run(), ElementsAre("standby_not_streaming")) << "assigned anew once";

  s.hosts.stream(0, 2);
  s.hosts.send(s.group);
  EXPECT_THAT(s.group.run(), ElementsAre("standby_into_sync_set", "sync_set_not_in_force"));
}

TEST(GroupLost, what_another_primary_said_of_it_counts_no_more) {
  Settled s;
  const TimePoint long_ago = s.group.now - seconds(60);
  s.group.facts.detached_since[node(2)] = long_ago;
  record(s.group);
  EXPECT_EQ(find_member(s.group.state, node(2))->progress, StandbyProgress::streaming);
  // An owner that hears of a primary only after it has heard its report.
  s.group.facts.detached_since[node(2)] = long_ago;
  s.group.facts.seen_primary = node(1);
  s.hosts.stop_streaming(0, 2);
  s.group.run();
  record(s.group);
  EXPECT_EQ(find_member(s.group.state, node(2))->progress, StandbyProgress::streaming);
}

TEST(GroupLost, a_lost_standby_stays_in_the_sync_set_that_cannot_do_without) {
  Settled s(2, 1);
  s.hosts.stop_streaming(0, 1);
  s.hosts.send(s.group);
  sleep(s.group, s.hosts, 11);
  EXPECT_THAT(s.group.run(), ElementsAre("standby_lost", "standby_not_streaming"));
  EXPECT_EQ(assigned_sync_set(s.group.state).candidates, (std::set<NodeId>{node(1)}));
}

TEST(GroupLost, a_lost_standby_on_a_silent_host_is_assigned_when_it_reports_again) {
  Settled s;
  s.hosts.stop_streaming(0, 2);
  for (int i = 0; i < 30; ++i) {
    s.group.now += milliseconds(500);
    s.hosts.send(s.group, 0);
    s.hosts.send(s.group, 1);
  }
  EXPECT_THAT(s.group.run(), ElementsAre("lost_out_of_sync_set", "standby_not_streaming"));
  EXPECT_THAT(find_member(s.group.state, node(2))->lost_why, HasSubstr("host is silent"));
  s.hosts.send(s.group, 2);
  EXPECT_THAT(s.group.run(), ElementsAre("standby_lost", "standby_not_streaming"));
}

TEST(GroupLost, nobody_is_lost_while_the_primary_is_away) {
  struct Case {
    const char* what;
    std::function<void(Settled&)> away;
  };
  const std::vector<Case> cases = {
      {"silent",
       [](Settled& s) {
         for (int i = 0; i < 60; ++i) {
           s.group.now += milliseconds(500);
           s.hosts.send(s.group, 1);
           s.hosts.send(s.group, 2);
         }
         s.hosts.send(s.group, 0);
       }},
      {"starting",
       [](Settled& s) {
         s.hosts.at(0).set_postgres(v1::POSTGRES_STATE_STARTING);
         sleep(s.group, s.hosts, 30);
         s.hosts.open(0);
         s.hosts.send(s.group);
       }},
      {"not there",
       [](Settled& s) {
         s.hosts.present[0] = false;
         sleep(s.group, s.hosts, 30);
         s.hosts.present[0] = true;
         s.hosts.send(s.group);
       }},
      {"in another term",
       [](Settled& s) {
         s.hosts.at(0).set_term(2);
         sleep(s.group, s.hosts, 30);
         s.hosts.at(0).set_term(1);
         s.hosts.send(s.group);
       }},
  };
  for (const Case& c : cases) {
    Settled s;
    s.hosts.stop_streaming(0, 1);
    s.hosts.stop_streaming(0, 2);
    s.hosts.send(s.group);
    c.away(s);
    record(s.group);
    EXPECT_EQ(find_member(s.group.state, node(1))->progress, StandbyProgress::streaming) << c.what;
  }
}

TEST(GroupLost, a_standby_that_runs_and_does_not_attach_is_assigned_anew_in_growing_pauses) {
  struct Case {
    const char* what;
    std::function<void(v1::NodeReport&)> change;
    size_t times;  // in ten minutes: after 30, 90, 210, 450 s
  };
  const std::vector<Case> cases = {
      {"recovering", [](v1::NodeReport&) {}, 4},
      {"base backup", [](v1::NodeReport& n) { n.set_postgres(v1::POSTGRES_STATE_STOPPED); }, 0},
      {"starting", [](v1::NodeReport& n) { n.set_postgres(v1::POSTGRES_STATE_STARTING); }, 0},
  };
  for (const Case& c : cases) {
    Group group;
    Hosts hosts(2);
    group.handle(membership(2, 0, {0, 1}));
    group.run();
    hosts.obey(group);
    hosts.open(0);
    hosts.at(1).set_postgres(v1::POSTGRES_STATE_RECOVERING);
    c.change(hosts.at(1));
    size_t times = 0;
    for (int s = 0; s < 600; ++s) {
      sleep(group, hosts, 1);
      for (const auto& rule : group.run()) times += rule == "standby_stuck" ? 1 : 0;
    }
    EXPECT_EQ(times, c.times) << c.what;
  }
}

TEST(GroupLost, a_standby_that_catches_up_is_not_lost) {
  Settled s;
  s.hosts.at(0).mutable_standbys(1)->set_state("catchup");
  sleep(s.group, s.hosts, 60);
  EXPECT_THAT(s.group.run(), ElementsAre("as_ordered"));
}

}  // namespace
}  // namespace trunkline::replication::test
