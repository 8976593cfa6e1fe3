// The tables of the metrics' history: schema `metrics` of database trunkline_lookup, beside the
// read model and never rebuilt. Partitions by time; what is too old is dropped with its partition.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trunkline::lookup {

struct MetricTable {
  const char* name;
  int64_t partition_ms;
  int64_t keep_ms;
};
inline constexpr int64_t kHourMs = 3'600'000;
inline constexpr int64_t kDayMs = 24 * kHourMs;
inline constexpr int64_t kBucketMs = 300'000;  // of node_5m
inline constexpr MetricTable kMetricTables[] = {
    {"node_raw", kHourMs, kDayMs},
    {"node_5m", kDayMs, 30 * kDayMs},
    {"database_1m", kDayMs, 30 * kDayMs},
};

std::string metric_tables_sql();
// Makes the partition of `at_ms`.
std::string partition_sql(const MetricTable& table, int64_t at_ms);
// What `partition` (as partition_sql names them) begins at; -1: it is none of the table's.
int64_t partition_begin_ms(const MetricTable& table, const std::string& partition);

// ", connections, connections_active, …" with a prefix each.
std::string node_columns();
std::string database_columns();
// Means and maxima of the columns, with their names.
std::string node_aggregates();
std::string database_aggregates();

}  // namespace trunkline::lookup
