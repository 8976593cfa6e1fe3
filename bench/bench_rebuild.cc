// Rebuild of the read model from synthetic events, beside the raw speed of reading the same table:
// bench_rebuild [events, default 1,000,000] [rounds, default 3]. Medians; needs no platform, it
// starts a PostgreSQL of its own.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "lookup/io/log_access.h"
#include "lookup/io/rebuild.h"
#include "synthetic_log.h"
#include "testing/temp_servers.h"

namespace {

using namespace trunkline;
using namespace trunkline::bench;

double seconds_of(const std::function<void()>& work) {
  const auto started = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t events = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 3;
  testing::TempPostgres postgres;
  postgres.create_platform_databases();
  fill_log(postgres.dsn("trunkline_log"), events);
  const std::string log_dsn = postgres.dsn("trunkline_log", "tl_lookup");
  const std::string model_dsn = postgres.dsn("trunkline_lookup", "tl_lookup");
  std::vector<double> raw, fold, whole, fold_cpu, whole_cpu;
  int64_t documents = 0;
  for (int round = 0; round < rounds; ++round) {
    raw.push_back(seconds_of([&] {
      Connection connection(log_dsn);
      connection.execute(std::string("COPY (SELECT ") + kEventColumns +
                             " FROM log.event ORDER BY position) TO STDOUT (FORMAT binary)",
                         PGRES_COPY_OUT);
      if (connection.drain() < events) std::exit(1);
    }));
    double folded = 0;
    const double cpu_before = cpu_seconds();
    whole.push_back(seconds_of([&] {
      lookup::Rebuild rebuild(log_dsn, model_dsn, {});
      lookup::LogAccess log(log_dsn);
      folded = seconds_of([&] { rebuild.fold_to(log.settled().position); });
      fold_cpu.push_back(cpu_seconds() - cpu_before);
      rebuild.write();
      rebuild.swap();
      documents = rebuild.documents();
      if (rebuild.events() != events || !rebuild.blocked().empty()) std::exit(1);
    }));
    fold.push_back(folded);
    whole_cpu.push_back(cpu_seconds() - cpu_before);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto rate = [&](const std::vector<double>& times) {
    return static_cast<double>(events) / median(times);
  };
  std::printf("rebuild of the read model: %lld events, %lld documents, median of %d\n",
              static_cast<long long>(events), static_cast<long long>(documents), rounds);
  std::printf("  raw COPY of the table      %10.0f events/s  %6.2f s\n", rate(raw), median(raw));
  std::printf("  read and fold              %10.0f events/s  %6.2f s  (%.2f s of our CPU)\n",
              rate(fold), median(fold), median(fold_cpu));
  std::printf("  whole rebuild              %10.0f events/s  %6.2f s  (%.2f s of our CPU, "
              "%.2f of raw COPY)\n",
              rate(whole), median(whole), median(whole_cpu), median(raw) / median(whole));
  std::printf("  memory at most             %10.0f MB\n",
              static_cast<double>(usage.ru_maxrss) / 1024);
}
