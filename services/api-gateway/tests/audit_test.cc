// Who sends a command, and who may read what was sent.
#include "api-gateway/tests/gateway_fixture.h"

namespace trunkline::gateway::testing {
namespace {

const std::string kPath = std::string("/v1/postgres/instances/") + kInstance;

class AuditTest : public GatewayTest {
 protected:
  // The one question of its kind that was asked.
  std::optional<v1::ListAudit> asked() {
    for (const v1::Query& query : peer_->queries()) {
      if (query.has_list_audit()) return query.list_audit();
    }
    return std::nullopt;
  }
};

TEST_F(AuditTest, ACommandSaysWhereItComesFrom) {
  accept_commands();
  const auto done = ask("PUT", kPath, "member", {{"description", "x"}},
                        {{"User-Agent", "tests/1"}, {"X-Forwarded-For", "198.51.100.1"}});
  ASSERT_EQ(done.status, 200) << done.body;
  ASSERT_EQ(ask("POST", kPath + "/switchover", "admin").status, 200);
  const auto commands = peer_->commands();
  ASSERT_EQ(commands.size(), 2u);
  EXPECT_EQ(commands[0].origin().role(), "member");
  EXPECT_EQ(commands[0].origin().project_id(), kProject);
  EXPECT_EQ(commands[0].origin().client_address(), "127.0.0.1");
  EXPECT_EQ(commands[0].origin().user_agent(), "tests/1");
  EXPECT_EQ(commands[1].origin().role(), "admin");
  EXPECT_EQ(commands[1].origin().project_id(), kProject);
}

TEST_F(AuditTest, TheFiltersAreThoseOfTheQuery) {
  const std::string project = kProject, token = "AAAAAAAA-0000-4000-8000-000000000001";
  peer_->on_query([](const v1::Query&) {
    v1::QueryAnswer answer;
    answer.add_json(R"({"outcome":"rejected"})");
    answer.set_next_marker("5.x");
    return answer;
  });
  const auto page = ask("GET",
                        "/v1/audit?project=" + project + "&actor=" + token +
                            "&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00%2B00:00"
                            "&outcome=rejected&page_limit=7&page_marker=9.y",
                        "member");
  ASSERT_EQ(page.status, 200) << page.body;
  EXPECT_EQ(page.body, R"([{"outcome":"rejected"}])");
  EXPECT_EQ(page.headers.at("x-pagination-marker"), "5.x");
  const auto wish = asked();
  ASSERT_TRUE(wish);
  EXPECT_EQ(wish->project_id(), project);
  EXPECT_EQ(wish->actor(), "token:aaaaaaaa-0000-4000-8000-000000000001");
  EXPECT_EQ(wish->outcome(), "rejected");
  EXPECT_EQ(wish->from_unix_us(), 1'767'225'600'000'000);
  EXPECT_EQ(wish->to_unix_us(), 1'767'312'000'000'000);
  EXPECT_EQ(wish->limit(), 7u);
  EXPECT_EQ(wish->marker(), "9.y");
}

TEST_F(AuditTest, WhoMayAskForWhat) {
  struct Row {
    std::string query;
    const char* token;
    int status;
  };
  const std::string own = std::string("?project=") + kProject;
  const std::string other = std::string("?project=") + kOther;
  const Row rows[] = {
      {"", "member", 200},          {"", "reader", 200},
      {"", "admin", 200},           {own, "member", 200},
      {other, "admin", 200},        {other, "member", 403},
      {other, "reader", 403},       {"", "nobody", 401},
      {"?project=x", "admin", 400}, {"?outcome=good", "admin", 400},
      {"?from=today", "admin", 400}, {"?to=1", "admin", 400},
      {"?actor=", "admin", 400},    {"?page_limit=0", "admin", 400},
      {"?page_marker=", "admin", 400}, {"?instance=x", "admin", 400},
  };
  for (const Row& row : rows) {
    const auto response = ask("GET", "/v1/audit" + row.query, row.token);
    EXPECT_EQ(response.status, row.status) << row.token << " " << row.query << response.body;
  }
  for (const v1::Query& query : peer_->queries()) {
    if (!query.has_list_audit() || query.scope().all_projects()) continue;
    EXPECT_EQ(query.scope().project_id(), kProject);
  }
}

}  // namespace
}  // namespace trunkline::gateway::testing
