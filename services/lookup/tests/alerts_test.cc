#include "lookup/domain/alerts.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lookup/domain/alert_facts.h"

namespace trunkline::lookup {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart = from_unix_us(1'768'473'000'000'000);
const Observed kBehind{"replica_behind", "node/1", "70 MB behind node 2"};  // 30 s, 10 s
const Observed kFailed{"instance_failed", "instance/1", "status ERROR"};    // at once

std::string told(const std::vector<AlertBook::Change>& changes) {
  std::string out;
  for (const auto& change : changes) {
    out += (out.empty() ? "" : " ") + std::string(change.raised ? "+" : "-") + change.alert.rule;
  }
  return out;
}

TEST(AlertRules, AreInOrderAndEachSaysWhatItIsAbout) {
  std::string before;
  for (const AlertRule& rule : alert_rules()) {
    EXPECT_LT(before, rule.name);
    EXPECT_FALSE(rule.about.empty());
    before = rule.name;
  }
}

TEST(AlertBook, RaisesWhatIsWrongWithoutABreak) {
  AlertBook book;
  EXPECT_EQ(told(book.look({kBehind}, kStart)), "");
  EXPECT_TRUE(book.is_wrong("replica_behind", "node/1"));
  EXPECT_EQ(told(book.look({kBehind}, kStart + 29s)), "");
  EXPECT_TRUE(book.raised().empty());
  EXPECT_EQ(told(book.look({kBehind}, kStart + 30s)), "+replica_behind");
  EXPECT_EQ(told(book.look({kBehind}, kStart + 31s)), "");  // once
  ASSERT_EQ(book.raised().size(), 1u);
  EXPECT_EQ(book.raised()[0].since, kStart);
  EXPECT_EQ(book.raised()[0].raised_at, kStart + 30s);
}

TEST(AlertBook, ABreakBeforeItIsRaisedBeginsAnew) {
  AlertBook book;
  book.look({kBehind}, kStart);
  book.look({}, kStart + 20s);
  EXPECT_EQ(told(book.look({kBehind}, kStart + 29s)), "");
  EXPECT_EQ(told(book.look({kBehind}, kStart + 58s)), "");
  EXPECT_EQ(told(book.look({kBehind}, kStart + 59s)), "+replica_behind");
}

TEST(AlertBook, ClearsWhatIsRightForLongEnough) {
  AlertBook book;
  book.look({kBehind}, kStart);
  book.look({kBehind}, kStart + 30s);
  EXPECT_EQ(told(book.look({}, kStart + 31s)), "");
  EXPECT_FALSE(book.is_wrong("replica_behind", "node/1"));
  EXPECT_EQ(told(book.look({}, kStart + 40s)), "");
  EXPECT_EQ(told(book.look({kBehind}, kStart + 40s)), "");  // it flaps: still raised
  EXPECT_EQ(book.raised().size(), 1u);
  EXPECT_EQ(told(book.look({}, kStart + 41s)), "");
  EXPECT_EQ(told(book.look({}, kStart + 50s)), "");
  EXPECT_EQ(told(book.look({}, kStart + 51s)), "-replica_behind");
  EXPECT_TRUE(book.raised().empty());
}

TEST(AlertBook, KeepsSubjectsApartAndTellsTheNewestDetail) {
  AlertBook book;
  EXPECT_EQ(told(book.look({kFailed, {"instance_failed", "instance/2", "x"}}, kStart)),
            "+instance_failed +instance_failed");
  EXPECT_EQ(told(book.look({{"instance_failed", "instance/2", "y"}}, kStart + 1s)),
            "-instance_failed");
  ASSERT_EQ(book.raised().size(), 1u);
  EXPECT_EQ(book.raised()[0].detail, "y");
}

TEST(AlertBook, AllOfAProjectAreOneAlertThatCountsThem) {
  AlertBook book;
  std::vector<Observed> wrong = {{"instance_failed", "instance/of-another", "x", "project/q"}};
  for (int i = 0; i < 75; ++i) {
    wrong.push_back({"instance_failed", "instance/" + std::to_string(i), "status ERROR",
                     "project/p"});
  }
  EXPECT_EQ(told(book.look(wrong, kStart)), "+instance_failed +instance_failed");
  ASSERT_EQ(book.raised().size(), 2u);
  EXPECT_EQ(book.raised()[0].subject, "project/p");
  EXPECT_TRUE(book.raised()[0].detail.starts_with("75: instance/0: status ERROR; "));
  EXPECT_LT(book.raised()[0].detail.size(), 300u);
  wrong.resize(3);
  EXPECT_EQ(told(book.look(wrong, kStart + 1s)), "") << "the same alert, of fewer";
  EXPECT_EQ(book.raised()[0].detail, "2: instance/0: status ERROR; instance/1: status ERROR");
  wrong.resize(1);
  EXPECT_EQ(told(book.look(wrong, kStart + 2s)), "-instance_failed");
}

TEST(AlertBook, EachOfAGroupHasATimeOfItsOwn) {
  AlertBook book;
  // 180 s: somebody orders all the time, and nothing takes long.
  for (int i = 0; i < 10; ++i) {
    const Observed one{"provisioning_overdue", "instance/" + std::to_string(i), "", "project/p"};
    EXPECT_EQ(told(book.look({one}, kStart + i * 60s)), "");
  }
}

TEST(AlertBook, PassesOverARuleThatItDoesNotKnow) {
  AlertBook book;
  EXPECT_EQ(told(book.look({{"no_such_rule", "x", "y"}}, kStart)), "");
  EXPECT_TRUE(book.raised().empty());
}

TEST(AlertJson, SaysAll) {
  const auto json = nlohmann::json::parse(
      alert_json({"host_silent", "host/\"a\"", "no\nreport", kStart, kStart + 10s}));
  EXPECT_EQ(json["severity"], "critical");
  EXPECT_EQ(json["subject"], "host/\"a\"");
  EXPECT_EQ(json["detail"], "no\nreport");
  EXPECT_EQ(json["since"], "2026-01-15T10:30:00.000000Z");
}

// ---- facts -----------------------------------------------------------------------------------

struct Facts : ::testing::Test {
  v1::HostReport report() {
    v1::HostReport report;
    report.set_host("host-a");
    report.set_disk_gb(100);
    report.set_disk_free_gb(50);
    auto* node = report.add_nodes();
    node->set_node_id("n1");
    node->set_postgres(v1::POSTGRES_STATE_OPEN);
    node->set_lease_term(3);
    node->set_lease_ms(1800);
    auto* standby = node->add_standbys();
    standby->set_node_id("n2");
    return report;
  }
  Document instance(const std::string& status, const std::string& more = "") {
    return {{DocKind::instance, "i1"}, "", kStart, "",
            R"({"uuid":"i1","name":"shop","status":")" + status + R"(","nodes":[])" + more + "}"};
  }
  std::string rules(TimePoint now = kStart) {
    std::string out;
    const auto wrong = facts.wrong(book, now);
    for (const Observed& one : wrong) {
      EXPECT_NE(find_alert_rule(one.rule), nullptr) << one.rule;
      out += (out.empty() ? "" : " ") + one.rule + "@" + one.subject;
    }
    book.look(wrong, now);
    return out;
  }
  AlertFacts facts;
  AlertBook book;
};

TEST_F(Facts, WhatIsNotAsOrderedOrWasChangedBySqlIsOneAlertAnInstance) {
  v1::HostReport r = report();
  auto& node = *r.mutable_nodes(0);
  node.set_instance_id("i1");
  for (int i = 0; i < 3; ++i) {
    auto& failure = *node.add_object_failures();
    failure.set_kind(v1::OBJECT_KIND_USER);
    failure.set_object_id("u" + std::to_string(i));
    failure.mutable_failure()->set_code("sessions_remain");
  }
  node.add_object_notes()->mutable_note()->set_what("disarmed");
  facts.take(r, kStart);
  EXPECT_EQ(rules(), "objects_failing@instance/i1");
  EXPECT_EQ(facts.wrong(book, kStart)[0].detail, "user u0: sessions_remain, and 2 more");
  node.clear_object_failures();
  for (int i = 0; i < 2; ++i) {
    auto& note = *node.add_object_notes()->mutable_note();
    note.set_what("drifted");
    note.set_detail("database shop was changed by SQL");
    note.set_database_user("app");
    note.set_seen_unix_us(to_unix_us(kStart));
  }
  facts.take(r, kStart);
  EXPECT_EQ(rules(), "objects_drifted@instance/i1");
  EXPECT_EQ(facts.wrong(book, kStart)[0].detail,
            "database shop was changed by SQL, by app, not later than 2026-01-15T10:30:00.000000Z");
}

TEST_F(Facts, AHealthyPlatformHasNothingWrong) {
  facts.take(report(), kStart);
  facts.take(instance("ACTIVE"));
  facts.take(LogFigures{7, 7, 7, 0});
  EXPECT_EQ(rules(), "");
}

TEST_F(Facts, ASilentHostIsWrongUnlessItIsLost) {
  facts.take(report(), kStart);
  EXPECT_EQ(rules(kStart + 2s), "");
  EXPECT_EQ(rules(kStart + 3s), "host_silent@host/host-a");
  Document lost{{DocKind::host, "h1"}, "", kStart, "", R"({"name":"host-a","state":"LOST"})"};
  facts.take(lost);
  EXPECT_EQ(rules(kStart + 4s), "");
  lost.json = R"({"name":"host-a","state":"IN_SERVICE"})";
  facts.take(lost);
  EXPECT_EQ(rules(kStart + 5s), "host_silent@host/host-a");
  facts.take(report(), kStart + 6s);
  EXPECT_EQ(rules(kStart + 6s), "");
}

TEST_F(Facts, LevelsHaveTwoMarks) {
  auto told = report();
  const auto lag = [&](uint64_t bytes) {
    told.mutable_nodes(0)->mutable_standbys(0)->set_lag_bytes(bytes);
    facts.take(told, kStart);
    return rules();
  };
  EXPECT_EQ(lag(kNearAgainBytes + 1), "");
  EXPECT_EQ(lag(kBehindBytes + 1), "replica_behind@node/n2");
  EXPECT_EQ(lag(kNearAgainBytes + 1), "replica_behind@node/n2");
  EXPECT_EQ(lag(kNearAgainBytes), "");
  EXPECT_EQ(lag(kNearAgainBytes + 1), "");
  const auto disk = [&](uint64_t free_gb) {
    told.set_disk_free_gb(free_gb);
    facts.take(told, kStart);
    return rules();
  };
  EXPECT_EQ(disk(10), "");
  EXPECT_EQ(disk(9), "disk_near_full@host/host-a");
  EXPECT_EQ(disk(14), "disk_near_full@host/host-a");
  EXPECT_EQ(disk(15), "");
  EXPECT_EQ(disk(50), "") << "files are not counted";
  told.set_files(24'000);
  const auto files = [&](uint64_t free) {
    told.set_files_free(free);
    facts.take(told, kStart);
    return rules();
  };
  EXPECT_EQ(files(2'400), "");
  EXPECT_EQ(files(2'399), "disk_near_full@host/host-a");
  EXPECT_EQ(facts.wrong(book, kStart)[0].detail,
            "2399 of the 24000 files that its disk can hold are left");
  EXPECT_EQ(files(3'599), "disk_near_full@host/host-a");
  EXPECT_EQ(files(3'600), "");
}

TEST_F(Facts, TasksThatFailAgainAndAgain) {
  auto told = report();
  auto* role = told.mutable_nodes(0)->mutable_role();
  role->set_state(v1::TASK_STATE_FAILED);
  role->set_tries(kManyTries - 1);
  facts.take(told, kStart);
  EXPECT_EQ(rules(), "");
  role->set_tries(kManyTries);
  facts.take(told, kStart);
  EXPECT_EQ(rules(), "task_failing@node/n1");
  role->set_state(v1::TASK_STATE_IN_PROGRESS);
  facts.take(told, kStart);
  EXPECT_EQ(rules(), "");
}

TEST_F(Facts, ALeaseThatIsNotRenewed) {
  auto told = report();
  auto* node = told.mutable_nodes(0);
  node->set_lease_ms(kShortLeaseMs - 1);
  facts.take(told, kStart);
  EXPECT_EQ(rules(), "lease_near_expiry@node/n1");
  node->set_lease_term(0);  // a group of one node has none
  facts.take(told, kStart);
  EXPECT_EQ(rules(), "");
}

TEST_F(Facts, InstancesThatAreNotAtRest) {
  facts.take(instance("NEW"));
  EXPECT_EQ(rules(), "provisioning_overdue@instance/i1");
  facts.take(instance("ERROR"));
  EXPECT_EQ(rules(), "instance_failed@instance/i1");
  facts.take(instance("ACTIVE", R"(,"failover":{"kind":"failover","rule":"r","why":"w"})"));
  EXPECT_EQ(rules(), "failover_stuck@instance/i1");
  EXPECT_EQ(facts.wrong(book, kStart)[0].detail, "r: w");
  facts.take(instance("ACTIVE"));
  EXPECT_EQ(rules(), "");
  facts.take(instance("ERROR"));
  facts.forget({DocKind::instance, "i1"});
  EXPECT_EQ(rules(), "");
}

TEST_F(Facts, NodesThatShareAHostThoughAnotherOneHasNone) {
  const auto hear = [&](const char* name, const std::vector<std::string>& instances) {
    v1::HostReport told;
    told.set_host(name);
    for (const auto& id : instances) told.add_nodes()->set_instance_id(id);
    facts.take(told, kStart);
  };
  hear("host-a", {"i1", "i2", "i1"});
  hear("host-b", {"i1"});
  EXPECT_EQ(rules(), "") << "there is no third host";
  hear("host-c", {"i2"});
  EXPECT_EQ(rules(), "nodes_share_host@hosts");
  EXPECT_EQ(facts.wrong(book, kStart)[0].detail, "1 instance: i1 on host-a");
  Document c{{DocKind::host, "h3"}, "", kStart, "",
             R"({"name":"host-c","schedulable":false,"state":"DRAINING"})"};
  facts.take(c);
  EXPECT_EQ(rules(), "");
  c.json = R"({"name":"host-c","schedulable":true,"state":"IN_SERVICE"})";
  facts.take(c);
  EXPECT_EQ(rules(), "nodes_share_host@hosts");
  hear("host-a", {"i1", "i2"});
  EXPECT_EQ(rules(), "");
}

TEST_F(Facts, InstancesWhoseClientsCannotWrite) {
  facts.take(instance("ACTIVE", R"(,"writes":{"possible":true})"));
  EXPECT_EQ(rules(), "");
  for (const std::string why :
       {"disk_full", "host_disk_full", "files_full", "host_files_full", "no_sync_standby"}) {
    facts.take(instance("ACTIVE", R"(,"writes":{"possible":false,"since":"t","why":")" + why +
                                      R"("})"));
    EXPECT_EQ(rules(), "writes_stopped@instance/i1");
    EXPECT_TRUE(facts.wrong(book, kStart)[0].detail.starts_with(why + ": ")) << why;
  }
  facts.take(instance("ACTIVE", R"(,"writes":{"possible":false,"since":"t","why":"failover"})"));
  EXPECT_EQ(rules(), "") << "another alert is of that";
}

TEST_F(Facts, NodesAndHostsOfANewerLog) {
  auto told = report();
  told.mutable_nodes(0)->set_quarantined(true);
  facts.take(told, kStart);
  EXPECT_EQ(rules(), "orphan_nodes@node/n1");
  told.mutable_nodes(0)->set_quarantined(false);
  told.set_obeyed_position(101);
  facts.take(told, kStart);
  EXPECT_EQ(rules(), "") << "where the log is is not known yet";
  facts.take(LogFigures{100, 100, 100, 0, {}});
  EXPECT_EQ(rules(), "log_behind_hosts@log");
  facts.take(LogFigures{101, 101, 101, 0, {}});
  EXPECT_EQ(rules(), "");
}

TEST_F(Facts, TheLogAndItsReaders) {
  facts.take(LogFigures{100, 90, 100, 0, {}});
  EXPECT_EQ(rules(), "relay_behind@log");
  facts.take(LogFigures{100, 100, 99, 2, {}});
  EXPECT_EQ(rules(), "projection_behind@log poison_events@log");
  facts.take(LogFigures{100, 120, 120, 0, {}});  // the head is as of a moment ago
  EXPECT_EQ(rules(), "");
  facts.take(LogFigures{100, 100, 100, 0, {{"w1", "dead_letters", "it answers 400"}}});
  EXPECT_EQ(rules(), "delivery_stuck@webhook/w1");
  EXPECT_EQ(facts.wrong(book, kStart)[0].detail, "dead_letters: it answers 400");
}

}  // namespace
}  // namespace trunkline::lookup
