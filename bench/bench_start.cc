// How long the provisioner takes from exec to taking commands, with a log of synthetic instances:
// from a snapshot, and folding all of it beside that.
// bench_start BIN_DIR [instances, default 10,000] [rounds, default 5]. Medians; starts a PostgreSQL
// and a nats-server of its own.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "synthetic_log.h"
#include "testing/temp_servers.h"

namespace {

using namespace trunkline;
using Clock = std::chrono::steady_clock;

std::string text_of(const std::string& path) {
  std::stringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}

bool await(const std::function<bool()>& holds, std::chrono::seconds longest) {
  const auto until = Clock::now() + longest;
  while (!holds()) {
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class Service {
 public:
  Service(const std::string& bin, const std::string& name, const testing::TempPostgres& postgres,
          const testing::TempNats& nats)
      : program_(bin + "/trunkline-" + name) {
    const nlohmann::json config = {
        {"service", name},
        {"home", directory_.path()},
        {"nats", {{"url", nats.url()}, {"user", "test"}, {"password", "test"}}},
        {"log_dsn", postgres.dsn("trunkline_log", "tl_" + name)},
        {"admin_token_sha256", std::string(64, 'a')},
        {"bootstrap_versions", nlohmann::json::array()}};
    std::ofstream(config_path()) << config.dump();
    std::filesystem::permissions(config_path(), std::filesystem::perms::owner_read |
                                                    std::filesystem::perms::owner_write);
  }

  // Seconds from exec to the line that says so.
  double start() {
    const auto started = Clock::now();
    child_.start({program_, "--config", config_path()}, log_path(), false);
    const bool is_ready = await(
        [&] { return text_of(log_path()).find(" is ready at position") != std::string::npos; },
        std::chrono::seconds(120));
    if (!is_ready) {
      std::fprintf(stderr, "%s\n", text_of(log_path()).c_str());
      std::exit(1);
    }
    return std::chrono::duration<double>(Clock::now() - started).count();
  }
  void stop() {
    child_.kill(SIGKILL);
    std::remove(log_path().c_str());
  }

 private:
  std::string config_path() const { return directory_.path() + "/config.json"; }
  std::string log_path() const { return directory_.path() + "/log"; }

  testing::TempDirectory directory_;
  const std::string program_;
  testing::Child child_;
};

bool has_snapshot(const testing::TempPostgres& postgres, const std::string& service) {
  try {
    postgres.execute("trunkline_log",
                     "SELECT 1 / count(*) FROM cache.snapshot WHERE service = '" + service + "'");
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_start BIN_DIR [instances] [rounds]\n");
    return 2;
  }
  const int64_t instances = argc > 2 ? std::atoll(argv[2]) : 10'000;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  testing::TempPostgres postgres;
  postgres.create_platform_databases();
  bench::fill_log(postgres.dsn("trunkline_log"), instances * bench::kEventsOfALife);
  const testing::TempNats nats;
  Service service(argv[1], "provisioner", postgres, nats);
  const double whole = service.start();
  if (!await([&] { return has_snapshot(postgres, "provisioner"); }, std::chrono::seconds(60))) {
    std::fprintf(stderr, "no snapshot was made\n");
    return 1;
  }
  service.stop();
  std::vector<double> times;
  for (int i = 0; i < rounds; ++i) {
    times.push_back(service.start());
    service.stop();
  }
  std::printf("start of provisioner with %lld instances\n  from a snapshot, median of %d %8.2f s"
              "   goal <= 1%s\n  folding the whole log       %8.2f s\n",
              static_cast<long long>(instances), rounds, median(times),
              median(times) <= 1 ? "" : "   MISSED", whole);
}
