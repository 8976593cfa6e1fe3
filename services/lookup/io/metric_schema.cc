#include "lookup/io/metric_schema.h"

#include <charconv>

#include "lookup/domain/metric_sample.h"

namespace trunkline::lookup {
namespace {

std::string definitions(std::span<const MetricInfo> metrics) {
  std::string out;
  for (const auto& metric : metrics) out += ", " + std::string(metric.name) + " real";
  return out;
}
std::string columns(std::span<const MetricInfo> metrics) {
  std::string out;
  for (const auto& metric : metrics) out += ", " + std::string(metric.name);
  return out;
}
// A sum of reals loses what a double keeps.
std::string aggregates(std::span<const MetricInfo> metrics) {
  std::string out;
  for (const auto& metric : metrics) {
    const std::string name(metric.name);
    out += metric.of_the_worst ? ", max(" + name + ")" : ", avg(" + name + "::float8)";
  }
  return out;
}

std::string prefix_of(const MetricTable& table) { return std::string(table.name) + "_p"; }

}  // namespace

std::string node_columns() { return columns(node_metrics()); }
std::string database_columns() { return columns(database_metrics()); }
std::string node_aggregates() { return aggregates(node_metrics()); }
std::string database_aggregates() { return aggregates(database_metrics()); }

std::string metric_tables_sql() {
  const std::string node = "(instance_id uuid NOT NULL, node_id uuid NOT NULL,"
                           " at_ms bigint NOT NULL, is_primary boolean" +
                           definitions(node_metrics()) + ") PARTITION BY RANGE (at_ms);";
  return "CREATE SCHEMA IF NOT EXISTS metrics;"
         "CREATE TABLE IF NOT EXISTS metrics.node_raw " + node +
         "CREATE INDEX IF NOT EXISTS node_raw_by_instance ON metrics.node_raw (instance_id, at_ms);"
         "CREATE TABLE IF NOT EXISTS metrics.node_5m " + node +
         "CREATE INDEX IF NOT EXISTS node_5m_by_instance ON metrics.node_5m (instance_id, at_ms);"
         "CREATE TABLE IF NOT EXISTS metrics.database_1m (instance_id uuid NOT NULL,"
         " database_id uuid NOT NULL, at_ms bigint NOT NULL" + definitions(database_metrics()) +
         ") PARTITION BY RANGE (at_ms);"
         "CREATE INDEX IF NOT EXISTS database_1m_by_database"
         " ON metrics.database_1m (instance_id, database_id, at_ms);"
         "CREATE TABLE IF NOT EXISTS metrics.progress (one boolean PRIMARY KEY DEFAULT true"
         " CHECK (one), rolled_up_to_ms bigint NOT NULL);";
}

std::string partition_sql(const MetricTable& table, int64_t at_ms) {
  const int64_t number = at_ms / table.partition_ms;
  const std::string name = "metrics." + prefix_of(table) + std::to_string(number);
  return "CREATE TABLE IF NOT EXISTS " + name + " PARTITION OF metrics." + table.name +
         " FOR VALUES FROM (" + std::to_string(number * table.partition_ms) + ") TO (" +
         std::to_string((number + 1) * table.partition_ms) + ")";
}

int64_t partition_begin_ms(const MetricTable& table, const std::string& partition) {
  const std::string prefix = prefix_of(table);
  if (!partition.starts_with(prefix)) return -1;
  int64_t number = -1;
  const char* const end = partition.data() + partition.size();
  const auto [stop, error] = std::from_chars(partition.data() + prefix.size(), end, number);
  if (error != std::errc() || stop != end || number < 0) return -1;
  return number * table.partition_ms;
}

}  // namespace trunkline::lookup
