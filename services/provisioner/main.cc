#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "bus/streams.h"
#include "provisioner/domain/snapshot.h"
#include "provisioner/io/bootstrap.h"
#include "provisioner/io/provisioner_shard.h"
#include "runtime/config.h"
#include "runtime/service_host.h"
#include "runtime/shards.h"
#include "telemetry/metrics_server.h"
#include "telemetry/telemetry.h"

namespace {

trunkline::provisioner::EndpointPorts::Range endpoint_ports(const nlohmann::json& config) {
  trunkline::provisioner::EndpointPorts::Range range;
  const auto given = config.find("endpoint_ports");
  if (given == config.end()) return range;
  range.first = given->at("first").get<uint32_t>();
  range.count = given->at("count").get<uint32_t>();
  if (range.first == 0 || range.count > 65536 || range.first + range.count > 65536) {
    throw std::runtime_error("endpoint_ports: not a range of ports");
  }
  return range;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace trunkline;
  runtime::block_stop_signals();
  try {
    const auto config = runtime::load_config(argc, argv);
    telemetry::start(config.service);
    const telemetry::MetricsServer metrics(config.metrics_listen);
    const auto bus = bus::Bus::connect(config.bus, std::chrono::seconds(30));
    runtime::ServiceHostOptions options;
    options.snapshot_format = provisioner::kSnapshotFormat;
    provisioner::Registry registry(endpoint_ports(*config.raw));
    runtime::ServiceHost host(config, *bus, options, [&](size_t index) {
      return std::make_unique<provisioner::ProvisionerShard>(
          config.log_dsn, *bus, registry, [&options, index](const std::string& uuid) {
            return runtime::shard_of(uuid, options.shards) == index;
          });
    });
    registry.set_log_position([&host] { return host.position(); });
    provisioner::bootstrap(host, *config.raw);
    runtime::wait_for_stop_signal();
  } catch (const std::exception& error) {
    spdlog::critical("{}", error.what());
    return 1;
  }
  telemetry::stop();
  return 0;
}
