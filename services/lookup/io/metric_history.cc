#include "lookup/io/metric_history.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>

#include "telemetry/metrics.h"

namespace trunkline::lookup {
namespace {

// One process at a time; a schema that two make at once is an error for one of them.
constexpr char kTryToKeep[] = "SELECT pg_try_advisory_xact_lock(5461007)";
constexpr size_t kRowsAtOnce = 2'000;
constexpr int64_t kLateMs = 60'000;  // a bucket is closed then

struct HistoryMetrics {
  telemetry::CounterFamily rows{"trunkline_metric_samples_total", "Samples written.", {"table"}};
  telemetry::CounterFamily lost{"trunkline_metric_samples_lost_total",
                                "Samples thrown away because the history was away for long."};
  telemetry::GaugeFamily waiting{"trunkline_metric_samples_waiting", "Samples not written yet."};
};
HistoryMetrics& metrics() {
  static auto* const all = new HistoryMetrics;
  return *all;
}

void append_values(std::string& sql, const MetricValues& values) {
  char buffer[32];
  for (const auto& value : values) {
    sql += ',';
    if (!value || !std::isfinite(static_cast<float>(*value))) {
      sql += "null";
      continue;
    }
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, static_cast<float>(*value)).ptr;
    sql.append(buffer, end);
  }
}

std::string uuid_literal(pqxx::work& work, const std::string& uuid) { return work.quote(uuid); }

void insert(pqxx::work& work, const std::vector<NodeSample>& samples, size_t from, size_t to) {
  std::string sql = "INSERT INTO metrics.node_raw (instance_id, node_id, at_ms, is_primary" +
                    node_columns() + ") VALUES ";
  for (size_t i = from; i < to; ++i) {
    const NodeSample& s = samples[i];
    sql += i == from ? "(" : ",(";
    sql += uuid_literal(work, s.instance_id) + "," + uuid_literal(work, s.node_id) + "," +
           std::to_string(s.at_ms) + (s.is_primary ? ",true" : ",false");
    append_values(sql, s.values);
    sql += ')';
  }
  work.exec0(sql);
}

void insert(pqxx::work& work, const std::vector<DatabaseSample>& samples, size_t from, size_t to) {
  std::string sql = "INSERT INTO metrics.database_1m (instance_id, database_id, at_ms" +
                    database_columns() + ") VALUES ";
  for (size_t i = from; i < to; ++i) {
    const DatabaseSample& s = samples[i];
    sql += i == from ? "(" : ",(";
    sql += uuid_literal(work, s.instance_id) + "," + uuid_literal(work, s.database_id) + "," +
           std::to_string(s.at_ms);
    append_values(sql, s.values);
    sql += ')';
  }
  work.exec0(sql);
}

// Removes what it has written.
template <class Sample>
void write(pqxx::connection& connection, std::vector<Sample>& samples, const char* table) {
  while (!samples.empty()) {
    const size_t count = std::min(samples.size(), kRowsAtOnce);
    pqxx::work work(connection);
    insert(work, samples, 0, count);
    work.commit();
    samples.erase(samples.begin(), samples.begin() + static_cast<ptrdiff_t>(count));
    metrics().rows.add({table}, static_cast<double>(count));
  }
}

template <class Sample>
void keep_newest(std::vector<Sample>& samples, size_t most) {
  if (samples.size() <= most) return;
  const size_t lost = samples.size() - most / 2;
  samples.erase(samples.begin(), samples.begin() + static_cast<ptrdiff_t>(lost));
  metrics().lost.add({}, static_cast<double>(lost));
}

}  // namespace

MetricHistory::MetricHistory(Options options) : options_(std::move(options)) {
  metrics();
  thread_ = std::thread([this] { run(); });
}

MetricHistory::~MetricHistory() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

int64_t MetricHistory::now() const {
  if (options_.now_ms) return options_.now_ms();
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void MetricHistory::add(NodeSample sample) {
  const std::lock_guard lock(mutex_);
  nodes_.push_back(std::move(sample));
  keep_newest(nodes_, options_.most_waiting);
}

void MetricHistory::add(DatabaseSample sample) {
  const std::lock_guard lock(mutex_);
  databases_.push_back(std::move(sample));
  keep_newest(databases_, options_.most_waiting);
}

bool MetricHistory::settle(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  const uint64_t mine = ++settle_asked_;
  wake_.notify_all();
  return wake_.wait_for(lock, patience, [&] { return settled_ >= mine; });
}

void MetricHistory::run() {
  std::unique_ptr<pqxx::connection> connection;
  auto upkeep_at = std::chrono::steady_clock::time_point{};
  std::unique_lock lock(mutex_);
  while (true) {
    const uint64_t asked = settle_asked_;
    const bool last = stopping_;
    lock.unlock();
    bool fine = true;
    try {
      if (!connection) {
        connection = std::make_unique<pqxx::connection>(options_.dsn);
        pqxx::nontransaction(*connection)
            .exec("SET client_min_messages = warning; SET synchronous_commit = off;"
                  " SET statement_timeout = '20s'");
        upkeep_at = {};
      }
      const auto time = std::chrono::steady_clock::now();
      if (time >= upkeep_at || asked > settled_) {
        upkeep(*connection);
        upkeep_at = time + options_.upkeep_every;
      }
      fine = flush(*connection);
    } catch (const std::exception& error) {
      spdlog::warn("metrics' history: {}", error.what());
      connection.reset();
      fine = false;
    }
    lock.lock();
    metrics().waiting.set(static_cast<double>(nodes_.size() + databases_.size()));
    if (fine) {
      settled_ = std::max(settled_, asked);
      wake_.notify_all();
    }
    if (last) return;
    const auto pause = fine ? options_.flush_every : std::chrono::milliseconds(1000);
    wake_.wait_for(lock, pause, [&] { return stopping_ || (fine && settle_asked_ > settled_); });
  }
}

bool MetricHistory::flush(pqxx::connection& connection) {
  std::vector<NodeSample> nodes;
  std::vector<DatabaseSample> databases;
  {
    const std::lock_guard lock(mutex_);
    nodes.swap(nodes_);
    databases.swap(databases_);
  }
  const auto put_back = [](auto& from, auto& to) {
    to.insert(to.begin(), std::make_move_iterator(from.begin()),
              std::make_move_iterator(from.end()));
  };
  try {
    write(connection, nodes, "node_raw");
    write(connection, databases, "database_1m");
    return true;
  } catch (const pqxx::sql_error& error) {
    // A row that no table takes must not be tried for ever.
    if (error.sqlstate().starts_with("22") || error.sqlstate().starts_with("23")) {
      spdlog::warn("metrics' history: {} samples thrown away: {}", nodes.size() + databases.size(),
                   error.what());
      metrics().lost.add({}, static_cast<double>(nodes.size() + databases.size()));
      return true;
    }
    const std::lock_guard lock(mutex_);
    put_back(nodes, nodes_);
    put_back(databases, databases_);
    throw;
  } catch (...) {
    const std::lock_guard lock(mutex_);
    put_back(nodes, nodes_);
    put_back(databases, databases_);
    throw;
  }
}

void MetricHistory::upkeep(pqxx::connection& connection) {
  const int64_t at = now();
  {
    pqxx::work work(connection);
    // All wait for the one that makes the tables: without them nobody can write.
    work.exec("SELECT pg_advisory_xact_lock(5461008)");
    if (work.exec1("SELECT to_regclass('metrics.progress') IS NULL")[0].as<bool>()) {
      work.exec(metric_tables_sql());
    }
    for (const MetricTable& table : kMetricTables) {
      for (const int64_t t : {at - table.partition_ms, at, at + table.partition_ms}) {
        work.exec(partition_sql(table, t));
      }
    }
    work.commit();
  }
  roll_up(connection, at);
  drop_old(connection, at);
}

// A transaction a bucket.
void MetricHistory::roll_up(pqxx::connection& connection, int64_t now) {
  const int64_t closed = (now - kLateMs) / kBucketMs * kBucketMs;
  while (true) {
    pqxx::work work(connection);
    if (!work.exec1(kTryToKeep)[0].as<bool>()) return;
    const auto progress = work.exec("SELECT rolled_up_to_ms FROM metrics.progress");
    int64_t from = progress.empty() ? 0 : progress[0][0].as<int64_t>();
    // Raw samples before that are gone.
    from = std::max(from, closed - kMetricTables[0].keep_ms);
    const auto oldest = work.exec("SELECT min(at_ms) FROM metrics.node_raw WHERE at_ms >= " +
                                  std::to_string(from));
    if (!oldest[0][0].is_null()) from = std::max(from, oldest[0][0].as<int64_t>());
    from = from / kBucketMs * kBucketMs;
    if (from >= closed || oldest[0][0].is_null()) return;
    const std::string begin = std::to_string(from), end = std::to_string(from + kBucketMs);
    work.exec(partition_sql(kMetricTables[1], from));
    work.exec("INSERT INTO metrics.node_5m (instance_id, node_id, at_ms, is_primary" +
              node_columns() + ") SELECT instance_id, node_id, " + begin + ", bool_or(is_primary)" +
              node_aggregates() + " FROM metrics.node_raw WHERE at_ms >= " + begin +
              " AND at_ms < " + end + " GROUP BY 1, 2");
    work.exec("INSERT INTO metrics.progress (rolled_up_to_ms) VALUES (" + end +
              ") ON CONFLICT (one) DO UPDATE SET rolled_up_to_ms = excluded.rolled_up_to_ms");
    work.commit();
  }
}

void MetricHistory::drop_old(pqxx::connection& connection, int64_t now) {
  std::vector<std::string> old;
  {
    pqxx::nontransaction session(connection);
    const auto rows = session.exec(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace"
        " WHERE n.nspname = 'metrics' AND c.relkind = 'r'");
    for (const auto& row : rows) {
      const auto name = row[0].as<std::string>();
      for (const MetricTable& table : kMetricTables) {
        const int64_t begin = partition_begin_ms(table, name);
        if (begin >= 0 && begin + table.partition_ms + table.keep_ms < now) old.push_back(name);
      }
    }
  }
  for (const std::string& name : old) {
    pqxx::work work(connection);
    if (!work.exec1(kTryToKeep)[0].as<bool>()) return;
    work.exec("DROP TABLE IF EXISTS metrics." + work.quote_name(name));
    work.commit();
    spdlog::info("metrics' history: {} is past its time", name);
  }
}

namespace {

std::vector<MetricSeries> series_of(const pqxx::result& rows, size_t metrics) {
  std::vector<MetricSeries> out;
  for (const auto& row : rows) {
    const auto id = row[0].as<std::string>();
    if (out.empty() || out.back().id != id) out.push_back({id, {}});
    MetricPoint point;
    point.at_ms = row[1].as<int64_t>();
    for (size_t i = 0; i < metrics; ++i) {
      const auto field = row[static_cast<pqxx::row::size_type>(i + 2)];
      point.values.push_back(field.is_null() ? std::nullopt
                                             : std::optional(field.as<double>()));
    }
    out.back().points.push_back(std::move(point));
  }
  return out;
}

bool has_history(pqxx::nontransaction& session) {
  return session.exec("SELECT to_regclass('metrics.progress') IS NOT NULL")[0][0].as<bool>();
}

std::string steps_sql(int64_t step_ms) {
  const std::string step = std::to_string(std::max<int64_t>(step_ms, 1));
  return "at_ms / " + step + " * " + step;
}

}  // namespace

std::vector<MetricSeries> node_series(pqxx::connection& connection, const std::string& instance_id,
                                      int64_t from_ms, int64_t to_ms, int64_t step_ms,
                                      int64_t now_ms) {
  pqxx::nontransaction session(connection);
  if (!has_history(session)) return {};
  const bool raw = from_ms >= now_ms - kMetricTables[0].keep_ms;
  const std::string table = raw ? "node_raw" : "node_5m";
  return series_of(
      session.exec("SELECT node_id, " + steps_sql(raw ? step_ms : std::max(step_ms, kBucketMs)) +
                   node_aggregates() + " FROM metrics." + table + " WHERE instance_id = " +
                   session.quote(instance_id) + " AND at_ms >= " + std::to_string(from_ms) +
                   " AND at_ms < " + std::to_string(to_ms) + " GROUP BY 1, 2 ORDER BY 1, 2"),
      node_metrics().size());
}

std::vector<MetricSeries> database_series(pqxx::connection& connection,
                                          const std::string& instance_id,
                                          const std::string& database_id, int64_t from_ms,
                                          int64_t to_ms, int64_t step_ms) {
  pqxx::nontransaction session(connection);
  if (!has_history(session)) return {};
  return series_of(
      session.exec("SELECT database_id, " + steps_sql(step_ms) + database_aggregates() +
                   " FROM metrics.database_1m WHERE instance_id = " + session.quote(instance_id) +
                   " AND database_id = " + session.quote(database_id) + " AND at_ms >= " +
                   std::to_string(from_ms) + " AND at_ms < " + std::to_string(to_ms) +
                   " GROUP BY 1, 2 ORDER BY 1, 2"),
      database_metrics().size());
}

}  // namespace trunkline::lookup
