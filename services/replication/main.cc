#include <spdlog/spdlog.h>

#include "replication/domain/group_snapshot.h"
#include "replication/io/replay_service.h"
#include "replication/io/replication_shard.h"
#include "runtime/config.h"
#include "runtime/ownership.h"
#include "runtime/service_host.h"
#include "telemetry/metrics_server.h"
#include "telemetry/telemetry.h"

int main(int argc, char** argv) {
  using namespace trunkline;
  runtime::block_stop_signals();
  try {
    const auto config = runtime::load_config(argc, argv);
    telemetry::start(config.service);
    const telemetry::MetricsServer metrics(config.metrics_listen);
    const auto bus = bus::Bus::connect(config.bus, std::chrono::seconds(30));
    runtime::ServiceHostOptions options;
    options.snapshot_format = replication::kSnapshotFormat;
    options.takes_commands = false;
    runtime::Ownership ownership(config.log_dsn, config.service);
    runtime::ServiceHost host(config, *bus, options, [&](size_t) {
      return std::make_unique<replication::ReplicationShard>(config.log_dsn, *bus, ownership);
    });
    ownership.start({.position = [&] { return host.position(); },
                     .on_change = [&](bool owned) { host.take_commands(owned); }});
    const replication::ReplayService replay(*bus, config.log_dsn);
    runtime::wait_for_stop_signal();
    ownership.stop();
  } catch (const std::exception& error) {
    spdlog::critical("{}", error.what());
    return 1;
  }
  telemetry::stop();
  return 0;
}
