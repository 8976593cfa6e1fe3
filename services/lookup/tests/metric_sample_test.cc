// Statistics as values, as JSON, as Prometheus' text and as findings.
#include "lookup/domain/metric_sample.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lookup/domain/fleet_document.h"
#include "lookup/domain/instance_metrics.h"

namespace trunkline::lookup {
namespace {

using nlohmann::json;

v1::NodeStats stats(uint64_t cpu_ms, uint64_t commits) {
  v1::NodeStats out;
  out.mutable_counters()->set_epoch("e");
  out.mutable_counters()->set_cpu_ms(cpu_ms);
  out.mutable_counters()->set_used_mb(100);
  auto& server = *out.mutable_server();
  server.set_primary(true);
  server.set_connections_max(100);
  server.set_connections_active(2);
  server.set_connections_idle(3);
  auto& database = *server.add_databases();
  database.set_database_id("d");
  database.set_name("sh\"op");
  database.set_commits(commits);
  database.set_size_bytes(4096);
  database.set_blocks_hit(commits * 9);
  database.set_blocks_read(commits);
  return out;
}

std::optional<double> value(const MetricValues& values, std::string_view name) {
  const auto metrics = node_metrics();
  for (size_t i = 0; i < metrics.size(); ++i) {
    if (metrics[i].name == name) return values.at(i);
  }
  ADD_FAILURE() << name;
  return std::nullopt;
}

TEST(MetricSample, RatesAreOfTheTimeBetweenTwoSamples) {
  const auto before = stats(1000, 100);
  const auto now = stats(6000, 300);
  const MetricValues values = node_values(now, &before, 10'000);
  ASSERT_EQ(values.size(), node_metrics().size());
  EXPECT_EQ(value(values, "cpu_cores"), 0.5);
  EXPECT_EQ(value(values, "transactions_per_second"), 20);
  EXPECT_EQ(value(values, "connections"), 5);
  EXPECT_EQ(value(values, "disk_used_bytes"), 100.0 * 1024 * 1024);
  EXPECT_EQ(database_values(now.server().databases(0), &before.server().databases(0), 10'000)
                .size(),
            database_metrics().size());
}

TEST(MetricSample, AFirstSampleHasNoRatesAndOneWithoutServerNoneOfItsOwn) {
  MetricValues values = node_values(stats(1000, 100), nullptr, 0);
  EXPECT_EQ(value(values, "cpu_cores"), std::nullopt);
  EXPECT_EQ(value(values, "transactions_per_second"), std::nullopt);
  EXPECT_EQ(value(values, "connections"), 5);
  const auto before = stats(1000, 100);
  auto silent = stats(2000, 0);
  silent.clear_server();
  values = node_values(silent, &before, 1000);
  EXPECT_EQ(value(values, "connections"), std::nullopt);
  EXPECT_EQ(value(values, "transactions_per_second"), std::nullopt);
  EXPECT_EQ(value(values, "cpu_cores"), 1);
}

TEST(MetricSample, WhatBeganAnewHasGrownByWhatItShows) {
  const auto before = stats(1000, 1000);
  EXPECT_EQ(value(node_values(stats(1500, 50), &before, 10'000), "transactions_per_second"), 5);
  auto other_epoch = stats(500, 1100);
  other_epoch.mutable_counters()->set_epoch("f");
  EXPECT_EQ(value(node_values(other_epoch, &before, 10'000), "cpu_cores"), std::nullopt);
}

TEST(MetricSample, HitRatio) {
  EXPECT_EQ(hit_ratio(9, 1), 0.9);
  EXPECT_EQ(hit_ratio(0, 0), std::nullopt);
  EXPECT_EQ(hit_ratio(std::nullopt, 1), std::nullopt);
}

ShownInstance instance_of(const v1::NodeStats& primary) {
  ShownInstance out{"i", "na\"me", "ACTIVE", 10, 512, 1, {}};
  out.nodes.push_back({"n1", "host-a", "primary", true, TimePoint(), primary,
                       node_values(primary, nullptr, 0)});
  out.nodes.push_back({"n2", "host-b", "standby"});
  return out;
}

TEST(InstanceMetrics, AreJson) {
  const MetricValues values = node_values(stats(1, 1), nullptr, 0);
  const json out = json::parse(instance_metrics_json(
      instance_of(stats(1, 10)), {0, 20'000, 10'000}, {{"n1", {{0, values}, {10'000, values}}}}));
  EXPECT_EQ(out["name"], "na\"me");
  EXPECT_EQ(out["now"]["nodes"].size(), 2u);
  EXPECT_EQ(out["now"]["nodes"][0]["connections"], 5);
  EXPECT_EQ(out["now"]["nodes"][1]["answers"], false);
  EXPECT_EQ(out["now"]["databases"][0]["name"], "sh\"op");
  EXPECT_EQ(out["now"]["databases"][0]["cache_hit_ratio"], 0.9);
  EXPECT_EQ(out["history"]["nodes"][0]["times"], json({0, 10}));
  EXPECT_EQ(out["history"]["nodes"][0]["connections"], json({5, 5}));
  EXPECT_TRUE(out["history"]["nodes"][0]["cpu_cores"][0].is_null());
}

TEST(InstanceMetrics, AreTextForPrometheus) {
  const std::string text = instance_metrics_text(instance_of(stats(2500, 10)), TimePoint());
  const auto has = [&](const std::string& line) {
    return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(has("trunkline_postgres_up{node=\"n1\",host=\"host-a\",role=\"primary\"} 1")) << text;
  EXPECT_TRUE(has("trunkline_postgres_up{node=\"n2\",host=\"host-b\",role=\"standby\"} 0")) << text;
  EXPECT_TRUE(has("trunkline_postgres_cpu_seconds_total{node=\"n1\",role=\"primary\"} 2.5"));
  EXPECT_TRUE(has("trunkline_postgres_database_commits_total{node=\"n1\",role=\"primary\","
                  "database=\"sh\\\"op\"} 10"))
      << text;
  EXPECT_EQ(text.find("null"), std::string::npos);
}

TEST(DatabaseReport, FindingsAreRules) {
  const auto rules = [](const v1::NodeStats& primary, const char* database, TimePoint now) {
    std::vector<std::string> out;
    for (const auto& finding : database_findings(instance_of(primary), database, now)) {
      out.push_back(finding.rule);
    }
    return out;
  };
  const auto later = TimePoint() + std::chrono::minutes(2);
  using Rules = std::vector<std::string>;
  EXPECT_EQ(rules(stats(1, 1), "d", TimePoint()), Rules{});
  EXPECT_EQ(rules(stats(1, 1), "d", later), Rules{"measurement_old"});
  EXPECT_EQ(rules(stats(1, 1), "other", TimePoint()), Rules{"database_not_measured"});
  auto busy = stats(1, 1);
  busy.mutable_server()->set_connections_active(96);
  busy.mutable_server()->set_locks_not_granted(1);
  busy.mutable_server()->set_longest_transaction_ms(3'600'000);
  busy.mutable_counters()->set_used_mb(9'900);
  EXPECT_EQ(rules(busy, "d", TimePoint()), (Rules{"connections_near_limit", "disk_near_full",
                                                  "long_transaction", "locks_waited_for"}));
  auto silent = stats(1, 1);
  silent.clear_server();
  EXPECT_EQ(rules(silent, "d", TimePoint()), Rules{"primary_not_measured"});
}

TEST(DatabaseReport, IsJson) {
  const auto primary = stats(1, 10);
  const json out = json::parse(database_report_json(instance_of(primary), {"d", "sh\"op", ""},
                                                    {0, 60'000, 60'000}, {}, TimePoint()));
  EXPECT_EQ(out["health"]["status"], "GOOD");
  EXPECT_EQ(out["now"]["size_bytes"], 4096);
  EXPECT_EQ(out["history"]["times"], json::array());
}

TEST(FleetDocument, CountsAndAlerts) {
  Fleet fleet;
  fleet.hosts.push_back({"host-a", "{\"name\":\"host-a\"}", true, true, TimePoint(), 0.5, 1000, 20,
                         1.5, 100, 5});
  fleet.hosts.push_back({"host-b", "{}"});
  fleet.instances.push_back({instance_of(stats(1, 1)), "p", "v", ""});
  fleet.webhooks = {{"w-1", "dead_letters", "it answers 400"}, {"w-2", "receiver_away", "no"}};
  fleet.by_status = {{"ACTIVE", 3}};
  const json out = json::parse(fleet_json(fleet, TimePoint()));
  EXPECT_EQ(out["instances"]["total"], 3);
  EXPECT_EQ(out["instances"]["not_shown"], 2);
  EXPECT_EQ(out["hosts"][0]["cpu_cores_busy"], 0.5);
  std::vector<std::string> rules;
  for (const auto& alert : out["alerts"]) rules.push_back(alert["rule"]);
  EXPECT_EQ(rules, (std::vector<std::string>{"host_disk_near_full", "host_memory_short",
                                             "host_silent", "webhook_dead_letters",
                                             "webhook_receiver_away"}));
  EXPECT_EQ(out["alerts"][3]["subject"], "webhook/w-1");
}

}  // namespace
}  // namespace trunkline::lookup
