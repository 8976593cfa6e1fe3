// trunkline-gateway --config FILE: see README.md.
#include <spdlog/spdlog.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "api-gateway/io/gateway.h"
#include "api-gateway/io/http_server.h"
#include "runtime/config.h"
#include "telemetry/metrics_server.h"
#include "telemetry/telemetry.h"

namespace {

using namespace trunkline;

gateway::HttpServerOptions server_options(const nlohmann::json& config,
                                          const std::vector<std::string>& shared_addresses) {
  gateway::HttpServerOptions options;
  options.shared_addresses = shared_addresses;
  options.connections_per_address =
      config.value("connections_per_address", options.connections_per_address);
  const std::string listen = config.value("listen", std::string("127.0.0.1:8080"));
  const size_t colon = listen.rfind(':');
  int port = -1;
  if (colon != std::string::npos) {
    std::string address = listen.substr(0, colon);
    if (address.starts_with('[') && address.ends_with(']')) {
      address = address.substr(1, address.size() - 2);
    }
    options.address = address;
    const std::string digits = listen.substr(colon + 1);
    if (!digits.empty() && digits.size() <= 5 &&
        digits.find_first_not_of("0123456789") == std::string::npos) {
      port = std::stoi(digits);
    }
  }
  if (port < 0 || port > 65535) {
    throw std::runtime_error("config: \"listen\" must be <address>:<port>");
  }
  options.port = static_cast<uint16_t>(port);
  return options;
}

void run(const runtime::ServiceConfig& config) {
  const auto bus = bus::Bus::connect(config.bus, std::chrono::seconds(30));
  gateway::GatewayOptions options;
  options.swagger_ui_dir = config.raw->value("swagger_ui_dir", std::string());
  options.access_log = config.raw->value("access_log", true);
  options.webhook_master = config.raw->value("webhook_master_secret", std::string());
  options.log_follow.longest = std::chrono::milliseconds(
      config.raw->value("log_follow_ms", options.log_follow.longest.count()));
  options.trusted_proxies = config.raw->value("trusted_proxies", std::vector<std::string>());
  auto service = std::make_shared<gateway::Gateway>(*bus, options);
  auto server = gateway::HttpServer::start(
      server_options(*config.raw, options.trusted_proxies),
      [service](gateway::HttpRequest&& request, std::shared_ptr<gateway::Reply> reply) {
        service->handle(std::move(request), std::move(reply));
      },
      [service](const gateway::HttpRequest& head, gateway::AdmissionVerdict verdict) {
        service->admit(head, std::move(verdict));
      });
  spdlog::info("listening on port {}", server->port());
  runtime::wait_for_stop_signal();
  spdlog::info("stopping");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  while (service->requests_in_flight() > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  server.reset();
  service->stop();
}

}  // namespace

int main(int argc, char** argv) {
  runtime::block_stop_signals();
  try {
    const auto config = runtime::load_config(argc, argv);
    telemetry::start("api-gateway");
    const telemetry::MetricsServer metrics(config.metrics_listen);
    run(config);
    telemetry::stop();
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "trunkline-gateway: " << e.what() << "\n";
    return 1;
  }
}
