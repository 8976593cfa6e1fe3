#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "bus/streams.h"
#include "provisioner/io/bootstrap.h"
#include "provisioner/io/provisioner_shard.h"
#include "runtime/config.h"
#include "runtime/service_host.h"
#include "runtime/shards.h"
#include "telemetry/telemetry.h"

int main(int argc, char** argv) {
  using namespace trunkline;
  runtime::block_stop_signals();
  try {
    const auto config = runtime::load_config(argc, argv);
    telemetry::start(config.service);
    const auto bus = bus::Bus::connect(config.bus, std::chrono::seconds(30));
    runtime::ServiceHostOptions options;
    provisioner::Registry registry;
    runtime::ServiceHost host(config, *bus, options, [&](size_t index) {
      return std::make_unique<provisioner::ProvisionerShard>(
          config.log_dsn, *bus, registry, [&options, index](const std::string& uuid) {
            return runtime::shard_of(uuid, options.shards) == index;
          });
    });
    provisioner::bootstrap(host, *config.raw);
    runtime::wait_for_stop_signal();
  } catch (const std::exception& error) {
    spdlog::critical("{}", error.what());
    return 1;
  }
  telemetry::stop();
  return 0;
}
