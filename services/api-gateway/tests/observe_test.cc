// How instances fare: parameters, forms, and the page for people.
#include "api-gateway/domain/observe.h"

#include <gtest/gtest.h>

#include <chrono>

namespace trunkline::gateway {
namespace {

constexpr char kUuid[] = "11111111-1111-4111-8111-111111111111";
constexpr char kOther[] = "22222222-2222-4222-8222-222222222222";

Outcome<Plan> plan_of(const std::vector<std::string>& path, const QueryParameters& parameters,
                      const std::string& accept = "") {
  const auto matched = match_route("GET", path);
  const auto& match = std::get<RouteMatch>(matched);
  HttpRequest request;
  if (!accept.empty()) request.headers.emplace_back("accept", accept);
  Caller caller;
  caller.role = CallerRole::reader;
  caller.project_id = kOther;
  return plan_observe(match, request, parameters, caller);
}
const std::vector<std::string> kMetrics = {"v1", "postgres", "instances", kUuid, "metrics"};
const std::vector<std::string> kReport = {"v1",   "postgres",  "instances", kUuid,
                                          "databases", kOther, "report"};

TEST(Observe, AsksWithinTheCallersProject) {
  for (const auto& path : {kMetrics, kReport,
                           std::vector<std::string>{"v1", "types", "postgres", "instances", kUuid,
                                                    "prometheus"}}) {
    const auto plan = plan_of(path, {});
    ASSERT_TRUE(plan);
    const v1::Query& query = std::get<ReadOne>(*plan).query;
    EXPECT_FALSE(query.scope().all_projects());
    EXPECT_EQ(query.scope().project_id(), kOther);
  }
}

TEST(Observe, TimesAndSteps) {
  const struct {
    const char* key;
    const char* value;
    const char* rule;  // "": fine
    int64_t step_ms;
  } rows[] = {
      {"step", "60", "", 60'000},      {"step", "5m", "", 300'000},
      {"step", "1d", "", 86'400'000},  {"step", "0", "bad_step", 0},
      {"step", "", "bad_step", 0},     {"step", "-1", "bad_step", 0},
      {"step", "5x", "bad_step", 0},   {"step", "99999999", "bad_step", 0},
      {"from", "then", "bad_from", 0}, {"to", "2026-13-01T00:00:00Z", "bad_to", 0},
      {"form", "x", "unknown_parameter", 0},
  };
  for (const auto& row : rows) {
    const auto plan = plan_of(kMetrics, {{row.key, row.value}});
    if (row.rule[0] == '\0') {
      ASSERT_TRUE(plan) << row.value;
      EXPECT_EQ(std::get<ReadOne>(*plan).query.get_metrics().step_ms(), row.step_ms);
    } else {
      ASSERT_FALSE(plan) << row.value;
      EXPECT_EQ(plan.problem().code, 400);
      EXPECT_EQ(plan.problem().type, row.rule);
    }
  }
  const auto plan = plan_of(kReport, {{"from", "2026-11-21T10:00:00+01:00"},
                                      {"to", "2026-11-21T10:00:00Z"}});
  ASSERT_TRUE(plan);
  const auto& wish = std::get<ReadOne>(*plan).query.get_database_report();
  EXPECT_EQ(wish.to_unix_ms() - wish.from_unix_ms(), 3'600'000);
  EXPECT_EQ(wish.database_id(), kOther);
  EXPECT_EQ(wish.instance_id(), kUuid);
}

TEST(Observe, AReportIsAPageForWhoWantsOne) {
  const struct {
    const char* accept;
    bool page;
  } rows[] = {
      {"", false},
      {"*/*", false},
      {"application/json", false},
      {"text/html", true},
      {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
      {"application/json, text/html;q=0.5", false},
  };
  for (const auto& row : rows) {
    const auto plan = plan_of(kReport, {}, row.accept);
    ASSERT_TRUE(plan);
    EXPECT_EQ(std::get<ReadOne>(*plan).form == ReadOne::Form::report_page, row.page) << row.accept;
  }
}

TEST(ReportPage, ShowsChartsAndEscapesWhatTenantsWrote) {
  const std::string page = report_page(R"json({
    "name": "<script>alert('x')</script>", "instance_name": "a&b", "instance_status": "ACTIVE",
    "made_at": "2026-11-21T10:00:00Z",
    "health": {"status": "FAIR", "findings": [
      {"severity": "notice", "rule": "x", "text": "<b>locks</b>"}]},
    "now": {"size_bytes": 7340032, "cache_hit_ratio": 0.995},
    "nodes": [{"host": "host-a", "role": "primary", "answers": true, "connections": 3}],
    "history": {"from": "a", "to": "b", "times": [0, 60, 120, 180],
                "transactions_per_second": [1, null, 3, 4]},
    "slow_statements": [{"query": "select '<img src=x>'", "calls": 2, "mean_ms": 1.5}]})json");
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("<b>locks"), std::string::npos);
  EXPECT_NE(page.find("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), std::string::npos);
  EXPECT_NE(page.find("a&amp;b"), std::string::npos);
  EXPECT_NE(page.find("7 MiB"), std::string::npos);
  EXPECT_NE(page.find("99.50 %"), std::string::npos);
  // A gap where nothing is known: the line begins anew.
  const size_t line = page.find("<path d=\"M");
  ASSERT_NE(line, std::string::npos);
  const std::string path = page.substr(line, page.find("/>", line) - line);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2) << path;
  for (const char* outside : {"http://", "https://", "href=", "url("}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
}

TEST(ReportPage, IsEmptyForWhatIsNoReport) { EXPECT_EQ(report_page("nonsense"), ""); }

}  // namespace
}  // namespace trunkline::gateway
