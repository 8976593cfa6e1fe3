// Tokens, routes and reading.
#include <future>

#include "api-gateway/tests/gateway_fixture.h"

namespace trunkline::gateway::testing {
namespace {

TEST_F(GatewayTest, OpenRoutesNeedNoToken) {
  EXPECT_EQ(ask("GET", "/healthz", "").status, 200);
  EXPECT_EQ(ask("GET", "/readyz", "").status, 200);
  EXPECT_EQ(json::parse(ask("GET", "/openapi.json", "").body)["openapi"], "3.0.3");
  const auto docs = ask("GET", "/docs", "");
  EXPECT_EQ(docs.status, 200);
  EXPECT_NE(docs.body.find("swagger_ui_dir"), std::string::npos) << "it says what is missing";
  EXPECT_EQ(ask("GET", "/docs/..%2f..%2fetc%2fpasswd", "").status, 404);
}

TEST_F(GatewayTest, TokenTruthTable) {
  struct Row {
    const char* method;
    const char* path;
    const char* token;
    int status;
  };
  const std::string instance = std::string("/v1/postgres/instances/") + kInstance;
  const std::string version = std::string("/v1/postgres/versions/") + kVersion;
  const Row rows[] = {
      {"GET", instance.c_str(), "", 401},
      {"GET", instance.c_str(), "unknown", 401},
      {"GET", instance.c_str(), "admin", 200},
      {"GET", instance.c_str(), "member", 200},
      {"GET", instance.c_str(), "reader", 200},
      {"GET", instance.c_str(), "stranger", 404},
      {"DELETE", instance.c_str(), "reader", 403},
      {"DELETE", instance.c_str(), "stranger", 404},
      {"GET", version.c_str(), "reader", 200},
      {"DELETE", version.c_str(), "member", 403},
      {"GET", "/v1/hosts", "member", 403},
      {"GET", "/v1/hosts", "admin", 200},
      {"GET", "/v1/tokens", "member", 403},
      {"POST", "/v1/admin/read-model/rebuild", "member", 403},
      {"POST", "/v1/admin/read-model/nonsense", "admin", 404},
  };
  for (const Row& row : rows) {
    const auto response = ask(row.method, row.path, row.token);
    EXPECT_EQ(response.status, row.status) << row.method << " " << row.path << " " << row.token;
    if (row.status == 401) {
      EXPECT_TRUE(response.headers.contains("www-authenticate"));
    }
  }
}

TEST_F(GatewayTest, AuthorizationHeaderForms) {
  const std::string path = std::string("/v1/postgres/instances/") + kInstance;
  const std::pair<const char*, int> rows[] = {
      {"Bearer member", 200}, {"bearer member", 200},   {"Bearer  member", 200},
      {"Basic member", 401},  {"Bearer", 401},          {"Bearer ", 401},
      {"member", 401},        {"Bearer member x", 401}, {"Bearermember", 401}};
  for (const auto& [value, status] : rows) {
    EXPECT_EQ(ask("GET", path, "", nullptr, {{"Authorization", value}}).status, status) << value;
  }
}

TEST_F(GatewayTest, ARevokedTokenIsForgottenWithItsEvent) {
  const std::string path = std::string("/v1/postgres/instances/") + kInstance;
  ASSERT_EQ(ask("GET", path, "member").status, 200);
  peer_->remove_token("member");
  EXPECT_EQ(ask("GET", path, "member").status, 200) << "cached";
  peer_->bus().publish("tl.evt.token.a0000000-0000-4000-8000-000000000002", "");
  int status = 0;
  for (int i = 0; i < 500 && status != 401; ++i) status = ask("GET", path, "member").status;
  EXPECT_EQ(status, 401);
}

TEST_F(GatewayTest, ARevokedTokenIsRefusedAtOnce) {
  const std::string path = std::string("/v1/postgres/instances/") + kInstance;
  const std::string id = uuid_from_name(std::string("member") + kProject);
  peer_->put(v1::KIND_TOKEN, id, token("member", kProject));
  peer_->on_command([](const v1::Command& command) { return accepted(command, 7); });
  ASSERT_EQ(ask("GET", path, "member").status, 200);
  ASSERT_EQ(ask("DELETE", "/v1/tokens/" + id, "admin").status, 204);
  peer_->remove_token("member");
  EXPECT_EQ(ask("GET", path, "member").status, 401) << "its event has not come yet";
  const auto asked = peer_->queries();
  const auto last = std::find_if(asked.rbegin(), asked.rend(),
                                 [](const v1::Query& query) { return query.has_find_token(); });
  ASSERT_NE(last, asked.rend());
  EXPECT_EQ(last->min_position(), 7u) << "an older answer would let it in";
}

TEST_F(GatewayTest, ATokenCannotRevokeItself) {
  const std::string own = "a0000000-0000-4000-8000-000000000001";
  peer_->put(v1::KIND_TOKEN, own, R"({"uuid":"a0000000-0000-4000-8000-000000000001"})");
  accept_commands();
  const auto refused = ask("DELETE", "/v1/tokens/" + own, "admin");
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(type_of(refused), "token_in_use");
  peer_->put_token("second", R"({"uuid":"a0000000-0000-4000-8000-000000000002","role":"admin"})");
  EXPECT_EQ(ask("DELETE", "/v1/tokens/" + own, "second").status, 204);
}

TEST_F(GatewayTest, AnExpiredTokenIsUnknown) {
  json document = json::parse(token("member", kProject));
  document["expires_at"] = "2001-01-01T00:00:00Z";
  peer_->put_token("old", document.dump());
  document["expires_at"] = "2999-01-01T00:00:00Z";
  peer_->put_token("young", document.dump());
  const std::string path = std::string("/v1/postgres/instances/") + kInstance;
  EXPECT_EQ(ask("GET", path, "old").status, 401);
  EXPECT_EQ(ask("GET", path, "young").status, 200);
}


TEST_F(GatewayTest, BothBasesWithAndWithoutSlash) {
  for (const char* base : {"/v1/postgres", "/v1/types/postgres"}) {
    for (const char* slash : {"", "/"}) {
      const std::string path = std::string(base) + "/instances/" + kInstance + slash;
      EXPECT_EQ(ask("GET", path, "member").status, 200) << path;
    }
  }
  std::string upper = kInstance;
  EXPECT_EQ(ask("GET", "/v1/postgres/instances/not-a-uuid", "member").status, 400);
  EXPECT_EQ(ask("GET", "/v1/postgres/nothing", "member").status, 404);
  EXPECT_EQ(ask("GET", "/v1/types/hosts", "admin").status, 404);
  const auto wrong = ask("PATCH", "/v1/postgres/instances", "member");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST, GET, HEAD");
}

TEST_F(GatewayTest, HeadIsGetWithoutBody) {
  TestClient client(port());
  TestRequest request{"HEAD", std::string("/v1/postgres/instances/") + kInstance, "", "member", {}};
  client.send(to_bytes(request));
  const auto head = client.read(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_NE(head.headers.at("content-length"), "0");
  request.method = "GET";
  client.send(to_bytes(request));
  EXPECT_EQ(client.read().body, instance_document().dump());
}


TEST_F(GatewayTest, ListAsksAsWishedAndPages) {
  v1::ListResources asked;
  peer_->on_query([&](const v1::Query& query) {
    asked = query.list_resources();
    v1::QueryAnswer answer;
    answer.add_json(R"({"uuid":"x","name":"a","cpu":1})");
    answer.add_json(R"({"uuid":"y","name":"b","cpu":2})");
    answer.set_next_marker("44444444-4444-4444-8444-444444444444");
    return answer;
  });
  const auto response = ask("GET",
                            "/v1/postgres/instances?name=a&name=b&cpu=2&sort_key=name&sort_dir=desc"
                            "&page_limit=2&page_marker=" + std::string(kInstance) +
                                "&fields=uuid,cpu",
                            "member");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"([{"uuid":"x","cpu":1},{"uuid":"y","cpu":2}])");
  EXPECT_EQ(response.headers.at("x-pagination-limit"), "2");
  EXPECT_EQ(response.headers.at("x-pagination-marker"), kInstance);
  ASSERT_EQ(asked.filters_size(), 2);
  EXPECT_EQ(asked.filters(0).any_of_size(), 2);
  EXPECT_EQ(asked.filters(1).any_of(0), "2");
  EXPECT_EQ(asked.sort_key(), "name");
  EXPECT_TRUE(asked.descending());
  EXPECT_EQ(asked.limit(), 2u);
  EXPECT_EQ(asked.marker(), kInstance);
}

TEST_F(GatewayTest, VersionsAreWrapped) {
  const auto body = json::parse(ask("GET", "/v1/postgres/versions", "member").body);
  EXPECT_EQ(body["versions"].size(), 1u);
}

TEST_F(GatewayTest, AListBelowAnotherProjectsInstanceIsNotThere) {
  const std::string path = std::string("/v1/postgres/instances/") + kInstance + "/users";
  EXPECT_EQ(ask("GET", path, "stranger").status, 404);
  EXPECT_EQ(ask("GET", path, "member").body, "[]");
}

TEST_F(GatewayTest, HistoryIsPagedByPosition) {
  v1::ListEvents asked;
  peer_->on_query([&](const v1::Query& query) {
    asked = query.list_events();
    v1::QueryAnswer answer;
    answer.add_json(R"({"position":8})");
    answer.set_next_marker("8");
    return answer;
  });
  const auto response = ask(
      "GET",
      std::string("/v1/postgres/instances/") + kInstance + "/events?page_limit=1&page_marker=7",
      "member");
  EXPECT_EQ(response.body, R"([{"position":8}])");
  EXPECT_EQ(response.headers.at("x-pagination-marker"), "8");
  EXPECT_EQ(asked.after_position(), 7);
}

TEST_F(GatewayTest, AtIsTimeOrPosition) {
  v1::GetResource asked;
  peer_->on_query([&](const v1::Query& query) {
    asked = query.get_resource();
    v1::QueryAnswer answer;
    answer.add_json("{}");
    return answer;
  });
  const std::string path = std::string("/v1/postgres/instances/") + kInstance + "?at=";
  EXPECT_EQ(ask("GET", path + "12", "member").status, 200);
  EXPECT_EQ(asked.at_position(), 12);
  EXPECT_EQ(ask("GET", path + "2026-01-15T12:30:00%2B02:00", "member").status, 200);
  EXPECT_EQ(asked.at_unix_us(), 1768473000000000);
  EXPECT_EQ(ask("GET", path + "2026-01-15T12:30:00+02:00", "member").status, 200);
  EXPECT_EQ(asked.at_unix_us(), 1768473000000000);
  EXPECT_EQ(ask("GET", path + "yesterday", "member").status, 400);
}

TEST_F(GatewayTest, LookupsTroubleIs503) {
  const std::string path = std::string("/v1/postgres/instances/") + kInstance;
  ASSERT_EQ(ask("GET", "/v1/postgres/instances", "member").status, 200);
  for (const auto status : {v1::QUERY_STATUS_BEHIND, v1::QUERY_STATUS_UNAVAILABLE}) {
    peer_->on_query([&](const v1::Query&) {
      v1::QueryAnswer answer;
      answer.set_status(status);
      return answer;
    });
    const auto response = ask("GET", path, "member");
    EXPECT_EQ(response.status, 503);
    EXPECT_TRUE(response.headers.contains("retry-after"));
    EXPECT_NE(response.body.find("correlation id"), std::string::npos);
  }
  peer_->on_query([](const v1::Query&) {
    v1::QueryAnswer answer;
    answer.set_status(v1::QUERY_STATUS_OK);
    answer.add_json("not json");
    return answer;
  });
  EXPECT_EQ(ask("PUT", path, "member", json::object()).status, 503) << "nonsense from within";
}

TEST_F(GatewayTest, TheSameQuestionIsAskedOnceForAllThatWait) {
  // The first answer is held back until the others have asked; they must get a later one.
  std::promise<void> release;
  auto released = release.get_future().share();
  std::atomic<int> asked{0};
  peer_->on_query([&](const v1::Query& query) -> std::optional<v1::QueryAnswer> {
    v1::QueryAnswer answer;
    if (query.get_resource().uuid() != kInstance) return answer;
    const int number = ++asked;
    if (number == 1) released.wait();
    answer.add_json(std::to_string(number));
    return answer;
  });
  const std::string path = std::string("/v1/postgres/instances/") + kInstance;
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.emplace_back(std::make_unique<TestClient>(port()))
        ->send(to_bytes({"GET", path, "", "member", {}}));
    for (int k = 0; k < 1000 && gateway_->requests_in_flight() < size_t(i) + 1; ++k) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (int k = 0; k < 1000 && asked == 0; ++k) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  release.set_value();
  EXPECT_EQ(clients[0]->read().body, "1");
  for (int i = 1; i < 6; ++i) EXPECT_EQ(clients[size_t(i)]->read().body, "2") << i;
  EXPECT_EQ(asked.load(), 2);
}

}  // namespace
}  // namespace trunkline::gateway::testing
