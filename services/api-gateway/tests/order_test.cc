// Orders that are no change of a field, and the story of failovers.
#include "api-gateway/tests/gateway_fixture.h"

namespace trunkline::gateway::testing {
namespace {

constexpr char kHost[] = "66666666-6666-4666-8666-666666666666";
constexpr char kNode[] = "77777777-7777-4777-8777-777777777777";
const std::string kInstancePath = std::string("/v1/postgres/instances/") + kInstance;
const std::string kHostPath = std::string("/v1/hosts/") + kHost;

class OrderTest : public GatewayTest {
 protected:
  void SetUp() override {
    GatewayTest::SetUp();
    peer_->put(v1::KIND_HOST, kHost, json{{"uuid", kHost}, {"state", "DRAINING"}}.dump(), "none");
    accept_commands();
  }
};

// Each row is one fact away from one that is done.
TEST_F(OrderTest, WhoMayOrderWhatWithWhichBody) {
  const std::string node = kNode;
  struct Row {
    std::string path;
    const char* token;
    json body;
    int status;
    const char* type;
  };
  const std::string switchover = kInstancePath + "/switchover";
  const std::string failover = kInstancePath + "/failover";
  const std::string drain = kHostPath + "/drain", lost = kHostPath + "/lost";
  const std::string orphan = kHostPath + "/remove-orphan";
  const std::string nobody = "/v1/postgres/instances/" + node + "/switchover";
  const Row rows[] = {
      {switchover, "member", nullptr, 200, ""},
      {"/v1/types" + switchover.substr(3) + "/", "member", nullptr, 200, ""},
      {switchover, "admin", json::object(), 200, ""},
      {switchover, "member", {{"target", node}}, 200, ""},
      {switchover, "reader", nullptr, 403, "forbidden"},
      {switchover, "stranger", nullptr, 404, "not_found"},
      {switchover, "nobody", nullptr, 401, "unauthorized"},
      {nobody, "member", nullptr, 404, "not_found"},
      {switchover, "member", {{"target", "b"}}, 400, "bad_uuid"},
      {switchover, "member", {{"target", 1}}, 400, "bad_type"},
      {switchover, "member", {{"target", nullptr}}, 400, "bad_type"},
      {switchover, "member", {{"to", node}}, 400, "unknown_field"},
      {switchover, "member", {{"accept_data_loss", true}}, 400, "unknown_field"},
      {switchover, "member", json::array(), 400, "bad_json"},
      {switchover + "?force=1", "member", nullptr, 400, "unknown_parameter"},
      {failover, "admin", {{"accept_data_loss", true}}, 200, ""},
      {failover, "admin", {{"accept_data_loss", true}, {"target", node}}, 200, ""},
      {failover, "admin", {{"accept_data_loss", false}}, 200, ""},
      {failover, "member", {{"accept_data_loss", true}}, 403, "forbidden"},
      {failover, "admin", nullptr, 400, "accept_data_loss_missing"},
      {failover, "admin", {{"accept_data_loss", "true"}}, 400, "bad_type"},
      {drain, "admin", nullptr, 200, ""},
      {drain, "admin", json::object(), 200, ""},
      {drain, "member", nullptr, 403, "forbidden"},
      {drain, "admin", {{"x", 1}}, 400, "unknown_field"},
      {lost, "admin", nullptr, 200, ""},
      {lost, "reader", nullptr, 403, "forbidden"},
      {"/v1/hosts/" + node + "/lost", "admin", nullptr, 404, "not_found"},
      {orphan, "admin", {{"node", node}}, 200, ""},
      {orphan, "admin", nullptr, 400, "node_missing"},
      {orphan, "admin", {{"node", "n"}}, 400, "bad_uuid"},
      {orphan, "member", {{"node", node}}, 403, "forbidden"},
  };
  for (const Row& row : rows) {
    const auto response = ask("POST", row.path, row.token, row.body);
    EXPECT_EQ(response.status, row.status) << row.path << " " << row.body << response.body;
    EXPECT_EQ(type_of(response), row.type) << row.path << " " << row.body;
  }
  EXPECT_EQ(ask("GET", switchover, "member").status, 405);
}

TEST_F(OrderTest, GoToTheServiceThatOwnsWhatIsOrdered) {
  const auto last = [&] { return peer_->commands().back(); };
  EXPECT_EQ(json::parse(ask("POST", kInstancePath + "/switchover", "member").body)["name"], "one");
  EXPECT_EQ(peer_->takers().back(), "replication");
  EXPECT_EQ(last().aggregate_id(), kInstance);
  EXPECT_EQ(last().actor(), "token:" + uuid_from_name("member" + std::string(kProject)));
  EXPECT_TRUE(last().group().has_request_switchover());
  EXPECT_EQ(last().group().request_switchover().target_id(), "");
  ask("POST", kInstancePath + "/switchover", "member", {{"target", kNode}});
  EXPECT_EQ(last().group().request_switchover().target_id(), kNode);
  ask("POST", kInstancePath + "/failover", "admin", {{"accept_data_loss", true}});
  EXPECT_EQ(peer_->takers().back(), "replication");
  EXPECT_TRUE(last().group().request_failover().accept_data_loss());
  ask("POST", kInstancePath + "/failover", "admin", {{"accept_data_loss", false}});
  EXPECT_FALSE(last().group().request_failover().accept_data_loss());
  EXPECT_EQ(json::parse(ask("POST", kHostPath + "/drain", "admin").body)["state"], "DRAINING");
  EXPECT_EQ(peer_->takers().back(), "provisioner");
  EXPECT_EQ(last().aggregate_id(), kHost);
  EXPECT_TRUE(last().host().has_drain_host());
  ask("POST", kHostPath + "/lost", "admin");
  EXPECT_TRUE(last().host().has_declare_host_lost());
}

TEST_F(OrderTest, AreRefusedByRule) {
  peer_->on_command([](const v1::Command& command) {
    return rejected(command, "failover_under_way", v1::BLAME_CONFLICT);
  });
  const auto response = ask("POST", kInstancePath + "/switchover", "member");
  EXPECT_EQ(response.status, 409);
  EXPECT_EQ(type_of(response), "failover_under_way");
}

TEST_F(OrderTest, WithTheSameKeyAreTheSameCommand) {
  const std::map<std::string, std::string> key{{"idempotency-key", "once"}};
  ask("POST", kInstancePath + "/switchover", "member", nullptr, key);
  ask("POST", kInstancePath + "/switchover", "member", nullptr, key);
  const auto commands = peer_->commands();
  ASSERT_EQ(commands.size(), 2u);
  EXPECT_EQ(commands[0].command_id(), commands[1].command_id());
}

TEST_F(OrderTest, FailoversAreAskedForWithinTheProject) {
  peer_->on_query([](const v1::Query& query) -> std::optional<v1::QueryAnswer> {
    v1::QueryAnswer answer;
    const bool own = query.scope().all_projects() || query.scope().project_id() == kProject;
    if (!own || query.list_failovers().instance_id() != kInstance) {
      answer.set_status(v1::QUERY_STATUS_NOT_FOUND);
    } else {
      answer.add_json(json{{"term", query.list_failovers().limit()}}.dump());
    }
    return answer;
  });
  const std::string path = kInstancePath + "/failovers";
  EXPECT_EQ(ask("GET", path, "reader").body, R"([{"term":1000}])");
  EXPECT_EQ(ask("GET", path + "?page_limit=3", "member").body, R"([{"term":3}])");
  EXPECT_EQ(ask("GET", path, "stranger").status, 404);
  EXPECT_EQ(ask("GET", path + "?page_marker=3", "member").status, 400);
  EXPECT_EQ(ask("POST", path, "member").status, 405);
}

// Replication knows no projects: what is another's is not asked of it.
TEST_F(OrderTest, DecisionsAreReplayedWithinTheProject) {
  int replays = 0;
  peer_->on_query([&](const v1::Query& query) -> std::optional<v1::QueryAnswer> {
    v1::QueryAnswer answer;
    const bool own = query.scope().all_projects() || query.scope().project_id() == kProject;
    if (query.has_list_events() && own && query.list_events().instance_id() == kInstance) {
      answer.add_json("{}");
    } else if (query.has_replay_failovers() && query.replay_failovers().position() != 404) {
      ++replays;
      const auto& asked = query.replay_failovers();
      answer.add_json(json{{"limit", asked.limit()},
                           {"before", asked.before_position()},
                           {"position", asked.position()},
                           {"own", asked.instance_id() == kInstance}}.dump());
      answer.set_next_marker("17");
    } else {
      answer.set_status(v1::QUERY_STATUS_NOT_FOUND);
    }
    return answer;
  });
  const std::string path = kInstancePath + "/failovers/replay";
  for (const char* who : {"reader", "member", "admin"}) {
    const auto response = ask("GET", path, who);
    EXPECT_EQ(response.body, R"([{"before":0,"limit":1000,"own":true,"position":0}])") << who;
    EXPECT_EQ(response.headers.at("x-pagination-marker"), "17");
  }
  EXPECT_EQ(ask("GET", path + "?position=12&page_limit=3&page_marker=40", "member").body,
            R"([{"before":40,"limit":3,"own":true,"position":12}])");
  EXPECT_EQ(replays, 4);
  EXPECT_EQ(ask("GET", path, "stranger").status, 404);
  EXPECT_EQ(ask("GET", path, "nobody").status, 401);
  EXPECT_EQ(ask("GET", std::string("/v1/postgres/instances/") + kNode + "/failovers/replay",
                "admin").status, 404);
  const auto none = ask("GET", path + "?position=404", "member");
  EXPECT_EQ(none.status, 404);
  EXPECT_NE(none.body.find("position 404"), std::string::npos) << none.body;
  for (const char* bad : {"?position=x", "?position=0", "?position=-1", "?page_marker=x", "?x=1"}) {
    EXPECT_EQ(ask("GET", path + bad, "member").status, 400) << bad;
  }
  EXPECT_EQ(ask("POST", path, "member").status, 405);
  EXPECT_EQ(replays, 4);
}

}  // namespace
}  // namespace trunkline::gateway::testing
