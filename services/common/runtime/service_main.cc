#include "runtime/service_main.h"

#include <spdlog/spdlog.h>

#include <exception>

#include "telemetry/metrics_server.h"
#include "telemetry/telemetry.h"

namespace trunkline::runtime {

int run_service(int argc, char** argv, const std::string& name,
                const std::function<void(const ServiceConfig&)>& serve) {
  block_stop_signals();
  try {
    const ServiceConfig config = load_config(argc, argv);
    telemetry::start(name);
    const telemetry::MetricsServer metrics(config.metrics_listen);
    serve(config);
  } catch (const std::exception& error) {
    spdlog::critical("{} ends: {}", name, error.what());
    telemetry::stop();
    return 1;
  }
  spdlog::info("{} stops", name);
  telemetry::stop();
  return 0;
}

std::unique_ptr<bus::Bus> connect_for_ever(const bus::BusOptions& options) {
  while (true) {
    try {
      return bus::Bus::connect(options, std::chrono::seconds(30));
    } catch (const bus::BusUnavailable& error) {
      spdlog::warn("the bus is away: {}", error.what());
    }
  }
}

}  // namespace trunkline::runtime
