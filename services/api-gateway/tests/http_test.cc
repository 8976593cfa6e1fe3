// The HTTP server against clients of every kind.
#include "api-gateway/tests/gateway_fixture.h"

namespace trunkline::gateway::testing {
namespace {

TEST_F(GatewayTest, PipelinedRequestsAreAnsweredInOrder) {
  TestClient client(port());
  std::string bytes;
  for (int i = 0; i < 20; ++i) {
    bytes += to_bytes({"GET", i % 2 == 0 ? "/healthz" : "/openapi.json", "", "", {}});
  }
  client.send(bytes);
  for (int i = 0; i < 20; ++i) {
    const auto response = client.read();
    ASSERT_EQ(response.status, 200) << i;
    EXPECT_EQ(response.body.find("openapi") != std::string::npos, i % 2 == 1) << i;
  }
}

TEST_F(GatewayTest, ExpectContinueIsAnswered) {
  accept_commands();
  TestClient client(port());
  const std::string body = order().dump();
  client.send("POST /v1/postgres/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer member\r\n"
              "Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_EQ(client.read().status, 100);
  client.send(body);
  EXPECT_EQ(client.read().status, 202);
}

// Nobody who is not known is told to go on, and his body is not waited for.
TEST_F(GatewayTest, ABodyIsWaitedForOnlyOfWhoIsKnown) {
  for (const char* authorization : {"", "Authorization: Bearer nobody\r\n",
                                    "Authorization: Basic x\r\n"}) {
    for (const char* expect : {"", "Expect: 100-continue\r\n"}) {
      for (const char* length : {"Content-Length: 60000\r\n", "Transfer-Encoding: chunked\r\n"}) {
        TestClient client(port());
        client.send(std::string("POST /v1/postgres/instances HTTP/1.1\r\nHost: x\r\n") +
                    authorization + expect + length + "\r\n");
        const auto response = client.read();
        EXPECT_EQ(response.status, 401) << authorization << expect << length;
        EXPECT_EQ(response.headers.at("connection"), "close");
        EXPECT_EQ(client.read_to_end(3000), "");
      }
    }
  }
  TestClient lost(port());
  lost.send("POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
  EXPECT_EQ(lost.read().status, 404);
  TestClient open(port());
  open.send("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
  open.send("x");
  EXPECT_EQ(open.read().status, 200);
}

// A byte a chunk, with long size lines: what is read is not kept.
TEST_F(GatewayTest, ChunksCostTheirBodyAndNoMore) {
  TestClient client(port());
  client.send("POST /v1/postgres/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer member\r\n"
              "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read().status, 100);
  const std::string chunk = "1;" + std::string(200, 'x') + "\r\na\r\n";
  size_t most = 0;
  for (int i = 0; i < 2000; ++i) {
    client.send(chunk);
    most = std::max(most, server_->figures().request_bytes);
  }
  EXPECT_LT(most, 64u * 1024);
  // And not for ever.
  for (int i = 0; i < 1000; ++i) client.send(chunk);
  EXPECT_EQ(client.read().status, 400);
}

TEST_F(GatewayTest, AnAddressHoldsOnlySoMuchOfUnfinishedRequests) {
  HttpServerOptions options;
  options.unread_request_bytes_per_address = 100'000;
  start_server(options);
  const std::string head =
      "POST /v1/postgres/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer member\r\n"
      "Content-Length: 60000\r\n\r\n";
  TestClient first(port()), second(port());
  first.send(head + std::string(59'000, 'a'));
  for (int i = 0; i < 1000 && server_->figures().request_bytes < 59'000; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  second.send(head + std::string(59'000, 'a'));
  EXPECT_EQ(second.read().status, 503);
  EXPECT_EQ(ask("GET", "/healthz", "").status, 200);
}

TEST_F(GatewayTest, AnAddressHasOnlySoManyConnections) {
  HttpServerOptions options;
  options.connections_per_address = 2;
  start_server(options);
  const auto connected = [&](TestClient& client) {
    client.send(to_bytes({"GET", "/healthz", "", "", {}}));
    return client.read().status;
  };
  TestClient first(port()), second(port());
  EXPECT_EQ(connected(first), 200);
  EXPECT_EQ(connected(second), 200);
  TestClient third(port());
  EXPECT_EQ(third.read().status, 429);
  options.shared_addresses = {"127.0.0.1"};
  start_server(options);
  TestClient a(port()), b(port()), c(port());
  for (TestClient* client : {&a, &b, &c}) EXPECT_EQ(connected(*client), 200);
}

TEST_F(GatewayTest, BytewiseAndChunkedBodiesAreRead) {
  accept_commands();
  const std::string body = order().dump();
  char size[16];
  std::snprintf(size, sizeof size, "%zx", body.size() - 5);
  const std::string bytes =
      "POST /v1/postgres/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer member\r\n"
      "Transfer-Encoding: chunked\r\n\r\n5\r\n" + body.substr(0, 5) + "\r\n" + size + ";x=y\r\n" +
      body.substr(5) + "\r\n0\r\n\r\n";
  TestClient client(port());
  for (char c : bytes) client.send({&c, 1});
  EXPECT_EQ(client.read().status, 202);
}

TEST_F(GatewayTest, MalformedHttpIsRefusedAndTheConnectionEnds) {
  const std::pair<std::string, int> rows[] = {
      {"nonsense\r\n\r\n", 400},
      {"\x16\x03\x01\x02\x01", 400},
      {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400},
      {"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
      {std::string("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 28), 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: x\n\n\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"
       "\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\nContent-Length: 1\r\n\r\na", 417},
      {"GET /" + std::string(9000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
      {"GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(17000, 'a') + "\r\n\r\n", 431},
  };
  for (const auto& [bytes, status] : rows) {
    TestClient client(port());
    client.send(bytes);
    const auto response = client.read();
    EXPECT_EQ(response.status, status) << bytes.substr(0, 80);
    EXPECT_EQ(json::parse(response.body)["code"], status);
    EXPECT_EQ(response.headers.at("connection"), "close");
    EXPECT_EQ(client.read_to_end(3000), "") << bytes.substr(0, 80);
  }
  EXPECT_EQ(ask("GET", "/healthz", "").status, 200);
}

TEST_F(GatewayTest, HostilePathsAndQueriesAre4xx) {
  for (const char* path : {"/v1/postgres/instances/%00", "/%", "/%zz", "/%ff", "/v1/%2e%2e/x",
                           "/v1//postgres", "/v1/postgres/instances?%00=1", "/?a=%c3%28", "*",
                           "/v1/postgres/instances?nothing=1", "/v1/postgres/instances?fields=",
                           "/v1/postgres/instances?page_limit=0", "/v1/postgres/instances?cpu=x",
                           "/v1/postgres/instances?page_marker=1",
                           "/v1/postgres/instances?nodes=1", "/v1/postgres/instances?password=1"}) {
    const auto response = ask("GET", path, "member");
    EXPECT_GE(response.status, 400) << path;
    EXPECT_LT(response.status, 500) << path;
  }
}

TEST_F(GatewayTest, HttpOneZeroIsClosedUnlessItAsks) {
  TestClient client(port());
  client.send("GET /healthz HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.read().headers.at("connection"), "close");
  EXPECT_EQ(client.read_to_end(3000), "");
  TestClient keeper(port());
  keeper.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(keeper.read().headers.at("connection"), "keep-alive");
  keeper.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(keeper.read().headers.at("connection"), "close");
  EXPECT_EQ(keeper.read_to_end(3000), "");
}

TEST_F(GatewayTest, ContentTypeTruthTable) {
  accept_commands();
  const std::pair<const char*, int> rows[] = {
      {"application/json", 202},         {"application/json; charset=utf-8", 202},
      {"Application/JSON", 202},         {"text/plain", 415},
      {"application/json-patch", 415},   {"application/x-www-form-urlencoded", 415},
      {"application/json; charset=latin1", 415}};
  for (const auto& [type, status] : rows) {
    EXPECT_EQ(ask("POST", "/v1/postgres/instances", "member", order(), {{"Content-Type", type}})
                  .status, status) << type;
  }
  EXPECT_EQ(ask("POST", "/v1/postgres/instances", "member", order(),
                {{"Content-Encoding", "gzip"}}).status, 415);
}

TEST_F(GatewayTest, SlowClientsAreTimedOut) {
  HttpServerOptions options;
  options.head_timeout = std::chrono::milliseconds(300);
  options.body_timeout = std::chrono::milliseconds(300);
  options.keepalive = std::chrono::milliseconds(300);
  start_server(options);
  TestClient slow_head(port());
  slow_head.send("GET / HT");
  TestClient slow_body(port());
  slow_body.send("POST /v1/postgres/instances HTTP/1.1\r\nHost: x\r\n"
                 "Authorization: Bearer member\r\nContent-Length: 10\r\n\r\nabc");
  TestClient idle(port());
  TestClient kept(port());
  kept.send(to_bytes({"GET", "/healthz", "", "", {}}));
  EXPECT_EQ(slow_head.read().status, 408);
  EXPECT_EQ(slow_body.read().status, 408);
  EXPECT_EQ(idle.read_to_end(3000), "");
  EXPECT_EQ(kept.read().status, 200);
  EXPECT_EQ(kept.read_to_end(3000), "");
}

TEST_F(GatewayTest, ClientsThatDoNotReadAreDropped) {
  HttpServerOptions options;
  options.write_timeout = std::chrono::milliseconds(500);
  options.unread_response_bytes = 4 << 20;
  // Far more than the sockets' buffers take of 16 answers, wherever their limits are.
  const std::string large(2'000'000, 'x');
  const auto server = HttpServer::start(
      options, [&](HttpRequest&&, std::shared_ptr<Reply> reply) {
        reply->send({200, "text/plain", {}, large});
      });
  constexpr int kClients = 20;
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < kClients; ++i) {
    auto& client = clients.emplace_back(std::make_unique<TestClient>(server->port()));
    const int small = 4096;
    ::setsockopt(client->fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    std::string many;
    for (int k = 0; k < 16; ++k) many += to_bytes({"GET", "/", "", "", {}});
    client->send(many);
  }
  size_t most_unread = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto figures = server->figures();
    most_unread = std::max(most_unread, figures.unread_bytes);
    if (figures.accepted == kClients && figures.connections == 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(server->figures().accepted, uint64_t{kClients});
  EXPECT_EQ(server->figures().connections, 0u);
  EXPECT_EQ(server->figures().unread_bytes, 0u);
  EXPECT_GE(server->figures().dropped, uint64_t{kClients});
  // Above the limit by the one answer that each thread has in hand.
  EXPECT_LT(most_unread, options.unread_response_bytes + 3 * large.size());
  TestClient good(server->port());
  good.send(to_bytes({"GET", "/", "", "", {}}));
  EXPECT_EQ(good.read().body, large);
}

TEST_F(GatewayTest, ALargeAnswerReachesASlowReaderWhole) {
  const std::string document = "{\"a\":\"" + std::string(900'000, 'x') + "\"}";
  peer_->on_query([&](const v1::Query&) {
    v1::QueryAnswer answer;
    answer.add_json(document);
    return answer;
  });
  TestClient client(port());
  const std::string request =
      to_bytes({"GET", std::string("/v1/postgres/instances/") + kInstance, "", "member", {}});
  std::string many;
  for (int i = 0; i < 8; ++i) many += request;
  client.send(many);
  for (int i = 0; i < 1000 && server_->figures().unread_bytes == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_GT(server_->figures().unread_bytes, 0u);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(client.read().body, document);
  EXPECT_EQ(client.read().body, document);
  EXPECT_EQ(client.read().body, document);
}

TEST_F(GatewayTest, ClientsThatLeaveBeforeTheirAnswerHarmNothing) {
  peer_->on_query([](const v1::Query&) { return std::nullopt; });  // silence
  for (int i = 0; i < 8; ++i) {
    TestClient client(port());
    client.send(
        to_bytes({"GET", std::string("/v1/postgres/instances/") + kInstance, "", "member", {}}));
  }
  for (int i = 0; i < 600 && gateway_->requests_in_flight() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(gateway_->requests_in_flight(), 0u);
  EXPECT_EQ(ask("GET", "/healthz", "").status, 200);
}

TEST_F(GatewayTest, TooManyRequestsOfATokenAre429) {
  peer_->on_query([](const v1::Query&) { return std::nullopt; });
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back(std::make_unique<TestClient>(port()))
        ->send(to_bytes({"GET", std::string("/v1/postgres/instances/") + kInstance, "", "member",
                         {}}));
  }
  for (int i = 0; i < 300 && gateway_->requests_in_flight() < 8; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const auto response =
      ask("GET", std::string("/v1/postgres/instances/") + kInstance, "member");
  EXPECT_EQ(response.status, 429);
  EXPECT_TRUE(response.headers.contains("retry-after"));
  for (auto& client : clients) EXPECT_EQ(client->read().status, 503);
}

TEST_F(GatewayTest, TooManyRequestsOfAProjectAre429WhateverItsTokens) {
  restart_gateway([](GatewayOptions& options) { options.requests_per_project = 4; });
  peer_->on_query([](const v1::Query&) { return std::nullopt; });
  const std::string path = std::string("/v1/postgres/instances/") + kInstance;
  std::vector<std::unique_ptr<TestClient>> clients;
  for (size_t i = 0; i < 4; ++i) {
    clients.emplace_back(std::make_unique<TestClient>(port()))
        ->send(to_bytes({"GET", path, "", i % 2 == 0 ? "member" : "reader", {}}));
    for (int k = 0; k < 1000 && gateway_->requests_in_flight() < i + 1; ++k) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  EXPECT_EQ(ask("GET", path, "member").status, 429);
  EXPECT_NE(ask("GET", path, "stranger").status, 429);
}

// 400 new passwords of one project wait for each other; another project's does not wait for them,
// and those of a client that has gone are not worked on.
TEST_F(GatewayTest, PasswordsOfOneProjectDoNotKeepAnothersWaiting) {
  restart_gateway([](GatewayOptions& options) { options.requests_per_token = 1000; });
  accept_commands();
  peer_->put(v1::KIND_INSTANCE, kUser, instance_document(kUser).dump(), kOther);
  const auto users = [](const char* instance) {
    return std::string("/v1/postgres/instances/") + instance + "/users";
  };
  const json body{{"name", "ann"}, {"password", "correct horse"}};
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.emplace_back(std::make_unique<TestClient>(port()))
        ->send(to_bytes({"POST", users(kInstance), body.dump(), "member", {}}));
  }
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(ask("POST", users(kUser), "stranger", body).status, 202);
  const size_t before = peer_->commands().size();
  EXPECT_LT(before, 100u) << "it was not served last";
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  clients.clear();
}

TEST_F(GatewayTest, TooManyConnectionsAreRefusedPolitely) {
  HttpServerOptions options;
  options.connections = 4;
  start_server(options);
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 4; ++i) {
    auto& client = clients.emplace_back(std::make_unique<TestClient>(port()));
    client->send(to_bytes({"GET", "/healthz", "", "", {}}));
    ASSERT_EQ(client->read().status, 200);
  }
  TestClient fifth(port());
  EXPECT_EQ(fifth.read().status, 503);
  clients.clear();
  int status = 0;
  for (int i = 0; i < 100 && status != 200; ++i) status = ask("GET", "/healthz", "").status;
  EXPECT_EQ(status, 200);
}

TEST_F(GatewayTest, ManyClientsAtOnceAllGetTheirOwnAnswer) {
  // Every answer comes from a thread of the bus; none may be lost or cross over.
  peer_->on_query([](const v1::Query& query) {
    v1::QueryAnswer answer;
    answer.add_json(json{{"uuid", query.get_resource().uuid()}}.dump());
    return answer;
  });
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      TestClient client(port());
      for (int i = 0; i < 300; ++i) {
        const std::string uuid = uuid_from_name(std::to_string(t) + "/" + std::to_string(i));
        client.send(to_bytes({"GET", "/v1/postgres/instances/" + uuid, "", "member", {}}));
        const auto response = client.read();
        if (response.status != 200 || response.body.find(uuid) == std::string::npos) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace trunkline::gateway::testing
