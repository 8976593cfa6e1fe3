// Lookup's parts together, on a real PostgreSQL and a real nats-server.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <thread>

#include "bus/streams.h"
#include "lookup/io/admin.h"
#include "lookup/io/query_service.h"
#include "lookup/io/route_board.h"
#include "lookup/tests/events.h"
#include "runtime/relay.h"
#include "testing/temp_servers.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::lookup::testing {

using nlohmann::json;
using trunkline::testing::TempNats;
using trunkline::testing::TempPostgres;

inline constexpr auto kSoon = std::chrono::seconds(20);

template <class Condition>
bool await(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kSoon;
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// Servers for all tests of this program; each test has its own instances.
struct Servers {
  TempPostgres postgres;
  TempNats nats;
  Servers() { postgres.create_platform_databases(); }
  std::string log_dsn() const { return postgres.dsn("trunkline_log", "tl_lookup"); }
  std::string model_dsn() const { return postgres.dsn("trunkline_lookup", "tl_lookup"); }
};

// One lookup process, in this one.
class Service {
 public:
  explicit Service(const Servers& servers, const std::string& endpoint_address = "")
      : bus_(bus::Bus::connect({servers.nats.url(), "test", "test", "lookup"},
                               std::chrono::seconds(5))),
        routes(*bus_, servers.model_dsn()),
        projector(*bus_, keeping(servers, endpoint_address), cache, gate),
        queries_(*bus_, options(servers, endpoint_address), cache, gate, live),
        admin(*bus_, admin_ops(servers.model_dsn(), projector, gate)),
        relay_(*bus_, servers.log_dsn()),
        subscription_(bus_->subscribe(bus::kLookupSubject, [this](bus::Message&& message) {
          queries_.take(std::move(message));
        })) {}

  v1::QueryAnswer ask(const v1::Query& query) {
    const auto answer = bus_->request(bus::kLookupSubject, query.SerializeAsString(),
                                      std::chrono::seconds(5));
    v1::QueryAnswer parsed;
    if (!answer || !parsed.ParseFromString(answer->data)) {
      throw std::runtime_error("lookup did not answer");
    }
    return parsed;
  }
  json order(const json& request) { return json::parse(admin.handle(request.dump())); }
  std::string checksum() { return order({{"op", "checksum"}}).value("checksum", "none"); }

 private:
  std::unique_ptr<bus::Bus> bus_;
  Projector::Options keeping(const Servers& servers, const std::string& endpoint_address) {
    return {servers.log_dsn(), servers.model_dsn(), {endpoint_address},
            [this](const Change& change, int64_t at) { routes.take_change(change, at); }};
  }
  QueryService::Options options(const Servers& servers, const std::string& endpoint_address) {
    QueryService::Options options;
    options.log_dsn = servers.log_dsn();
    options.read_model_dsn = servers.model_dsn();
    options.ready = [this] { return projector.ready(); };
    options.suspect = [this] { projector.suspect(); };
    options.rendering = {endpoint_address};
    options.put_live = [this](v1::Route& route) { routes.put_live(route); };
    return options;
  }

 public:
  DocumentCache cache{1 << 20};
  LiveStore live;
  PositionGate gate;
  RouteBoard routes;
  Projector projector;

 private:
  QueryService queries_;

 public:
  runtime::AdminLoop admin;

 private:
  runtime::Relay relay_;
  std::unique_ptr<bus::Subscription> subscription_;
};

class LookupTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { servers = new Servers(); }
  static void TearDownTestSuite() { delete servers; }

  LookupTest() : writer(servers->postgres.dsn("trunkline_log", "tl_provisioner"),
                        servers->postgres.dsn("trunkline_log", "tl_replication")) {}

  static v1::Query query(int64_t min_position, const std::string& project = kProject) {
    v1::Query query;
    query.set_min_position(static_cast<uint64_t>(min_position));
    query.mutable_scope()->set_project_id(project);
    return query;
  }
  static v1::Query get(v1::Kind kind, const std::string& uuid, int64_t min_position = 0,
                       const std::string& instance = "") {
    v1::Query asked = query(min_position);
    asked.mutable_get_resource()->set_kind(kind);
    asked.mutable_get_resource()->set_uuid(uuid);
    asked.mutable_get_resource()->set_instance_id(instance);
    return asked;
  }
  static v1::Query list(v1::Kind kind, int64_t min_position, const std::string& project) {
    v1::Query asked = query(min_position, project);
    asked.mutable_list_resources()->set_kind(kind);
    return asked;
  }
  static std::vector<std::string> names(const v1::QueryAnswer& answer) {
    std::vector<std::string> names;
    for (const auto& text : answer.json()) names.push_back(json::parse(text).at("name"));
    return names;
  }
  int64_t running_pair(const std::string& name, const std::string& project = kProject) {
    writer.instance(name, created(name, project));
    writer.instance(name, placed(name + " a", "host-a", "127.0.0.11"));
    writer.instance(name, placed(name + " b", "host-b", "127.0.0.12"));
    writer.group(name, primary_assigned(name + " a", 1));
    writer.group(name, standby_assigned(name + " b"));
    writer.group(name, primary_opened(name + " a", 1));
    writer.group(name, standby_streaming(name + " b"));
    return writer.instance(name, activated());
  }

  static inline Servers* servers = nullptr;
  LogWriter writer;
};

}  // namespace trunkline::lookup::testing
