// The CPU that metering takes of one core, its share in PostgreSQL included: the real program on a
// real log, synthetic hosts and a proxy that tell their counters every ten seconds.
// bench_metering BIN_DIR [instances, default 10,000] [windows, default 2] [window in seconds, 60].
// Starts a PostgreSQL and a nats-server of its own.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/digest.h"
#include "base/ids.h"
#include "bus/bus.h"
#include "runtime/random.h"
#include "synthetic_log.h"
#include "testing/temp_servers.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/stats.pb.h"
#include "trunkline/v1/traffic.pb.h"

namespace {

using namespace trunkline;
using nlohmann::json;
constexpr int kHosts = 100;
constexpr int kNodes = 3;
constexpr size_t kEndpointsAMessage = 4000;
constexpr auto kReportEvery = std::chrono::seconds(10);

std::string instance_id(int i) { return uuid_from_name("bench/instance/" + std::to_string(i)); }
std::string node_id(int i, int n) {
  return uuid_from_name("bench/node/" + std::to_string(i) + "/" + std::to_string(n));
}
int host_of(int i, int n) { return (i * kNodes + n) % kHosts; }
std::string host_name(int h) { return "host-" + std::to_string(h); }

// Instances of three nodes, all active; COPY's text format has no characters of these to escape.
class LogFiller {
 public:
  explicit LogFiller(const std::string& dsn) : connection_(dsn) {
    connection_.execute(std::string("COPY log.event (") + bench::kEventColumns + ") FROM STDIN",
                        PGRES_COPY_IN);
  }
  void add(int i) {
    const std::string stream = "instance-" + instance_id(i);
    version_ = 0;
    v1::InstanceEvent event;
    auto* created = event.mutable_instance_created();
    created->set_project_id(uuid_from_name("bench/project/" + std::to_string(i % 100)));
    created->set_name("bench-" + std::to_string(i));
    created->mutable_size()->set_cpu(2);
    created->mutable_size()->set_ram_mb(4096);
    created->mutable_size()->set_disk_gb(50);
    put(stream, "instance_created", event);
    for (int n = 0; n < kNodes; ++n) {
      event.mutable_node_placed()->set_node_id(node_id(i, n));
      event.mutable_node_placed()->mutable_address()->set_host(host_name(host_of(i, n)));
      put(stream, "node_placed", event);
    }
    for (int n = 0; n < kNodes; ++n) {
      event.mutable_node_created()->set_node_id(node_id(i, n));
      event.mutable_node_created()->set_generation(2);
      put(stream, "node_created", event);
    }
    event.mutable_instance_activated();
    put(stream, "instance_activated", event);
    if (rows_.size() > (1 << 20)) flush();
  }
  int64_t finish() {
    flush();
    connection_.end();
    connection_.execute("SELECT setval('log.position_seq', " + std::to_string(position_) + ")",
                        PGRES_TUPLES_OK);
    return position_;
  }

 private:
  void put(const std::string& stream, const char* type, const v1::InstanceEvent& event) {
    const std::string zero = "\\\\x" + std::string(64, '0');
    ++position_;
    ++version_;
    rows_ += std::to_string(position_) + "\t" + stream + "\t" + std::to_string(version_) +
             "\t" + type + "\t1\t\\\\x" + hex(event.SerializeAsString()) + "\t" +
             uuid_from_name(std::to_string(position_)) + "\t\t\tbench\t\t" +
             std::to_string(now_us_ + position_) + "\t" + zero + "\t" + zero + "\n";
  }
  void flush() {
    connection_.put(rows_);
    rows_.clear();
  }
  bench::Connection connection_;
  std::string rows_;
  int64_t position_ = 0;
  int64_t version_ = 0;
  const int64_t now_us_ = to_unix_us(runtime::now()) - 120'000'000;
};

std::string text_of(const std::string& path) {
  std::stringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

// Fields of /proc/<pid>/stat after the name: state, parent, …
std::vector<std::string> stat_of(const std::string& pid) {
  const std::string text = text_of("/proc/" + pid + "/stat");
  std::istringstream in(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::vector<std::string> fields;
  for (std::string field; in >> field;) fields.push_back(field);
  return fields;
}

double seconds_of(const std::vector<std::string>& stat, size_t first, size_t last) {
  double ticks = 0;
  for (size_t i = first; i <= last && i < stat.size(); ++i) ticks += std::stod(stat[i]);
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// User and system time of a process; with `all`, of its children too, also those that ended.
double cpu_of(pid_t pid, bool all) {
  const std::string id = std::to_string(pid);
  double seconds = seconds_of(stat_of(id), 11, all ? 14 : 12);
  if (!all) return seconds;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string other = entry.path().filename();
    if (other.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto stat = stat_of(other);
    if (stat.size() > 14 && stat[1] == id) seconds += seconds_of(stat, 11, 14);
  }
  return seconds;
}

// Every second node and endpoint has counted something since it was told last.
void tell(bus::Bus& bus, int instances, uint64_t round) {
  std::vector<v1::HostStats> hosts(kHosts);
  for (int i = 0; i < instances; ++i) {
    for (int n = 0; n < kNodes; ++n) {
      auto* node = hosts[static_cast<size_t>(host_of(i, n))].add_nodes();
      node->set_node_id(node_id(i, n));
      node->set_instance_id(instance_id(i));
      auto* counters = node->mutable_counters();
      counters->set_epoch(node_id(i, n));
      const uint64_t busy = i % 2 == 0 ? round : 0;
      counters->set_transactions(busy * 1000);
      counters->set_wal_bytes(busy * 5'000'000);
      counters->set_write_bytes(busy * 9'000'000);
      counters->set_cpu_ms(busy * 700);
      counters->set_used_mb(500);
    }
  }
  for (int h = 0; h < kHosts; ++h) {
    auto& stats = hosts[static_cast<size_t>(h)];
    stats.set_host(host_name(h));
    stats.set_agent_id("bench");
    stats.set_sequence(round);
    stats.set_parts(1);
    bus.publish("tl.stats." + host_name(h), stats.SerializeAsString());
  }
  const size_t parts = (static_cast<size_t>(instances) + kEndpointsAMessage - 1) /
                       kEndpointsAMessage;
  std::vector<v1::TrafficReport> reports(parts);
  for (int i = 0; i < instances; ++i) {
    auto* endpoint = reports[static_cast<size_t>(i) / kEndpointsAMessage].add_endpoints();
    endpoint->set_instance_id(instance_id(i));
    const uint64_t busy = i % 2 == 0 ? round : 0;
    endpoint->set_bytes_in(busy * 10'000);
    endpoint->set_bytes_out(busy * 90'000);
    endpoint->set_connections(busy);
    endpoint->set_connection_ms(busy * 10'000);
  }
  for (size_t p = 0; p < parts; ++p) {
    reports[p].set_proxy_id("proxy");
    reports[p].set_epoch("bench");
    reports[p].set_sequence(round);
    reports[p].set_part(static_cast<uint32_t>(p));
    reports[p].set_parts(static_cast<uint32_t>(parts));
    bus.publish("tl.traffic.proxy", reports[p].SerializeAsString());
  }
}

json ask(bus::Bus& bus, const json& request) {
  const auto answer =
      bus.request("tl.admin.metering", request.dump(), std::chrono::seconds(60));
  return answer ? json::parse(answer->data) : json::object();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_metering BIN_DIR [instances] [windows] [window seconds]\n");
    return 2;
  }
  const int instances = argc > 2 ? std::atoi(argv[2]) : 10'000;
  const int windows = argc > 3 ? std::atoi(argv[3]) : 2;
  const int window_s = argc > 4 ? std::atoi(argv[4]) : 60;

  testing::TempPostgres postgres;
  postgres.create_platform_databases();
  testing::TempNats nats;
  LogFiller log(postgres.dsn("trunkline_log"));
  for (int i = 0; i < instances; ++i) log.add(i);
  const int64_t events = log.finish();

  testing::TempDirectory directory;
  const std::string config = directory.path() + "/metering.json";
  std::ofstream(config) << json{
      {"service", "metering"},
      {"home", directory.path()},
      {"nats", {{"url", nats.url()}, {"user", "test"}, {"password", "test"}}},
      {"log_dsn", postgres.dsn("trunkline_log", "tl_metering")},
      {"metering_dsn", postgres.dsn("trunkline_metering", "tl_metering")},
      {"event_source", "/trunkline/bench"},
      {"event_schema", "http://127.0.0.1/v1/schemas/usage.json"},
      {"usage", {{"window_ms", window_s * 1000}, {"grace_ms", 5000}}}};
  std::filesystem::permissions(config, std::filesystem::perms::owner_read |
                                           std::filesystem::perms::owner_write);
  testing::Child metering;
  metering.start({std::string(argv[1]) + "/trunkline-metering", "--config", config},
                 directory.path() + "/log", false);
  const auto bus = bus::Bus::connect({nats.url(), "test", "test", "bench"},
                                     std::chrono::seconds(10));
  while (ask(*bus, {{"op", "status"}}).value("position", int64_t{0}) < events) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }

  const pid_t server = std::atoi(
      text_of(postgres.dsn().substr(5, postgres.dsn().find(' ') - 5) + "/data/postmaster.pid")
          .c_str());
  using Clock = std::chrono::steady_clock;
  // From the middle of a window on, so that whole closes are inside; the first ones warm up.
  const auto begun = Clock::now();
  auto measured_from = begun;
  double metering_s = 0, postgres_s = 0;
  int64_t records = 0;
  const int rounds_a_window = std::max(1, window_s / 10);
  const uint64_t warm = static_cast<uint64_t>(2 * rounds_a_window);
  const uint64_t last = warm + static_cast<uint64_t>(windows * rounds_a_window);
  for (uint64_t round = 1; round <= last; ++round) {
    tell(*bus, instances, round);
    std::this_thread::sleep_until(begun + round * kReportEvery);
    if (round == warm) {
      records = -ask(*bus, {{"op", "checksum"}}).value("records", int64_t{0});
      measured_from = Clock::now();
      metering_s = -cpu_of(metering.pid(), false);
      postgres_s = -cpu_of(server, true);
    } else if (round == last) {
      metering_s += cpu_of(metering.pid(), false);
      postgres_s += cpu_of(server, true);
    }
  }
  const double took = std::chrono::duration<double>(Clock::now() - measured_from).count();
  records += ask(*bus, {{"op", "checksum"}}).value("records", int64_t{0});
  std::istringstream status(
      text_of("/proc/" + std::to_string(metering.pid()) + "/status"));
  std::string memory;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) memory = line.substr(line.find_first_not_of(" \t", 6));
  }
  std::printf("metering: %d instances of %d nodes, windows of %d s: %.1f %% of a core "
              "(program %.1f %%, PostgreSQL %.1f %%), goal 10 %%; %lld records in %.0f s, %s\n",
              instances, kNodes, window_s, 100 * (metering_s + postgres_s) / took,
              100 * metering_s / took, 100 * postgres_s / took, static_cast<long long>(records),
              took, memory.c_str());
  return 0;
}
