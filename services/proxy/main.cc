// trunkline-proxy: the PostgreSQL endpoints that never move.
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/digest.h"
#include "proxy/io/proxy_server.h"
#include "proxy/io/route_feed.h"
#include "proxy/io/traffic_reporter.h"
#include "runtime/random.h"
#include "runtime/service_main.h"
#include "telemetry/metrics.h"

namespace {

using namespace trunkline;

proxy::ProxyOptions proxy_options(const nlohmann::json& raw) {
  proxy::ProxyOptions out;
  out.listen_address = raw.at("listen_address").get<std::string>();
  out.port = raw.at("port").get<uint16_t>();
  out.tls_certificate_file = raw.value("tls_cert", "");
  out.tls_key_file = raw.value("tls_key", "");
  out.node_tls = raw.value("backend_tls", false);
  out.node_ca_file = raw.value("backend_ca", "");
  out.node_certificate_file = raw.value("backend_cert", "");
  out.node_key_file = raw.value("backend_key", "");
  out.node_sockets = raw.value("node_sockets", "");
  out.threads = raw.value("threads", 0u);
  if (raw.contains("pooled_port")) out.pooled_port = raw.at("pooled_port").get<uint16_t>();
  out.pools.program = raw.value("pool_program", out.pools.program);
  out.pools.user = raw.value("pool_user", out.pools.user);
  out.pools.idle_time =
      std::chrono::milliseconds(raw.value("pool_idle_ms", out.pools.idle_time.count()));
  out.most_connections = raw.value("max_connections", out.most_connections);
  // Another secret at each start would let salts of users that are not there change.
  const std::string secret = raw.value("mock_secret", "");
  out.mock_secret = secret.empty() ? runtime::random_bytes(32) : sha256(secret);
  return out;
}

std::unique_ptr<bus::Bus> try_to_connect(const bus::BusOptions& options) {
  try {
    return bus::Bus::connect(options, std::chrono::seconds(5));
  } catch (const bus::BusUnavailable& error) {
    spdlog::warn("the bus is away: {}", error.what());
    return nullptr;
  }
}

// Serves from the stored routes at once, and keeps looking for the bus.
class BusLink {
 public:
  BusLink(bus::BusOptions options, proxy::ProxyContext& context, std::string cache,
          proxy::TrafficReporterOptions reporting)
      : thread_([this, options = std::move(options), &context, cache = std::move(cache),
                 reporting = std::move(reporting)] {
          while (!stopping_ && !bus_) bus_ = try_to_connect(options);
          if (!bus_) return;
          feed_ = std::make_unique<proxy::RouteFeed>(*bus_, context.endpoints, cache);
          reporter_ = std::make_unique<proxy::TrafficReporter>(*bus_, context.traffic, reporting);
        }) {}
  ~BusLink() {
    stopping_ = true;
    thread_.join();
  }
  BusLink(const BusLink&) = delete;
  BusLink& operator=(const BusLink&) = delete;

 private:
  std::atomic<bool> stopping_ = false;
  std::unique_ptr<bus::Bus> bus_;
  std::unique_ptr<proxy::RouteFeed> feed_;
  std::unique_ptr<proxy::TrafficReporter> reporter_;
  std::thread thread_;
};

proxy::TrafficReporterOptions reporting(const nlohmann::json& raw) {
  proxy::TrafficReporterOptions out;
  out.proxy_id = raw.value("proxy_id", out.proxy_id);
  out.every = std::chrono::milliseconds(raw.value("traffic_interval_ms", out.every.count()));
  return out;
}

std::unique_ptr<telemetry::ScrapeHook> show_metrics(proxy::ProxyContext& context) {
  struct Families {
    telemetry::GaugeFamily sessions{"trunkline_proxy_sessions",
                                    "Sessions of clients and of pools."};
    telemetry::GaugeFamily waiting{"trunkline_proxy_sessions_waiting",
                                   "Sessions that wait for a primary."};
    telemetry::GaugeFamily pools{"trunkline_proxy_pools", "Connection pools that run."};
    telemetry::CounterFamily carried{"trunkline_proxy_sessions_carried_total",
                                     "Sessions that went on with another server."};
    telemetry::CounterFamily ended{
        "trunkline_proxy_sessions_ended_tied_total",
        "Sessions that a switchover ended, since they had what only their server has."};
    telemetry::CounterFamily doubt{
        "trunkline_proxy_commits_in_doubt_total",
        "Commits that were not confirmed because standbys had not confirmed them."};
    telemetry::CounterFamily bytes{
        "trunkline_proxy_bytes_total", "Bytes of sessions, as clients send them (in).",
        {"direction"}};
    telemetry::CounterFamily connections{"trunkline_proxy_connections_total",
                                         "Sessions that were opened."};
  };
  return std::make_unique<telemetry::ScrapeHook>(
      [&context, families = std::make_shared<Families>()] {
        families->sessions.set(static_cast<double>(context.connections.load()));
        families->waiting.set(static_cast<double>(context.waiting.load()));
        if (context.pools != nullptr) {
          families->pools.set(static_cast<double>(context.pools->running()));
        }
        families->carried.raise_to({}, static_cast<double>(context.carried.load()));
        families->ended.raise_to({}, static_cast<double>(context.ended_tied.load()));
        families->doubt.raise_to({}, static_cast<double>(context.commits_in_doubt.load()));
        uint64_t in = 0, out = 0, opened = 0;
        for (const auto& endpoint : context.traffic.totals()) {
          in += endpoint.totals.bytes_in;
          out += endpoint.totals.bytes_out;
          opened += endpoint.totals.connections_opened;
        }
        families->bytes.raise_to({"in"}, static_cast<double>(in));
        families->bytes.raise_to({"out"}, static_cast<double>(out));
        families->connections.raise_to({}, static_cast<double>(opened));
      });
}

void serve(const runtime::ServiceConfig& config) {
  const std::string folder = config.raw->value("state_dir", config.home + "/proxy");
  mkdir(folder.c_str(), 0700);
  const std::string cache = folder + "/routes.bin";
  proxy::ProxyOptions options = proxy_options(*config.raw);
  options.traffic_file = folder + "/traffic.bin";
  options.pools.folder = config.raw->value("pool_dir", folder + "/pools");
  proxy::ProxyServer server(std::move(options));
  proxy::load_routes(cache, server.endpoints());
  const BusLink link(config.bus, server.context(), cache, reporting(*config.raw));
  const auto shown = show_metrics(server.context());
  spdlog::info("proxy is up on {}:{}", server.context().options.listen_address, server.port());
  runtime::wait_for_stop_signal();
}

}  // namespace

int main(int argc, char** argv) {
  return trunkline::runtime::run_service(argc, argv, "proxy", serve);
}
