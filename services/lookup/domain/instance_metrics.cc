#include "lookup/domain/instance_metrics.h"

#include <cmath>
#include <functional>

#include "lookup/domain/json_writer.h"

namespace trunkline::lookup {
namespace {

constexpr size_t kHitColumn = 8, kReadColumn = 9;          // of node_metrics()
constexpr size_t kDatabaseHit = 4, kDatabaseRead = 5;      // of database_metrics()

const ShownNode* primary_of(const ShownInstance& instance) {
  for (const auto& node : instance.nodes) {
    if (node.known && node.role == "primary") return &node;
  }
  return nullptr;
}

const v1::DatabaseStats* database_of(const ShownNode* node, const std::string& id) {
  if (node == nullptr) return nullptr;
  for (const auto& database : node->stats.server().databases()) {
    if (database.database_id() == id) return &database;
  }
  return nullptr;
}

void write_values(JsonWriter& out, std::span<const MetricInfo> metrics,
                  const MetricValues& values) {
  for (size_t i = 0; i < metrics.size() && i < values.size(); ++i) {
    out.raw(metrics[i].name, number_text(values[i]));
  }
}

void write_database(JsonWriter& out, const v1::DatabaseStats& database) {
  out.text("name", database.name());
  out.number("size_bytes", database.size_bytes());
  out.number("connections", database.connections());
  out.number("commits", database.commits());
  out.number("rollbacks", database.rollbacks());
  out.raw("cache_hit_ratio", number_text(hit_ratio(static_cast<double>(database.blocks_hit()),
                                                   static_cast<double>(database.blocks_read()))));
  out.number("rows_returned", database.rows_returned());
  out.number("rows_fetched", database.rows_fetched());
  out.number("rows_inserted", database.rows_inserted());
  out.number("rows_updated", database.rows_updated());
  out.number("rows_deleted", database.rows_deleted());
  out.number("conflicts", database.conflicts());
  out.number("temp_bytes", database.temp_bytes());
  out.number("deadlocks", database.deadlocks());
}

// `database`: only its own; empty: all.
void write_statements(JsonWriter& out, const ShownNode* node, const std::string& database) {
  out.begin_array("slow_statements");
  const auto& server = node == nullptr ? v1::ServerStats::default_instance() : node->stats.server();
  for (const auto& statement : server.statements()) {
    if (!database.empty() && statement.database() != database) continue;
    out.begin_object();
    out.text("database", statement.database());
    out.text("query", statement.query());
    out.text("query_id", std::to_string(statement.query_id()));
    out.number("calls", statement.calls());
    out.raw("total_ms", number_text(statement.total_ms()));
    out.raw("mean_ms", number_text(statement.mean_ms()));
    out.number("rows", statement.rows());
    out.end_object();
  }
  out.end_array();
}

void write_span(JsonWriter& out, const TimeSpan& span) {
  const auto time = [](int64_t ms) { return format_rfc3339(from_unix_us(ms * 1000)); };
  out.text("from", time(span.from_ms));
  out.text("to", time(span.to_ms));
  out.number("step_seconds", static_cast<uint64_t>(span.step_ms / 1000));
}

void write_series(JsonWriter& out, std::span<const MetricInfo> metrics, const MetricSeries& series,
                  size_t hit, size_t read) {
  const auto column = [&](std::string_view name, const std::function<std::string(size_t)>& at) {
    std::string text = "[";
    for (size_t i = 0; i < series.points.size(); ++i) text += (i > 0 ? "," : "") + at(i);
    out.raw(name, text + "]");
  };
  column("times", [&](size_t i) { return std::to_string(series.points[i].at_ms / 1000); });
  for (size_t m = 0; m < metrics.size(); ++m) {
    column(metrics[m].name, [&](size_t i) { return number_text(series.points[i].values[m]); });
  }
  column("cache_hit_ratio", [&](size_t i) {
    const MetricValues& values = series.points[i].values;
    return number_text(hit_ratio(values[hit], values[read]));
  });
}

void write_node(JsonWriter& out, const ShownNode& node) {
  out.begin_object();
  out.text("uuid", node.id);
  out.text("host", node.host);
  if (!node.role.empty()) out.text("role", node.role);
  out.boolean("answers", node.known && node.stats.has_server());
  if (node.known) {
    out.text("measured_at", format_rfc3339(node.at));
    write_values(out, node_metrics(), node.values);
    out.raw("cache_hit_ratio",
            number_text(hit_ratio(node.values[kHitColumn], node.values[kReadColumn])));
  }
  out.end_object();
}

}  // namespace

std::string instance_metrics_json(const ShownInstance& instance, const TimeSpan& span,
                                  const std::vector<MetricSeries>& series) {
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  out.reference("instance", "/v1/postgres/instances/", instance.id);
  out.text("name", instance.name);
  out.text("status", instance.status);
  const ShownNode* primary = primary_of(instance);
  out.begin_object("now");
  out.begin_array("nodes");
  for (const auto& node : instance.nodes) write_node(out, node);
  out.end_array();
  out.begin_array("databases");
  if (primary != nullptr) {
    for (const auto& database : primary->stats.server().databases()) {
      out.begin_object();
      out.text("uuid", database.database_id());
      write_database(out, database);
      out.end_object();
    }
  }
  out.end_array();
  out.begin_array("locks");
  if (primary != nullptr) {
    for (const auto& lock : primary->stats.server().locks()) {
      out.begin_object();
      out.text("mode", lock.mode());
      out.number("count", lock.count());
      out.end_object();
    }
  }
  out.end_array();
  write_statements(out, primary, "");
  out.end_object();
  out.begin_object("history");
  write_span(out, span);
  out.begin_array("nodes");
  for (const auto& one : series) {
    out.begin_object();
    out.text("uuid", one.id);
    write_series(out, node_metrics(), one, kHitColumn, kReadColumn);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  out.end_object();
  return text;
}

std::vector<Finding> database_findings(const ShownInstance& instance,
                                       const std::string& database_id, TimePoint now) {
  std::vector<Finding> out;
  const auto add = [&](bool applies, bool serious, const char* rule, std::string text) {
    if (applies) out.push_back({serious, rule, std::move(text)});
  };
  const auto percent = [](double share) { return std::to_string(std::lround(share * 100)) + " %"; };
  const ShownNode* primary = primary_of(instance);
  if (primary == nullptr || !primary->stats.has_server()) {
    add(true, true, "primary_not_measured", "the primary has not told how it fares");
    return out;
  }
  const auto age = now - primary->at;
  add(age > std::chrono::minutes(1), true, "measurement_old",
      "the newest measurement is more than a minute old");
  const auto& server = primary->stats.server();
  const double connections =
      server.connections_active() + server.connections_idle() +
      server.connections_idle_in_transaction();
  const double share =
      server.connections_max() > 0 ? connections / server.connections_max() : 0;
  add(share > 0.8, share > 0.95, "connections_near_limit",
      percent(share) + " of the connections that the server takes are in use");
  const double used_gb = static_cast<double>(primary->stats.counters().used_mb()) / 1024;
  const double disk =
      instance.disk_gb > 0 ? used_gb / static_cast<double>(instance.disk_gb) : 0;
  add(disk > 0.8, disk > 0.9, "disk_near_full", percent(disk) + " of the disk size is used");
  add(server.longest_transaction_ms() > 600'000, false, "long_transaction",
      "a transaction has been open for " +
          std::to_string(server.longest_transaction_ms() / 60'000) +
          " minutes: it keeps dead rows from being cleared away");
  add(server.locks_not_granted() > 0, false, "locks_waited_for",
      std::to_string(server.locks_not_granted()) + " locks are waited for");
  add(server.xid_age() > 1'000'000'000, server.xid_age() > 1'800'000'000, "transaction_ids_old",
      "the oldest transaction id that is not frozen is " + std::to_string(server.xid_age()) +
          " transactions old; at two thousand million the server takes no writes");
  add(server.slot_retained_bytes() > (uint64_t{1} << 30), false, "wal_held_back",
      "a standby that is behind holds back more than 1 GB of WAL");
  for (const auto& node : instance.nodes) {
    add(node.known && node.role == "standby" &&
            node.stats.server().replication_lag_bytes() > (uint64_t{64} << 20),
        false, "standby_behind", "the standby on " + node.host + " has more than 64 MB to replay");
  }
  const auto* database = database_of(primary, database_id);
  add(database == nullptr, true, "database_not_measured", "the primary does not know the database");
  if (database == nullptr) return out;
  const auto ratio = hit_ratio(static_cast<double>(database->blocks_hit()),
                               static_cast<double>(database->blocks_read()));
  add(ratio && *ratio < 0.9 && database->blocks_read() > 100'000, false, "cache_too_small",
      "only " + percent(ratio.value_or(0)) + " of the blocks that were read were in memory");
  add(database->deadlocks() > 0, false, "deadlocks",
      std::to_string(database->deadlocks()) + " deadlocks since its statistics began");
  add(database->temp_bytes() > (uint64_t{10} << 30), false, "temporary_files",
      "sorts and joins have spilled more than 10 GB to disk: more work memory may help");
  return out;
}

std::string database_report_json(const ShownInstance& instance, const ShownDatabase& database,
                                 const TimeSpan& span, const std::vector<MetricSeries>& series,
                                 TimePoint now) {
  std::string text;
  JsonWriter out(text);
  const ShownNode* primary = primary_of(instance);
  const auto findings = database_findings(instance, database.id, now);
  bool serious = false;
  for (const auto& finding : findings) serious |= finding.serious;
  out.begin_object();
  out.text("uuid", database.id);
  out.text("name", database.name);
  out.reference("instance", "/v1/postgres/instances/", instance.id);
  out.text("instance_name", instance.name);
  out.text("instance_status", instance.status);
  out.text("made_at", format_rfc3339(now));
  out.begin_object("health");
  out.text("status", serious ? "BAD" : findings.empty() ? "GOOD" : "FAIR");
  out.begin_array("findings");
  for (const auto& finding : findings) {
    out.begin_object();
    out.text("severity", finding.serious ? "serious" : "notice");
    out.text("rule", finding.rule);
    out.text("text", finding.text);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  out.begin_object("now");
  if (primary != nullptr) out.text("measured_at", format_rfc3339(primary->at));
  if (const auto* found = database_of(primary, database.id)) write_database(out, *found);
  out.end_object();
  out.begin_array("nodes");
  for (const auto& node : instance.nodes) write_node(out, node);
  out.end_array();
  out.begin_object("history");
  write_span(out, span);
  const MetricSeries none;
  write_series(out, database_metrics(), series.empty() ? none : series.front(), kDatabaseHit,
               kDatabaseRead);
  out.end_object();
  write_statements(out, primary, database.name);
  out.end_object();
  return text;
}

}  // namespace trunkline::lookup
