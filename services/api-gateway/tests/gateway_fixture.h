// The real server on a real NATS, with PeerServices behind it.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "api-gateway/io/gateway.h"
#include "api-gateway/tests/http_client.h"
#include "api-gateway/tests/peer_services.h"
#include "base/digest.h"
#include "base/ids.h"
#include "bus/streams.h"
#include "telemetry/telemetry.h"
#include "testing/temp_servers.h"

namespace trunkline::gateway::testing {

using nlohmann::json;

inline constexpr char kProject[] = "11111111-1111-4111-8111-111111111111";
inline constexpr char kOther[] = "22222222-2222-4222-8222-222222222222";
inline constexpr char kVersion[] = "33333333-3333-4333-8333-333333333333";
inline constexpr char kInstance[] = "44444444-4444-4444-8444-444444444444";
inline constexpr char kUser[] = "55555555-5555-4555-8555-555555555555";

inline json instance_document(const std::string& uuid = kInstance) {
  return {{"uuid", uuid}, {"name", "one"}, {"description", ""}, {"project_id", kProject},
          {"created_at", "2026-01-15T10:30:00.123456Z"},
          {"updated_at", "2026-01-15T10:30:00.123456Z"}, {"status", "ACTIVE"}, {"cpu", 2},
          {"ram", 1024}, {"disk_size", 10}, {"nodes_number", 3}, {"sync_replica_number", 1},
          {"version", std::string("/v1/types/postgres/versions/") + kVersion},
          {"ipsv4", {"127.0.0.1"}}};
}

inline json order() {
  return {{"name", "one"}, {"cpu", 2}, {"ram", 1024}, {"disk_size", 10}, {"nodes_number", 3},
          {"version", std::string("/v1/types/postgres/versions/") + kVersion}};
}

class GatewayTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    telemetry::start("gateway-test");
    nats_ = new trunkline::testing::TempNats;
  }
  static void TearDownTestSuite() {
    delete nats_;
    nats_ = nullptr;
  }

  void SetUp() override {
    peer_ = std::make_unique<PeerServices>(nats_->url());
    peer_->put_token("admin", R"({"uuid":"a0000000-0000-4000-8000-000000000001","role":"admin"})");
    peer_->put_token("member", token("member", kProject));
    peer_->put_token("reader", token("reader", kProject));
    peer_->put_token("stranger", token("member", kOther));
    peer_->put(v1::KIND_VERSION, kVersion,
               R"({"uuid":"33333333-3333-4333-8333-333333333333","image":"postgresql-15"})");
    peer_->put(v1::KIND_INSTANCE, kInstance, instance_document().dump(), kProject);
    bus_ = bus::Bus::connect({nats_->url(), "test", "test", "gateway"}, std::chrono::seconds(5));
    restart_gateway([](GatewayOptions&) {});
  }
  void restart_gateway(const std::function<void(GatewayOptions&)>& change) {
    GatewayOptions options;
    options.access_log = false;
    options.requests_per_token = 8;
    options.webhook_master = "master";
    options.refusal_window = std::chrono::milliseconds(0);  // commands of its own would be counted
    change(options);
    server_.reset();
    if (gateway_) gateway_->stop();
    gateway_ = std::make_shared<Gateway>(*bus_, options);
    start_server({});
  }
  void start_server(HttpServerOptions options) {
    server_.reset();
    server_ = HttpServer::start(
        options,
        [gateway = gateway_](HttpRequest&& request, std::shared_ptr<Reply> reply) {
          gateway->handle(std::move(request), std::move(reply));
        },
        [gateway = gateway_](const HttpRequest& head, AdmissionVerdict verdict) {
          gateway->admit(head, std::move(verdict));
        });
  }
  void TearDown() override {
    server_.reset();
    gateway_->stop();
    gateway_.reset();
    bus_.reset();
    peer_.reset();
  }

  static std::string token(const std::string& role, const std::string& project) {
    return json{{"uuid", uuid_from_name(role + project)}, {"role", role}, {"project_id", project}}
        .dump();
  }
  int port() const { return server_->port(); }
  TestResponse ask(const std::string& method, const std::string& path, const std::string& token,
                   const json& body = nullptr, std::map<std::string, std::string> headers = {}) {
    TestRequest request{method, path, body.is_null() ? "" : body.dump(), token, std::move(headers)};
    return exchange(port(), request);
  }
  // The peer accepts every command, but its documents stay as they are.
  void accept_commands() {
    peer_->on_command([](const v1::Command& command) { return accepted(command, 7); });
  }

  inline static trunkline::testing::TempNats* nats_ = nullptr;
  std::unique_ptr<PeerServices> peer_;
  std::unique_ptr<bus::Bus> bus_;
  std::shared_ptr<Gateway> gateway_;
  std::unique_ptr<HttpServer> server_;
};

inline std::string type_of(const TestResponse& response) {
  const auto body = json::parse(response.body, nullptr, false);
  return body.is_object() ? body.value("type", std::string()) : std::string();
}

}  // namespace trunkline::gateway::testing
