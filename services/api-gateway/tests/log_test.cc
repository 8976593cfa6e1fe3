// Logs of nodes, read and followed; the test stands for the node's host.
#include <atomic>

#include "api-gateway/tests/gateway_fixture.h"
#include "trunkline/v1/node_log.pb.h"

namespace trunkline::gateway::testing {
namespace {

using namespace std::chrono_literals;

constexpr char kNode[] = "66666666-6666-4666-8666-666666666666";
const std::string kLogs = std::string("/v1/postgres/instances/") + kInstance + "/logs";

template <class Condition>
bool await(Condition condition, std::chrono::seconds patience = 10s) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

class LogTest : public GatewayTest {
 protected:
  void SetUp() override {
    GatewayTest::SetUp();
    json document = instance_document();
    document["nodes"] = {{{"uuid", kVersion}, {"host", "host-b"}, {"role", "standby"}},
                         {{"uuid", kNode}, {"host", "host-a"}, {"role", "primary"}}};
    peer_->put(v1::KIND_INSTANCE, kInstance, document.dump(), kProject);
    host_ = peer_->bus().subscribe("tl.logs.host-a", [this](bus::Message&& message) {
      v1::NodeLogRequest request;
      ASSERT_TRUE(request.ParseFromString(message.data));
      ++questions_;
      peer_->bus().publish(message.reply, answer(request).SerializeAsString());
    });
  }
  void TearDown() override {
    host_.reset();
    GatewayTest::TearDown();
  }

  v1::NodeLogAnswer answer(const v1::NodeLogRequest& request) {
    const std::lock_guard lock(mutex_);
    v1::NodeLogAnswer out;
    out.set_there(request.node_id() == kNode && there_);
    out.mutable_next()->set_generation("1");
    const uint64_t from = request.has_from() ? request.from().offset() : 0;
    const std::string text = log_.substr(std::min<size_t>(from, log_.size()), piece_);
    out.mutable_next()->set_offset(from + text.size());
    if (request.has_from() || request.last_lines() > 0) out.set_text(text);
    return out;
  }
  void write(const std::string& text) {
    const std::lock_guard lock(mutex_);
    log_ += text;
  }

  std::mutex mutex_;
  std::string log_;
  size_t piece_ = 100'000;
  bool there_ = true;
  std::atomic<int> questions_{0};
  std::unique_ptr<bus::Subscription> host_;
};

TEST_F(LogTest, IsReadByItsProjectAndNobodyElse) {
  write("one\ntwo\n");
  const auto response = ask("GET", kLogs, "reader");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "one\ntwo\n");
  EXPECT_EQ(response.headers.at("content-type"), "text/plain; charset=utf-8");
  EXPECT_EQ(ask("GET", kLogs, "admin").status, 200);
  EXPECT_EQ(questions_, 2);
  EXPECT_EQ(ask("GET", kLogs, "stranger").status, 404);
  EXPECT_EQ(ask("GET", kLogs + "?follow=true", "stranger").status, 404);
  EXPECT_EQ(ask("GET", kLogs, "").status, 401);
  EXPECT_EQ(questions_, 2);
}

TEST_F(LogTest, TruthTableOfQueries) {
  const std::pair<const char*, int> rows[] = {
      {"?limit=0", 200},        {"?limit=10000", 200},
      {"?limit=10001", 400},    {"?limit=x", 400},
      {"?limit=", 400},         {"?since=2026-01-15T10:30:00Z", 200},
      {"?since=2026-01-15T10:30:00+01:00", 200},
      {"?since=1", 400},        {"?follow=false", 200},
      {"?follow=1", 400},       {"?page_limit=1", 400},
      {"?node=66666666-6666-4666-8666-666666666666", 200},
      {"?node=77777777-7777-4777-8777-777777777777", 404},
      {"?node=7", 400},
      {"?from=66666666-6666-4666-8666-666666666666.1.0", 200},
      {"?from=77777777-7777-4777-8777-777777777777.1.0", 404},
      {"?from=66666666-6666-4666-8666-666666666666.1", 400},
      {"?from=66666666-6666-4666-8666-666666666666.1.-1", 400},
      {"?from=66666666-6666-4666-8666-666666666666..7", 400},
      {"?from=66666666-6666-4666-8666-666666666666.1.99999999999999999999", 400},
      {"?from=", 400},
      {"?from=66666666-6666-4666-8666-666666666666.1.0&limit=5", 400},
      {"?since=2026-01-15T10:30:00Z&from=66666666-6666-4666-8666-666666666666.1.0", 400},
  };
  for (const auto& [query, status] : rows) {
    EXPECT_EQ(ask("GET", kLogs + query, "member").status, status) << query;
  }
  // A host that does not answer is nobody's fault here.
  const auto silent = ask("GET", kLogs + "?node=" + kVersion, "member");
  EXPECT_EQ(silent.status, 503);
}

TEST_F(LogTest, IsFollowedInOrderUntilTheClientCloses) {
  write("old\n");
  {
    TestClient client(port());
    client.send(to_bytes({"GET", kLogs + "?follow=true", "", "member", {}}));
    std::string got;
    const auto read_until = [&](const std::string& text) {
      char buffer[4096];
      return await([&] {
        const ssize_t count = ::recv(client.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (count > 0) got.append(buffer, static_cast<size_t>(count));
        return got.find(text) != std::string::npos;
      });
    };
    ASSERT_TRUE(read_until("4\r\nold\n\r\n")) << got;
    EXPECT_NE(got.find("Transfer-Encoding: chunked"), std::string::npos);
    EXPECT_EQ(got.find("Content-Length"), std::string::npos);
    for (int i = 0; i < 3; ++i) {
      const std::string line = "line " + std::to_string(i) + "\n";
      write(line);
      ASSERT_TRUE(read_until(line)) << got;
    }
    EXPECT_EQ(gateway_->followers(), 1u);
    EXPECT_EQ(gateway_->requests_in_flight(), 0u);
  }
  EXPECT_TRUE(await([&] { return gateway_->followers() == 0; }));
}

TEST_F(LogTest, AClientThatDoesNotReadCostsOnePieceAndIsGivenUp) {
  HttpServerOptions options;
  options.write_timeout = 1'500ms;
  start_server(options);
  write(std::string(40'000'000, 'x'));
  TestClient client(port());
  const int small = 4096;
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  client.send(to_bytes({"GET", kLogs + "?follow=true", "", "member", {}}));
  ASSERT_TRUE(await([&] { return gateway_->followers() == 1; }));
  EXPECT_TRUE(await([&] { return gateway_->followers() == 0; }, 20s));
  // The socket's buffers take a few pieces; what came after that one was never asked for.
  EXPECT_LT(questions_, 100);
  EXPECT_EQ(server_->figures().unread_bytes, 0u);
}

TEST_F(LogTest, GoesOnBehindTheAnswerBefore) {
  write("one\n");
  const auto first = ask("GET", kLogs, "member");
  EXPECT_EQ(first.body, "one\n");
  write("two\n");
  const std::string place = first.headers.at("x-log-place");
  const auto second = ask("GET", kLogs + "?from=" + place, "member");
  EXPECT_EQ(second.body, "two\n");
  EXPECT_EQ(ask("GET", kLogs + "?from=" + second.headers.at("x-log-place"), "member").body, "");
  EXPECT_EQ(ask("GET", kLogs + "?from=" + place, "stranger").status, 404);
}

// The body of an answer in chunks, and what stands behind it.
std::pair<std::string, std::string> unchunked(const std::string& answer) {
  size_t at = answer.find("\r\n\r\n") + 4;
  std::string body;
  while (true) {
    const size_t end = answer.find("\r\n", at);
    const size_t size = std::stoul(answer.substr(at, end - at), nullptr, 16);
    if (size == 0) return {body, answer.substr(end + 2)};
    body += answer.substr(end + 2, size);
    at = end + 2 + size + 2;
  }
}

TEST_F(LogTest, AnswersThatEndLeaveOutNothingBetweenThem) {
  restart_gateway([](GatewayOptions& options) {
    options.log_follow.longest = 60ms;
    options.log_follow.pause = 1ms;
  });
  {
    const std::lock_guard lock(mutex_);
    piece_ = 40;  // so that some answers end with pieces on their way
  }
  std::atomic<bool> stop{false};
  std::string written;
  std::thread writer([&] {
    for (int i = 0; i < 400; ++i) {
      const std::string line = "line " + std::to_string(i) + "\n";
      written += line;
      write(line);
      std::this_thread::sleep_for(1ms);
    }
    stop = true;
  });
  std::string got, query = "?follow=true&limit=1";
  int answers = 0;
  const auto follow_once = [&] {
    TestClient client(port());
    client.send(to_bytes({"GET", kLogs + query, "", "member", {}}));
    const auto all = client.read_to_end(20'000);
    ASSERT_TRUE(all);
    ASSERT_NE(all->find("\r\nTrailer: X-Log-Place\r\n"), std::string::npos) << *all;
    const auto [body, trailer] = unchunked(*all);
    ASSERT_TRUE(trailer.starts_with("X-Log-Place: ")) << *all;
    ASSERT_TRUE(trailer.ends_with("\r\n\r\n")) << *all;
    got += body;
    query = "?follow=true&from=" + trailer.substr(13, trailer.find("\r\n") - 13);
    ++answers;
  };
  for (int without_news = 0; without_news < 10 && !HasFatalFailure();) {
    const bool all_written = stop;
    const size_t before = got.size();
    follow_once();
    without_news = all_written && got.size() == before ? without_news + 1 : 0;
  }
  writer.join();
  EXPECT_EQ(got, written);
  EXPECT_GT(answers, 2);
}

TEST_F(LogTest, EndsWithTheNode) {
  TestClient client(port());
  client.send(to_bytes({"GET", kLogs + "?follow=true", "", "member", {}}));
  ASSERT_TRUE(await([&] { return gateway_->followers() == 1; }));
  {
    const std::lock_guard lock(mutex_);
    there_ = false;
  }
  const auto rest = client.read_to_end(10'000);
  ASSERT_TRUE(rest);
  EXPECT_NE(rest->find("\r\n0\r\nX-Log-Place: "), std::string::npos) << *rest;
  EXPECT_EQ(ask("GET", kLogs, "member").status, 404);
}

TEST_F(LogTest, AnOldClientGetsNoChunks) {
  write("old\n");
  TestClient client(port());
  client.send("GET " + kLogs + "?follow=true HTTP/1.0\r\nAuthorization: Bearer member\r\n\r\n");
  ASSERT_TRUE(await([&] { return gateway_->followers() == 1; }));
  {
    const std::lock_guard lock(mutex_);
    there_ = false;
  }
  const auto all = client.read_to_end(10'000);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->find("Transfer-Encoding"), std::string::npos) << *all;
  EXPECT_TRUE(all->ends_with("\r\n\r\nold\n")) << *all;
}

TEST_F(LogTest, FollowersOfAProjectAreBoundedWhateverItsTokens) {
  std::vector<std::unique_ptr<TestClient>> clients;
  for (size_t i = 0; i < LogFollowLimits().most_a_lane; ++i) {
    const std::string token = i % 2 == 0 ? "member" : "reader";
    clients.push_back(std::make_unique<TestClient>(port()));
    clients.back()->send(to_bytes({"GET", kLogs + "?follow=true", "", token, {}}));
    ASSERT_TRUE(await([&] { return gateway_->followers() == i + 1; }));
  }
  const auto refused = ask("GET", kLogs + "?follow=true", "member");
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(type_of(refused), "too_many_followers");
  EXPECT_EQ(ask("GET", kLogs, "member").status, 200);
  clients.clear();
  EXPECT_TRUE(await([&] { return gateway_->followers() == 0; }));
}

// Who has most gives way, with where to go on.
TEST_F(LogTest, AFullHouseHasRoomForAnotherProject) {
  restart_gateway([](GatewayOptions& options) { options.log_follow.most = 4; });
  std::vector<std::unique_ptr<TestClient>> clients;
  for (size_t i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<TestClient>(port()));
    clients.back()->send(to_bytes({"GET", kLogs + "?follow=true", "", "member", {}}));
    ASSERT_TRUE(await([&] { return gateway_->followers() == i + 1; }));
  }
  EXPECT_EQ(type_of(ask("GET", kLogs + "?follow=true", "reader")), "too_many_followers");
  TestClient other(port());
  other.send(to_bytes({"GET", kLogs + "?follow=true", "", "admin", {}}));
  const auto ended = clients.front()->read_to_end(10'000);
  ASSERT_TRUE(ended);
  EXPECT_NE(ended->find("X-Log-Place"), std::string::npos) << *ended;
  EXPECT_TRUE(await([&] { return gateway_->followers() == 4; }));
}

}  // namespace
}  // namespace trunkline::gateway::testing
