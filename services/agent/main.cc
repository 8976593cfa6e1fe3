// trunkline-agent: makes the nodes of one host as assigned and reports what it sees.
//   --config FILE               run
//   --config FILE --stop-nodes  stop all nodes of the host, return when they are down
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "agent/io/host_agent.h"
#include "agent/keeper/priority.h"
#include "bus/bus.h"
#include "bus/streams.h"
#include "runtime/config.h"
#include "telemetry/metrics_server.h"
#include "telemetry/telemetry.h"

namespace {

using trunkline::agent::HostOptions;

HostOptions read_options(const trunkline::runtime::ServiceConfig& config, const char* program) {
  const nlohmann::json& raw = *config.raw;
  HostOptions options;
  options.home = config.home;
  options.host = raw.at("host");
  options.zone = raw.value("zone", "");
  options.address = raw.at("address");
  options.cpu = raw.value("cpu", 0u);
  options.ram_mb = raw.value("ram_mb", uint64_t{0});
  options.disk_gb = raw.value("disk_gb", uint64_t{0});
  options.socket_dir = raw.at("socket_dir");
  options.node_user = raw.value("node_user", "");
  if (raw.contains("node_uids")) {
    options.node_uids.first = raw.at("node_uids").at("first");
    options.node_uids.count = raw.at("node_uids").at("count");
  }
  options.client_group = raw.value("client_group", "");
  if (raw.contains("client_addresses")) {
    options.client_addresses = raw.at("client_addresses").get<std::vector<std::string>>();
  }
  options.direct_clients = raw.value("direct_clients", false);
  options.keeper = raw.value("keeper", "");
  options.spares = raw.value("spare_copies", 4);
  options.disk_unit_mb = raw.value("disk_unit_mb", uint64_t{1024});
  options.disk_reserve_mb = raw.value("disk_reserve_mb", uint64_t{0});
  if (options.keeper.empty()) {
    std::error_code error;
    auto own = std::filesystem::read_symlink("/proc/self/exe", error);
    options.keeper =
        (error ? std::filesystem::path(program) : own).parent_path() / "trunkline-keeper";
  }
  if (raw.contains("pg_bin_dirs")) {
    // {"postgresql-15": "/usr/lib/postgresql/15/bin", …}
    for (const auto& [image, programs] : raw.at("pg_bin_dirs").items()) {
      options.images[image] = programs.get<std::string>();
    }
  } else {
    options.images = trunkline::agent::discover_images();
  }
  return options;
}

// Nodes run whether or not the bus is there, so it is waited for beside them.
class BusLink {
 public:
  BusLink(trunkline::bus::BusOptions options, std::string host, trunkline::agent::HostAgent& agent)
      : options_(std::move(options)), host_(std::move(host)), agent_(agent) {
    thread_ = std::thread([this] { connect(); });
  }
  ~BusLink() {
    stopping_ = true;
    thread_.join();
    logs_.reset();
    leases_.reset();
    subscription_.reset();
  }
  void send_stats(const trunkline::v1::HostStats& stats) {
    if (!ready_) return;
    bus_->publish(trunkline::bus::stats_subject(host_), stats.SerializeAsString());
  }
  void send(const trunkline::v1::HostReport& report) {
    if (!ready_) return;
    bus_->publish(trunkline::bus::report_subject(host_), report.SerializeAsString());
  }

 private:
  void connect() {
    while (!stopping_ && !ready_) {
      try {
        bus_ = trunkline::bus::Bus::connect(options_, std::chrono::milliseconds(1000));
        subscription_ = bus_->subscribe(
            trunkline::bus::task_subject(host_),
            [this](trunkline::bus::Message&& message) { agent_.on_task(message.data); });
        leases_ = bus_->subscribe(
            trunkline::bus::lease_subject(host_),
            [this](trunkline::bus::Message&& message) { agent_.on_lease(message.data); });
        logs_ = bus_->subscribe(
            trunkline::bus::log_subject(host_), [this](trunkline::bus::Message&& message) {
              answer_log_request(message);
            });
        ready_ = true;
      } catch (const std::exception& e) {
        spdlog::warn("no bus yet: {}", e.what());
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
      }
    }
  }
  void answer_log_request(const trunkline::bus::Message& message) {
    if (message.reply.empty()) return;
    try {
      bus_->publish(message.reply, agent_.on_log_request(message.data));
    } catch (const std::exception& e) {
      spdlog::warn("a log could not be read: {}", e.what());
    }
  }

  trunkline::bus::BusOptions options_;
  std::string host_;
  trunkline::agent::HostAgent& agent_;
  std::unique_ptr<trunkline::bus::Bus> bus_;
  std::unique_ptr<trunkline::bus::Subscription> subscription_;
  std::unique_ptr<trunkline::bus::Subscription> leases_;
  std::unique_ptr<trunkline::bus::Subscription> logs_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

int run(int argc, char** argv) {
  trunkline::agent::spare_from_oom();
  trunkline::runtime::block_stop_signals();
  auto config = trunkline::runtime::load_config(argc, argv);
  HostOptions options = read_options(config, argv[0]);
  trunkline::telemetry::start("agent", options.host);
  bool stop_nodes = false;
  for (int i = 1; i < argc; ++i) stop_nodes |= std::strcmp(argv[i], "--stop-nodes") == 0;
  if (stop_nodes) {
    trunkline::agent::stop_all_nodes(options, std::chrono::seconds(20));
    trunkline::telemetry::stop();
    return 0;
  }
  const trunkline::telemetry::MetricsServer metrics(config.metrics_listen);
  {
    trunkline::agent::HostAgent agent(options);
    std::unique_ptr<BusLink> link;
    std::atomic<BusLink*> ready{nullptr};
    agent.start([&ready](const trunkline::v1::HostReport& report) {
      if (BusLink* to = ready.load()) to->send(report);
    });
    link = std::make_unique<BusLink>(config.bus, options.host, agent);
    ready = link.get();
    agent.start_stats([&link](const trunkline::v1::HostStats& stats) { link->send_stats(stats); },
                      std::chrono::milliseconds(config.raw->value("stats_interval_ms", 10'000)));
    spdlog::info("agent of host {} runs", options.host);
    trunkline::runtime::wait_for_stop_signal();
    spdlog::info("agent stops; its nodes go on");
    agent.stop();
    ready = nullptr;
    link.reset();
  }
  trunkline::telemetry::stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "trunkline-agent: %s\n", e.what());
    return 1;
  }
}
