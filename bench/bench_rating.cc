// A month of many instances rated anew: bench_rating [instances, default 1000] [rounds, default 3].
// The hours of every node are filled into a PostgreSQL of its own; each round reads all of them and
// rates them by two price lists. Medians.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "metering/domain/invoice.h"
#include "metering/io/usage_reader.h"
#include "metering/io/usage_schema.h"
#include "testing/temp_servers.h"

namespace {

using namespace trunkline;
using namespace trunkline::metering;

constexpr double kLimitS = 5;
constexpr char kProject[] = "11111111-1111-4111-8111-111111111111";

// Three nodes an instance, and the instance as a whole.
std::string fill_sql(int64_t instances, const Month& month) {
  const std::string from = std::to_string(month.from_ms), to = std::to_string(month.to_ms - 1);
  const std::string ids =
      "(SELECT md5('i' || i)::uuid AS id, i FROM generate_series(1, " + std::to_string(instances) +
      ") i) instances";
  std::string of_nodes, node_values, of_instance, instance_values;
  for (const MeterInfo& meter : meters()) {
    const bool node = meter.of == MeterOf::node;
    (node ? of_nodes : of_instance) += ", " + std::string(meter.column);
    (node ? node_values : instance_values) += ", 3600000 + i % 1000 + h % 997";
  }
  const std::string hours = " CROSS JOIN generate_series(" + from + "::bigint, " + to +
                            ", 3600000) h";
  return "INSERT INTO usage.instance SELECT id, '" + std::string(kProject) +
         "', 'i' || i, 0 FROM " +
         ids + ";INSERT INTO usage.hour (hour_ms, project_id, instance_id, node_id" + of_instance +
         ") SELECT h, '" + kProject + "', id, '" + kNoNode + "'" + instance_values + " FROM " +
         ids +
         hours + ";INSERT INTO usage.hour (hour_ms, project_id, instance_id, node_id" + of_nodes +
         ") SELECT h, '" + kProject + "', id, md5('n' || i || '/' || n)::uuid" + node_values +
         " FROM " + ids + hours + " CROSS JOIN generate_series(1, 3) n;"
         "INSERT INTO usage.checkpoint VALUES (true, 1, '', '', 1, " + to + ", 0);"
         "ANALYZE usage.hour;";
}

PriceListState list_of(const char* amount, int64_t from_ms, int64_t middle_ms) {
  PriceListState list(kProject);
  list.currency = "EUR";
  list.minor_digits = 2;
  std::vector<Price> prices;
  for (const MeterInfo& meter : meters()) {
    prices.push_back({std::string(meter.name), std::string(meter.state), "", amount, "3600"});
  }
  list.versions = {{1, "bench", from_ms, prices, {}}, {2, "bench", middle_ms, prices, {}}};
  return list;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t instances = argc > 1 ? std::atoll(argv[1]) : 1'000;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 3;
  testing::TempPostgres postgres;
  postgres.execute("postgres", "CREATE DATABASE trunkline_metering");
  postgres.execute("trunkline_metering", tables_sql(kUsageSchema));
  const Month month = *parse_month("2026-11");
  postgres.execute("trunkline_metering", fill_sql(instances, month));
  UsageReader reader(postgres.dsn("trunkline_metering"));
  const PriceListState old_list = list_of("0.0495", month.from_ms, month.from_ms + 15 * kDayMs);
  const PriceListState new_list = list_of("0.0512", month.from_ms, month.from_ms + 20 * kDayMs);
  std::vector<double> seconds;
  std::string total, compared;
  size_t lines = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto started = std::chrono::steady_clock::now();
    const auto segments = segments_of({&old_list, &new_list}, month.from_ms, month.to_ms);
    const auto sums = reader.sums(kProject, segments, 0, std::nullopt);
    const Rating first = rate(old_list, segments, sums.used);
    const Rating second = rate(new_list, segments, sums.used);
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
    total = fixed_text(first.total, 2);
    compared = fixed_text(second.total, 2);
    lines = first.lines.size();
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  std::printf("rating  %lld instances, %lld hours of nodes, %zu lines, total %s, compared %s\n",
              static_cast<long long>(instances), static_cast<long long>(instances * 3 * 720), lines,
              total.c_str(), compared.c_str());
  std::printf("rating  median %.2f s, limit %.0f s: %s\n", median, kLimitS,
              median <= kLimitS ? "ok" : "MISSED");
  return median <= kLimitS ? 0 : 1;
}
