// Old decisions decided again: what was recorded with them comes back whole, the same table says
// the same, and another table or other facts are told apart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "replication/domain/decision_facts.h"
#include "replication/domain/group_replay.h"
#include "replication/tests/failover_scene.h"

namespace trunkline::replication::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<LoggedEvent> logged(const Group& group, TimePoint recorded_at) {
  std::vector<LoggedEvent> out;
  for (const v1::GroupEvent& event : group.events) {
    out.push_back({.position = static_cast<int64_t>(out.size()) + 101,
                   .recorded_at = recorded_at,
                   .event = event});
  }
  return out;
}
std::vector<LoggedEvent> logged(const Group& group) { return logged(group, at(0)); }

std::vector<std::string> rules(const std::vector<Replayed>& all) {
  std::vector<std::string> out;
  for (const Replayed& one : all) out.push_back(one.then.rule);
  return out;
}
auto is(ReplayResult result) { return Field(&Replayed::result, result); }

// A primary whose host dies, until the next one is assigned.
Scene failed_over() {
  Scene s;
  s.lose_primary();
  s.hosts.at(2).set_flush_lsn(0x3000100);
  s.fence(1);
  s.fence(2);
  s.pass(3, {1, 2});
  return s;
}
// The stream's newest event of that type.
v1::GroupEvent& newest(std::vector<LoggedEvent>& stream, v1::GroupEvent::BodyCase type) {
  const auto found = std::find_if(stream.rbegin(), stream.rend(), [&](const LoggedEvent& logged) {
    return logged.event.body_case() == type;
  });
  return found->event;
}

std::vector<Row> table_with(const std::string& rule, bool (*when)(const Sight&)) {
  std::vector<Row> out(group_table().begin(), group_table().end());
  for (Row& row : out) {
    if (row.rule == rule) row.when = when;
  }
  return out;
}

// ---- what is recorded ----------------------------------------------------------------------

class AnyFacts {
 public:
  explicit AnyFacts(uint32_t seed) : random_(seed) {}

  GroupFacts make(const GroupState& state) {
    GroupFacts out;
    out.owner_since = time();
    out.lease_until = time();
    out.others_lease_until = time();
    out.seen_term = number();
    out.seen_primary = someone();
    out.seen_since = time();
    if (yes()) out.primary_down_since = time();
    out.primary_alive_at = time();
    out.probe = {.id = 1 + number(), .asked_at = time(), .answered_id = number()};
    if (yes()) out.probe.unanswered_since = time();
    if (yes()) out.prepare = {.id = 1 + number(), .asked_at = time()};
    out.wal_of = someone();
    out.wal_until = number();
    if (yes()) {
      out.sync_mark = SyncMark{.primary = someone(), .term = number(), .sync_version = number(),
                               .first_seen = time()};
      if (yes()) out.sync_mark->flush_lsn = number();
    }
    for (const Member& member : state.members) {
      if (yes()) out.hosts[member.address.host].at = time();
      if (yes()) out.nodes[member.id] = report();
      if (yes()) out.fenced[member.id] = {.term = number(), .since = time()};
      if (yes()) out.detached_since[member.id] = time();
    }
    if (yes()) out.fenced[node(9)] = {.term = number(), .since = time()};  // a member no more
    return out;
  }

 private:
  bool yes() { return random_() % 2 == 0; }
  uint64_t number() { return yes() ? random_() % 4 : (uint64_t{random_()} << 32) + random_(); }
  TimePoint time() {
    if (random_() % 4 == 0) return TimePoint();
    return at(0) + std::chrono::microseconds(static_cast<int32_t>(random_()));
  }
  NodeId someone() { return yes() ? node(static_cast<int>(random_() % 10)) : NodeId(); }

  NodeSeen report() {
    NodeSeen out{.at = time(),
                 .role_generation = number(),
                 .role_state = static_cast<TaskState>(random_() % 4),
                 .role_step = yes() ? "base backup" : "",
                 .role_failure = yes() ? "code: message" : "",
                 .postgres = static_cast<PostgresState>(random_() % 5),
                 .role = static_cast<ReportedRole>(random_() % 4),
                 .term = number(),
                 .timeline = static_cast<uint32_t>(number()),
                 .flush_lsn = number(),
                 .wal_end_exact = yes(),
                 .sync_version = number(),
                 .probe_id = number(),
                 .probe_answered = yes(),
                 .prepared_id = number(),
                 .answers = yes(),
                 .recovers = yes(),
                 .stalled = milliseconds(random_() % 100'000)};
    if (yes()) out.upstream_silent = milliseconds(1 + random_() % 100'000);
    for (uint32_t timeline = 2; yes(); ++timeline) {
      out.history.push_back({timeline, yes() ? timeline * 0x1000000 : number()});
    }
    for (int i = 0; i < 3; ++i) {
      if (yes()) out.slots.insert(node(i));
      if (!yes()) continue;
      out.standbys[node(i)] = {.state = yes() ? "streaming" : yes() ? "catchup" : "",
                               .flush_lsn = number()};
    }
    return out;
  }

  std::mt19937 random_;
};

TEST(GroupReplay, what_is_recorded_comes_back) {
  Settled s;
  for (uint32_t timeline = 2; timeline < 5; ++timeline) {
    s.group.state.history.push_back({timeline, timeline * 0x1000000});
  }
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    const GroupFacts facts = AnyFacts(seed).make(s.group.state);
    v1::DecisionFacts record;
    to_record(s.group.state, facts, at(7), &record);
    v1::DecisionFacts read;
    ASSERT_TRUE(read.ParseFromString(record.SerializeAsString()));
    const SeenFacts seen = from_record(s.group.state, read);
    ASSERT_EQ(seen.now, at(7));
    ASSERT_TRUE(seen.facts == facts) << seed << "\n" << record.DebugString();
    ASSERT_EQ(record.group_version(), s.group.state.version);
  }
}

TEST(GroupReplay, what_hosts_say_of_strangers_is_not_recorded) {
  Settled s;
  v1::DecisionFacts before;
  to_record(s.group.state, s.group.facts, s.group.now, &before);
  NodeSeen& primary = s.group.facts.nodes[node(0)];
  for (int i = 100; i < 1100; ++i) {
    const NodeId stranger("00000000-0000-4000-8000-00000000" + std::to_string(i));
    primary.slots.insert(stranger);
    primary.standbys[stranger] = {.state = "streaming"};
    s.group.facts.hosts[HostName("host-" + std::to_string(i))].at = s.group.now;
  }
  v1::DecisionFacts after;
  to_record(s.group.state, s.group.facts, s.group.now, &after);
  EXPECT_EQ(after.SerializeAsString(), before.SerializeAsString());
}

TEST(GroupReplay, a_record_that_fits_nothing_is_read_all_the_same) {
  Settled s;
  v1::DecisionFacts record;
  record.set_seen_primary(7);
  record.set_wal_of(4'000'000'000);
  auto* reported = record.add_nodes()->mutable_reported();
  reported->set_shared_history(99);
  reported->add_slots(3);
  const SeenFacts seen = from_record(s.group.state, record);
  EXPECT_TRUE(seen.facts.seen_primary.empty());
  EXPECT_TRUE(seen.facts.wal_of.empty());
  judge(s.group.state, seen.facts, seen.now);
}

TEST(GroupReplay, decisions_about_failovers_alone_are_recorded_and_that_is_small) {
  const Scene s = failed_over();
  size_t bytes = 0, words = 0, recorded = 0;
  for (const v1::GroupEvent& event : s.group.events) {
    const auto size = [](const v1::Reason& reason) { return reason.seen().ByteSizeLong(); };
    if (event.has_failover_started()) {
      bytes = size(event.failover_started().reason());
      words = event.ByteSizeLong() - bytes;
    }
    const bool has_it = event.failover_started().reason().has_seen() ||
                        event.primary_assigned().reason().has_seen();
    recorded += has_it ? 1 : 0;
    EXPECT_FALSE(event.sync_set_assigned().reason().has_seen());
    EXPECT_FALSE(event.standby_assigned().reason().has_seen());
    EXPECT_FALSE(event.group_settled().reason().has_seen());
  }
  EXPECT_EQ(recorded, 2u);
  RecordProperty("bytes", static_cast<int>(bytes));
  RecordProperty("words", static_cast<int>(words));
  EXPECT_GT(bytes, 100u);
  EXPECT_LT(bytes, words);
}

// ---- decided again -------------------------------------------------------------------------

TEST(GroupReplay, a_failover_is_decided_the_same) {
  const Scene s = failed_over();
  const auto stream = logged(s.group);
  const auto all = replay_decisions(stream);
  EXPECT_THAT(rules(all), ElementsAre("failover_primary_silent", "failover_promotes"));
  EXPECT_THAT(all, Each(is(ReplayResult::same)));
  EXPECT_EQ(all[0].event, "failover_started");
  EXPECT_EQ(all[0].position, 100 + static_cast<int64_t>(all[0].version));
  EXPECT_EQ(all[0].now.rule, all[0].then.rule);
  EXPECT_THAT(all[0].now.assigns,
              AllOf(StartsWith("failover in term 2 away from node"), HasSubstr(node(0).str())));
  EXPECT_EQ(all[1].event, "primary_assigned");
  EXPECT_THAT(all[1].then.assigns, AllOf(HasSubstr("sync set"), HasSubstr(node(2).str()),
                                         HasSubstr("timeline 2 from 0/3000100")));
  EXPECT_EQ(all[1].then.assigns, all[1].now.assigns);
}

TEST(GroupReplay, what_a_failover_waits_for_is_decided_the_same) {
  Scene s;
  s.lose_primary();
  s.pass(3, {1, 2});
  const auto stream = logged(s.group);
  const auto all = replay_decisions(stream);
  EXPECT_THAT(rules(all), ElementsAre("failover_primary_silent", "failover_too_few_voters"));
  EXPECT_THAT(all, Each(is(ReplayResult::same)));
  EXPECT_EQ(all[1].now.assigns, "waiting in term 2");
}

TEST(GroupReplay, a_row_that_is_gone_makes_it_different) {
  const Scene s = failed_over();
  const auto stream = logged(s.group);
  const auto never = [](const Sight&) { return false; };
  const auto all = replay_decisions(stream, table_with("failover_primary_silent", never));
  ASSERT_THAT(all, ElementsAre(is(ReplayResult::different), is(ReplayResult::same)));
  EXPECT_EQ(all[0].then.rule, "failover_primary_silent");
  EXPECT_EQ(all[0].now.rule, "primary_away");
  EXPECT_EQ(all[0].now.assigns, "nothing");
  EXPECT_THAT(all[0].why, AllOf(StartsWith("now primary_away decides (the primary is away"),
                                HasSubstr("assigns nothing")));
}

TEST(GroupReplay, another_row_that_assigns_the_same_is_different_too) {
  const Scene s = failed_over();
  const auto stream = logged(s.group);
  auto table = table_with("failover_primary_crashed", primary_is_silent);
  const auto all = replay_decisions(stream, table);
  ASSERT_THAT(all, ElementsAre(is(ReplayResult::different), is(ReplayResult::same)));
  EXPECT_EQ(all[0].now.rule, "failover_primary_crashed");
  EXPECT_THAT(all[0].why, HasSubstr("and assigns the same"));
}

TEST(GroupReplay, the_same_row_that_assigns_something_else_is_different) {
  const Scene s = failed_over();
  const auto stream = logged(s.group);
  std::vector<Row> table(group_table().begin(), group_table().end());
  for (Row& row : table) {
    if (row.rule != std::string("failover_promotes")) continue;
    static auto* const assign = row.assign;
    row.assign = [](const Sight& sight, v1::GroupDecision* out) {
      assign(sight, out);
      out->mutable_promotion()->mutable_primary_assigned()->set_node_id(node(1).str());
      out->mutable_promotion()->mutable_sync_set_assigned()->set_candidates(0, node(2).str());
    };
  }
  const auto all = replay_decisions(stream, table);
  ASSERT_THAT(all, ElementsAre(is(ReplayResult::same), is(ReplayResult::different)));
  EXPECT_EQ(all[1].now.rule, "failover_promotes");
  EXPECT_THAT(all[1].now.assigns, HasSubstr("node " + node(1).str()));
  EXPECT_EQ(all[1].why, "the same rule decides, but it assigns something else");
}

TEST(GroupReplay, other_facts_make_it_different) {
  const Scene s = failed_over();
  auto stream = logged(s.group);
  auto* seen = newest(stream, v1::GroupEvent::kFailoverStarted)
                   .mutable_failover_started()->mutable_reason()->mutable_seen();
  seen->mutable_nodes(0)->set_host_heard_us(0);
  const auto all = replay_decisions(stream);
  ASSERT_THAT(all, ElementsAre(is(ReplayResult::different), is(ReplayResult::same)));
  EXPECT_EQ(all[0].now.assigns, "nothing");
}

TEST(GroupReplay, a_request_is_decided_as_one) {
  Scene s;
  v1::GroupCommand command;
  command.mutable_request_switchover()->set_target_id(node(2).str());
  s.pass(2.5, {0, 1, 2});
  ASSERT_TRUE(std::holds_alternative<std::vector<v1::GroupEvent>>(s.group.handle(command)));
  auto stream = logged(s.group);
  auto all = replay_decisions(stream);
  ASSERT_THAT(all, ElementsAre(is(ReplayResult::same)));
  EXPECT_EQ(all[0].then.rule, "switchover_requested");
  EXPECT_THAT(all[0].now.assigns, HasSubstr("to node " + node(2).str()));

  auto* seen = newest(stream, v1::GroupEvent::kFailoverStarted)
                   .mutable_failover_started()->mutable_reason()->mutable_seen();
  for (v1::NodeFacts& one : *seen->mutable_nodes()) one.mutable_reported()->clear_standbys();
  all = replay_decisions(stream);
  ASSERT_THAT(all, ElementsAre(is(ReplayResult::different)));
  EXPECT_EQ(all[0].now.rule, "switchover_target_not_streaming");
  EXPECT_EQ(all[0].now.assigns, "nothing");
}

TEST(GroupReplay, without_recorded_facts_it_says_so) {
  const Scene s = failed_over();
  auto stream = logged(s.group);
  newest(stream, v1::GroupEvent::kFailoverStarted)
      .mutable_failover_started()->mutable_reason()->clear_seen();
  newest(stream, v1::GroupEvent::kPrimaryAssigned)
      .mutable_primary_assigned()->mutable_reason()->mutable_seen()->set_group_version(1000);
  const auto all = replay_decisions(stream);
  EXPECT_THAT(all, ElementsAre(is(ReplayResult::not_recorded), is(ReplayResult::not_recorded)));
  EXPECT_THAT(rules(all), ElementsAre("failover_primary_silent", "failover_promotes"));
  EXPECT_TRUE(all[0].now.rule.empty());
  EXPECT_THAT(all[0].then.assigns, StartsWith("failover in term 2"));
}

}  // namespace
}  // namespace trunkline::replication::test
