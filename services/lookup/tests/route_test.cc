// Given events of the log, this is where the endpoints lead, and what is told of a failover.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lookup/domain/failovers.h"
#include "lookup/domain/standby_watch.h"
#include "lookup/tests/given.h"

namespace trunkline::lookup {
namespace {

using namespace testing;
using nlohmann::json;

constexpr auto kFailover = v1::FAILOVER_KIND_FAILOVER;
constexpr auto kSwitchover = v1::FAILOVER_KIND_SWITCHOVER;
constexpr auto kOverride = v1::FAILOVER_KIND_OVERRIDE;

// Each row goes on from a running pair whose primary "a" opened in term 1.
TEST(Route, StateFollowsTheGroup) {
  struct Row {
    const char* when;
    std::vector<v1::GroupEvent> events;
    v1::RouteState state;
    uint64_t term;
    std::string primary;  // empty: none
    bool primary_serves;
  };
  const auto failed = failover_started(2, "a", kFailover);
  const auto switched = failover_started(2, "a", kSwitchover);
  const Row rows[] = {
      {"running", {}, v1::ROUTE_STATE_OPEN, 1, "a", true},
      {"failover begun", {failed}, v1::ROUTE_STATE_DOWN, 2, "", false},
      {"and blocked", {failed, failover_blocked(2)}, v1::ROUTE_STATE_DOWN, 2, "", false},
      {"promoted, not open", {failed, promoted("b", 2)}, v1::ROUTE_STATE_DOWN, 2, "b", false},
      {"open again", {failed, promoted("b", 2), primary_opened("b", 2)}, v1::ROUTE_STATE_OPEN, 2,
       "b", true},
      {"an older primary says that it is open", {failed, primary_opened("a", 1)},
       v1::ROUTE_STATE_DOWN, 2, "", false},
      {"switchover begun", {switched}, v1::ROUTE_STATE_HOLD, 2, "", false},
      {"switchover blocked", {switched, failover_blocked(2)}, v1::ROUTE_STATE_HOLD, 2, "", false},
      {"switchover promoted", {switched, promoted("b", 2)}, v1::ROUTE_STATE_HOLD, 2, "b", false},
      {"switchover done", {switched, promoted("b", 2), primary_opened("b", 2)},
       v1::ROUTE_STATE_OPEN, 2, "b", true},
      {"switchover given up, back to the old primary",
       {switched, failover_started(3, "a", kSwitchover), promoted("a", 3)}, v1::ROUTE_STATE_HOLD,
       3, "a", false},
      {"the primary dies in a switchover", {switched, failover_started(3, "a", kFailover)},
       v1::ROUTE_STATE_DOWN, 3, "", false},
      {"an operator overrides", {failed, failover_started(3, "a", kOverride)},
       v1::ROUTE_STATE_DOWN, 3, "", false},
      {"another primary is assigned", {primary_assigned("b", 2)}, v1::ROUTE_STATE_DOWN, 2, "b",
       false},
      {"the standby is lost", {standby_lost("b")}, v1::ROUTE_STATE_OPEN, 1, "a", true},
  };
  for (const Row& row : rows) {
    Given given = running_pair();
    for (const auto& event : row.events) given.with(event);
    const v1::Route route = given.route();
    EXPECT_EQ(route.state(), row.state) << row.when;
    EXPECT_EQ(route.term(), row.term) << row.when;
    std::string primary;
    bool serves = false;
    for (const auto& node : route.nodes()) {
      if (!node.primary()) continue;
      EXPECT_EQ(primary, "") << "two primaries: " << row.when;
      primary = node.node_id();
      serves = node.serves();
    }
    EXPECT_EQ(primary, row.primary.empty() ? "" : id(row.primary)) << row.when;
    EXPECT_EQ(serves, row.primary_serves) << row.when;
  }
}

TEST(Route, IsDownBeforeThereIsAPrimary) {
  Given given;
  given.with(with_ports(created("shop"), 20000, 20001));
  EXPECT_EQ(given.route().state(), v1::ROUTE_STATE_DOWN);
  EXPECT_EQ(given.route().read_write_port(), 20000u);
  EXPECT_EQ(given.route().read_only_port(), 20001u);
  EXPECT_EQ(given.route().position(), 1u);
}

TEST(Route, AStandbyServesWhileItStreamsAndStays) {
  Given given = running_pair();
  const auto serves = [&] { return given.route().nodes(1).serves(); };
  EXPECT_TRUE(serves());
  EXPECT_EQ(given.route().nodes(1).address().address(), "127.0.0.12");
  given.with(failed("resize_failed", "b"));
  EXPECT_TRUE(serves());
  given.with(standby_lost("b"));
  EXPECT_FALSE(serves());
  given.with(standby_assigned("b"));
  EXPECT_FALSE(serves());
  given.with(standby_streaming("b"));
  EXPECT_TRUE(serves());
  given.with(removal_started("b"));
  EXPECT_FALSE(serves());
}

TEST(Route, NamesUsersWithVerifiersAndDatabases) {
  Given given = running_pair();
  given.with(user_created("ann")).with(user_created("bob")).with(database_created("orders", "ann"));
  v1::InstanceEvent password;
  password.mutable_user_updated()->set_user_id(id("user ann"));
  password.mutable_user_updated()->set_scram_verifier("SCRAM-SHA-256$4096:bmV3$bmV3:bmV3");
  given.with(password).with(user_deleted("bob"));
  const v1::Route route = given.route();
  ASSERT_EQ(route.users_size(), 1);
  EXPECT_EQ(route.users(0).name(), "ann");
  EXPECT_EQ(route.users(0).scram_verifier(), "SCRAM-SHA-256$4096:bmV3$bmV3:bmV3");
  ASSERT_EQ(route.databases_size(), 1);
  EXPECT_EQ(route.databases(0), "orders");
  EXPECT_EQ(route.connections(), 102u);
}

// What a proxy compares: it grows whenever the route differs, and only then.
TEST(Route, PositionIsThatOfTheNewestEventThatItShows) {
  Given given = running_pair();
  const uint64_t before = given.route().position();
  given.with(renamed("another")).with(user_activated("nobody"));
  EXPECT_EQ(given.route().position(), before);
  given.with(user_created("ann"));
  EXPECT_EQ(given.route().position(), static_cast<uint64_t>(given.position));
}

TEST(Route, IsGoneWithTheInstance) {
  Given given = running_pair();
  given.touched.clear();
  given.with(deletion_started());
  const DocKey key{DocKind::route, kInstance};
  EXPECT_FALSE(render(given.view, key, {}));
  EXPECT_EQ(std::count(given.touched.begin(), given.touched.end(), key), 1);
  EXPECT_EQ(route_gone(kInstance, 9).state(), v1::ROUTE_STATE_GONE);
  EXPECT_EQ(route_gone(kInstance, 9).position(), 9u);
}

TEST(Route, WhatIsNoStoredRouteIsNotRead) {
  for (const char* text : {"", "\"", "\"!\"", "\"AAAA\"", "{}"}) {
    EXPECT_FALSE(route_from(text)) << text;
  }
}

TEST(Documents, EndpointsOfProxiesNeverMove) {
  Given given;
  given.rendering.endpoint_address = "127.0.0.10";
  given.with(with_ports(created("shop"), 20000, 20001));
  const json endpoints = json::parse(R"({
    "read_write": {"host": "127.0.0.10", "port": 20000, "uri": "postgresql://127.0.0.10:20000/"},
    "read_only": {"host": "127.0.0.10", "port": 20001, "uri": "postgresql://127.0.0.10:20001/"}})");
  const auto check = [&](const char* when) {
    EXPECT_EQ(given.document().at("endpoints"), endpoints) << when;
    EXPECT_EQ(given.document().at("ipsv4"), json::array({"127.0.0.10"})) << when;
  };
  check("ordered");
  given.with(placed("a", "host-a", "127.0.0.11")).with(primary_assigned("a", 1));
  given.with(primary_opened("a", 1));
  check("open");
  given.with(failover_started(2, "a", kFailover));
  check("in a failover");
  EXPECT_EQ(given.document().at("nodes").at(0).at("address"), "127.0.0.11");
}

TEST(Documents, WithoutProxiesTheNodeIsTheEndpoint) {
  Given old = running_pair();
  old.rendering.endpoint_address = "127.0.0.10";
  EXPECT_FALSE(old.document().contains("endpoints")) << "a node's address is none of a proxy's";
  Given direct;
  direct.with(with_ports(created("shop"), 20000, 20001));
  direct.with(placed("a", "host-a", "127.0.0.11")).with(primary_opened("a", 1));
  EXPECT_EQ(direct.document()["endpoints"]["read_write"]["port"], 5432);
}

TEST(Documents, SayWhyAFailoverIsUnderWay) {
  Given given = running_pair();
  EXPECT_FALSE(given.document().contains("failover"));
  given.with(failover_started(2, "a", kFailover));
  EXPECT_EQ(given.document().at("failover"), json::parse(R"({
    "since": "2026-01-15T10:30:09.000000Z", "kind": "failover", "from": ")" + id("a") + R"(",
    "rule": "primary_silent", "why": "its host is silent"})"));
  EXPECT_EQ(given.document().at("term"), 2);
  EXPECT_EQ(given.document().at("status"), "ACTIVE");
  EXPECT_FALSE(given.document()["nodes"][0].contains("role"));
  EXPECT_EQ(given.document()["nodes"][0]["status"], "IN_PROGRESS");
  given.with(failover_blocked(2));
  EXPECT_EQ(given.document()["failover"]["rule"], "too_few_fenced");
  EXPECT_EQ(given.document()["failover"]["why"], "one voter is missing");
  given.with(failover_started(3, "", kOverride));
  EXPECT_EQ(given.document()["failover"]["kind"], "override");
  EXPECT_EQ(given.document()["failover"]["since"], "2026-01-15T10:30:09.000000Z");
  EXPECT_EQ(given.document()["failover"]["from"], id("a"));
  given.with(promoted("b", 3)).with(primary_opened("b", 3));
  EXPECT_FALSE(given.document().contains("failover"));
  EXPECT_EQ(given.document()["nodes"][1]["role"], "primary");
}

// ---- what standbys report ------------------------------------------------------------------

v1::HostReport report_of(const std::string& host, const std::string& node) {
  v1::HostReport report;
  report.set_host(host);
  auto& said = *report.add_nodes();
  said.set_node_id(id(node));
  said.set_instance_id(kInstance);
  return report;
}
v1::HostReport primary_report(uint64_t lag_bytes) {
  auto report = report_of("host-a", "a");
  auto& standby = *report.mutable_nodes(0)->add_standbys();
  standby.set_node_id(id("b"));
  standby.set_lag_bytes(lag_bytes);
  return report;
}
using ms = std::chrono::milliseconds;
const std::set<std::string> kThis{kInstance}, kNone;

TEST(StandbyWatch, TellsOnlyWhenTheLagCrossesItsLimit) {
  StandbyWatch watch;
  struct Row {
    uint64_t lag_bytes;
    std::set<std::string> changed;
  };
  const uint64_t limit = StandbyWatch::kLagging;
  ms now{1000};
  for (const Row& row : {Row{0, kNone}, Row{4096, kNone}, Row{limit, kNone}, Row{limit + 1, kThis},
                         Row{limit * 2, kNone}, Row{limit, kThis}, Row{0, kNone}}) {
    watch.take(primary_report(row.lag_bytes), now += ms(400));
    EXPECT_EQ(watch.changed(now), row.changed) << row.lag_bytes;
    v1::Route route = running_pair().route();
    watch.put_into(route, now);
    EXPECT_EQ(route.nodes(1).lag_bytes(), static_cast<int64_t>(row.lag_bytes));
    EXPECT_TRUE(route.nodes(1).serves());
  }
}

TEST(StandbyWatch, AStandbyOfASilentHostDoesNotServe) {
  StandbyWatch watch;
  const auto serves = [&](ms now) {
    v1::Route route = running_pair().route();
    watch.put_into(route, now);
    return route.nodes(1).serves();
  };
  ms now{0};
  watch.take(report_of("host-b", "b"), now);
  for (; now <= ms(3000); now += ms(500)) {
    watch.take(primary_report(0), now);
    EXPECT_TRUE(serves(now)) << now.count();
    EXPECT_EQ(watch.changed(now), kNone) << now.count();
  }
  watch.take(primary_report(0), now);
  EXPECT_FALSE(serves(now));
  EXPECT_EQ(watch.changed(now), kThis);
  EXPECT_EQ(watch.changed(now), kNone);
  watch.take(report_of("host-b", "b"), now);
  EXPECT_TRUE(serves(now));
  EXPECT_EQ(watch.changed(now), kThis);
}

// An outage of the control plane must not take the standbys out of service.
TEST(StandbyWatch, WhenNobodyIsHeardNobodyIsSilent) {
  StandbyWatch watch;
  watch.take(primary_report(0), ms(0));
  watch.take(report_of("host-b", "b"), ms(0));
  v1::Route route = running_pair().route();
  watch.put_into(route, ms(60'000));
  EXPECT_TRUE(route.nodes(1).serves());
  EXPECT_EQ(watch.changed(ms(60'000)), kNone);
  // The first to be heard again does not make the other one silent.
  watch.take(primary_report(0), ms(60'000));
  watch.put_into(route, ms(60'000));
  EXPECT_TRUE(route.nodes(1).serves());
  EXPECT_EQ(watch.changed(ms(60'000)), kNone);
}

TEST(StandbyWatch, TheLagIsUnknownWithoutAPrimary) {
  StandbyWatch watch;
  watch.take(primary_report(4096), ms(0));
  v1::Route route = running_pair().with(failover_started(2, "a", kFailover)).route();
  watch.put_into(route, ms(0));
  EXPECT_EQ(route.nodes(1).lag_bytes(), -1);
}

// ---- the failovers -------------------------------------------------------------------------

// A log of one group in memory; second n of 2026-01-15 is the time of position n.
std::vector<json> told(const std::vector<v1::GroupEvent>& events, const std::string& actor,
                       size_t limit = 100) {
  std::vector<std::string> types, payloads;
  for (const auto& event : events) {
    types.push_back(type_of(event));
    payloads.push_back(event.SerializeAsString());
  }
  std::vector<HistoryEvent> entries;
  for (size_t i = 0; i < events.size(); ++i) {
    const auto at = static_cast<int64_t>(i) + 1;
    entries.push_back({{at, "group-x", at, types[i], 1, payloads[i],
                        *parse_rfc3339("2026-01-15T10:30:00Z") + seconds(at)},
                       actor, "c", "r"});
  }
  std::vector<json> documents;
  for (const auto& text : failovers_json(entries, limit)) documents.push_back(json::parse(text));
  return documents;
}

const v1::GroupEvent kMembers = membership({{"a", "host-a"}, {"b", "host-b"}});

TEST(Failovers, AreToldWithWhyAndHowLong) {
  const auto all = told({kMembers, primary_assigned("a", 1), primary_opened("a", 1),
                         failover_started(2, "a", kFailover), failover_blocked(2),
                         promoted("b", 2, 4096), primary_opened("b", 2)},
                        "service:replication");
  ASSERT_EQ(all.size(), 1u);
  const json facts = json::array({"node " + id("b") + ": fenced, 0/3000060"});
  EXPECT_EQ(all[0], (json{
    {"term", 2}, {"kind", "failover"}, {"status", "COMPLETED"},
    {"from_node", id("a")}, {"from_host", "host-a"}, {"to_node", id("b")}, {"to_host", "host-b"},
    {"started_at", "2026-01-15T10:30:04.000000Z"}, {"promoted_at", "2026-01-15T10:30:06.000000Z"},
    {"opened_at", "2026-01-15T10:30:07.000000Z"}, {"duration_ms", 3000},
    {"rule", "primary_silent"}, {"why", "its host is silent"}, {"facts", facts},
    {"blocked", json::array({{{"at", "2026-01-15T10:30:05.000000Z"}, {"rule", "too_few_fenced"},
                              {"why", "one voter is missing"}, {"facts", facts}}})},
    {"promotion", {{"rule", "furthest"}, {"why", "it has the most"}, {"facts", facts}}},
    {"lost_bytes", 4096}}));
}

TEST(Failovers, TellOfThoseThatWereRefused) {
  std::vector<v1::GroupEvent> events{kMembers, primary_assigned("a", 1), primary_opened("a", 1)};
  const std::pair<v1::GroupEvent, const char*> rows[] = {{failover_blocked(1), "REFUSED"},
                                                         {failover_blocked(1), "REFUSED"},
                                                         {failover_blocked(0), "WITHDRAWN"},
                                                         {failover_started(2, "a", kFailover),
                                                          "UNDER_WAY"},
                                                         {primary_opened("a", 2), "COMPLETED"},
                                                         {failover_blocked(2), "REFUSED"},
                                                         {failover_started(3, "a", kFailover),
                                                          "UNDER_WAY"}};
  for (const auto& [event, status] : rows) {
    events.push_back(event);
    EXPECT_EQ(told(events, "service:replication").front().at("status"), status);
  }
  const auto all = told(events, "service:replication");
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[1].at("status"), "SUPERSEDED");
  EXPECT_EQ(all[1].at("term"), 2);
  EXPECT_EQ(all[3].at("status"), "WITHDRAWN");
  EXPECT_EQ(all[3].at("rule"), "too_few_fenced");
}

TEST(Failovers, ASwitchoverThatEndsWhereItBeganIsNoneThatWasCompleted) {
  constexpr auto kSwitchover = v1::FAILOVER_KIND_SWITCHOVER;
  for (const bool is_given_up : {false, true}) {
    const std::string next = is_given_up ? "a" : "b";
    const auto all = told({kMembers, primary_assigned("a", 1), primary_opened("a", 1),
                           failover_started(2, "a", kSwitchover), promoted(next, 2),
                           primary_opened(next, 2)},
                          "service:replication");
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].at("status"), is_given_up ? "GIVEN_UP" : "COMPLETED");
    EXPECT_EQ(all[0].at("promotion").at("why"), "it has the most");
  }
}

// Each row is the row before it with one more event.
TEST(Failovers, HaveAStatusAtEveryStep) {
  std::vector<v1::GroupEvent> events{kMembers, primary_assigned("a", 1), primary_opened("a", 1)};
  EXPECT_TRUE(told(events, "service:replication").empty());
  const std::pair<v1::GroupEvent, const char*> rows[] = {
      {failover_started(2, "a", kFailover), "UNDER_WAY"},
      {failover_blocked(2), "BLOCKED"},
      {promoted("b", 2), "UNDER_WAY"},
      {failover_started(3, "b", kFailover), "UNDER_WAY"},
      {promoted("a", 3), "UNDER_WAY"},
      {primary_opened("a", 3), "COMPLETED"}};
  for (const auto& [event, status] : rows) {
    events.push_back(event);
    EXPECT_EQ(told(events, "service:replication").front().at("status"), status);
  }
  const auto all = told(events, "service:replication");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].at("term"), 3);
  EXPECT_EQ(all[1].at("status"), "SUPERSEDED");
  EXPECT_FALSE(all[1].contains("opened_at"));
  EXPECT_EQ(told(events, "service:replication", 1).size(), 1u);
}

TEST(Failovers, NameWhoAskedForThem) {
  const std::vector<v1::GroupEvent> events{kMembers, failover_started(2, "a", kSwitchover)};
  EXPECT_EQ(told(events, "token:t").at(0).at("requested_by"), "token:t");
  EXPECT_EQ(told(events, "token:t").at(0).at("kind"), "switchover");
  EXPECT_FALSE(told(events, "service:replication").at(0).contains("requested_by"));
}

}  // namespace
}  // namespace trunkline::lookup
