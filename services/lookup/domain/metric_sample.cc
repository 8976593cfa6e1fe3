#include "lookup/domain/metric_sample.h"

namespace trunkline::lookup {
namespace {

// clang-format off
constexpr MetricInfo kNode[] = {
  {"connections",                 false, "trunkline_postgres_connections", "Connections of clients."},
  {"connections_active",          false, "trunkline_postgres_connections_active", "Connections that run a statement."},
  {"connections_idle_in_transaction", false, "trunkline_postgres_connections_idle_in_transaction", "Connections that hold a transaction open and do nothing."},
  {"connections_waiting",         true,  "trunkline_postgres_connections_waiting", "Connections that wait for a lock."},
  {"connections_max",             true,  "trunkline_postgres_connections_max", "Connections that the server takes."},
  {"transactions_per_second",     false, "", ""},
  {"rows_read_per_second",        false, "", ""},
  {"rows_written_per_second",     false, "", ""},
  {"blocks_hit_per_second",       false, "", ""},
  {"blocks_read_per_second",      false, "", ""},
  {"temp_bytes_per_second",       false, "", ""},
  {"deadlocks_per_second",        false, "", ""},
  {"database_bytes",              true,  "", ""},
  {"locks",                       true,  "trunkline_postgres_locks", "Locks held or waited for."},
  {"locks_waiting",               true,  "trunkline_postgres_locks_waiting", "Locks that are waited for."},
  {"longest_transaction_seconds", true,  "trunkline_postgres_longest_transaction_seconds", "Age of the oldest open transaction."},
  {"replication_lag_bytes",       true,  "trunkline_postgres_replication_lag_bytes", "WAL that a standby has received and not replayed."},
  {"replication_lag_seconds",     true,  "trunkline_postgres_replication_lag_seconds", "Age of what a standby has replayed last, while more is there."},
  {"slot_retained_bytes",         true,  "trunkline_postgres_slot_retained_bytes", "WAL that the slowest replication slot holds back."},
  {"wal_bytes_per_second",        false, "", ""},
  {"wal_directory_bytes",         true,  "trunkline_postgres_wal_directory_bytes", "Size of pg_wal."},
  {"disk_used_bytes",             true,  "trunkline_postgres_disk_used_bytes", "Size of everything of the node."},
  {"disk_read_bytes_per_second",  false, "", ""},
  {"disk_write_bytes_per_second", false, "", ""},
  {"cpu_cores",                   false, "", ""},
  {"memory_bytes",                true,  "trunkline_postgres_memory_bytes", "Memory of the server's processes, shared memory once."},
  {"transaction_id_age",          true,  "trunkline_postgres_transaction_id_age", "Age of the oldest transaction id that is not frozen."},
};
constexpr MetricInfo kDatabase[] = {
  {"size_bytes",              true,  "trunkline_postgres_database_size_bytes", "Size of the database."},
  {"connections",             false, "trunkline_postgres_database_connections", "Connections to the database."},
  {"transactions_per_second", false, "", ""},
  {"rollbacks_per_second",    false, "", ""},
  {"blocks_hit_per_second",   false, "", ""},
  {"blocks_read_per_second",  false, "", ""},
  {"rows_read_per_second",    false, "", ""},
  {"rows_written_per_second", false, "", ""},
  {"temp_bytes_per_second",   false, "", ""},
  {"deadlocks_per_second",    false, "", ""},
};
// clang-format on

constexpr double kMiB = 1 << 20;

// A counter's growth.
double growth(uint64_t now, uint64_t before) {
  return static_cast<double>(now >= before ? now - before : now);
}

class Rates {
 public:
  Rates(bool known, int64_t elapsed_ms)
      : known_(known && elapsed_ms > 0), elapsed_ms_(elapsed_ms) {}
  std::optional<double> operator()(double growth) const {
    if (!known_) return std::nullopt;
    return growth * 1000 / static_cast<double>(elapsed_ms_);
  }

 private:
  bool known_;
  int64_t elapsed_ms_;
};

const v1::DatabaseStats* same_database(const v1::ServerStats& in, const v1::DatabaseStats& one) {
  for (const auto& other : in.databases()) {
    if (other.name() == one.name() && other.database_id() == one.database_id()) return &other;
  }
  return nullptr;
}

struct DatabaseGrowth {
  double transactions = 0, rows_read = 0, rows_written = 0, hit = 0, read = 0, temp = 0,
         deadlocks = 0, bytes = 0, rollbacks = 0;
};

DatabaseGrowth growth_of(const v1::DatabaseStats& now, const v1::DatabaseStats& before) {
  DatabaseGrowth out;
  out.rollbacks = growth(now.rollbacks(), before.rollbacks());
  out.transactions = growth(now.commits(), before.commits()) + out.rollbacks;
  out.rows_read = growth(now.rows_returned(), before.rows_returned());
  out.rows_written = growth(now.rows_inserted(), before.rows_inserted()) +
                     growth(now.rows_updated(), before.rows_updated()) +
                     growth(now.rows_deleted(), before.rows_deleted());
  out.hit = growth(now.blocks_hit(), before.blocks_hit());
  out.read = growth(now.blocks_read(), before.blocks_read());
  out.temp = growth(now.temp_bytes(), before.temp_bytes());
  out.deadlocks = growth(now.deadlocks(), before.deadlocks());
  return out;
}

DatabaseGrowth growth_of_all(const v1::ServerStats& now, const v1::ServerStats& before) {
  DatabaseGrowth sum;
  for (const auto& database : now.databases()) {
    const v1::DatabaseStats* old = same_database(before, database);
    const DatabaseGrowth one = growth_of(database, old ? *old : v1::DatabaseStats());
    sum.transactions += one.transactions;
    sum.rows_read += one.rows_read;
    sum.rows_written += one.rows_written;
    sum.hit += one.hit;
    sum.read += one.read;
    sum.temp += one.temp;
    sum.deadlocks += one.deadlocks;
  }
  return sum;
}

}  // namespace

std::span<const MetricInfo> node_metrics() { return kNode; }
std::span<const MetricInfo> database_metrics() { return kDatabase; }

MetricValues node_values(const v1::NodeStats& now, const v1::NodeStats* before,
                         int64_t elapsed_ms) {
  const bool same_epoch = before != nullptr && !now.counters().epoch().empty() &&
                          before->counters().epoch() == now.counters().epoch();
  const Rates counted(same_epoch, elapsed_ms);
  const Rates asked(before != nullptr && before->has_server() && now.has_server(), elapsed_ms);
  const auto& c = now.counters();
  const auto& b = before != nullptr ? before->counters() : c;
  const auto& s = now.server();
  const DatabaseGrowth grown =
      growth_of_all(s, before != nullptr ? before->server() : v1::ServerStats());
  double database_bytes = 0;
  for (const auto& database : s.databases()) {
    database_bytes += static_cast<double>(database.size_bytes());
  }
  double locks = 0;
  for (const auto& lock : s.locks()) locks += lock.count();
  const auto of_server = [&](double value) {
    return now.has_server() ? std::optional(value) : std::nullopt;
  };
  std::optional<double> lag_seconds;
  if (now.has_server() && s.replication_lag_ms() >= 0) {
    lag_seconds = static_cast<double>(s.replication_lag_ms()) / 1000;
  }
  const auto whole = [](uint64_t value) { return static_cast<double>(value); };
  return {
      of_server(s.connections_active() + s.connections_idle() +
                s.connections_idle_in_transaction()),
      of_server(s.connections_active()),
      of_server(s.connections_idle_in_transaction()),
      of_server(s.connections_waiting()),
      of_server(s.connections_max()),
      asked(grown.transactions),
      asked(grown.rows_read),
      asked(grown.rows_written),
      asked(grown.hit),
      asked(grown.read),
      asked(grown.temp),
      asked(grown.deadlocks),
      of_server(database_bytes),
      of_server(locks),
      of_server(s.locks_not_granted()),
      of_server(whole(s.longest_transaction_ms()) / 1000),
      of_server(whole(s.replication_lag_bytes())),
      lag_seconds,
      of_server(whole(s.slot_retained_bytes())),
      counted(growth(c.wal_bytes(), b.wal_bytes())),
      of_server(whole(s.wal_dir_mb()) * kMiB),
      c.used_mb() > 0 ? std::optional(whole(c.used_mb()) * kMiB) : std::nullopt,  // not looked yet
      counted(growth(c.read_bytes(), b.read_bytes())),
      counted(growth(c.write_bytes(), b.write_bytes())),
      counted(growth(c.cpu_ms(), b.cpu_ms()) / 1000),
      of_server(whole(s.rss_mb()) * kMiB),
      of_server(whole(s.xid_age())),
  };
}

MetricValues database_values(const v1::DatabaseStats& now, const v1::DatabaseStats* before,
                             int64_t elapsed_ms) {
  const Rates rate(before != nullptr, elapsed_ms);
  const DatabaseGrowth grown = growth_of(now, before != nullptr ? *before : now);
  return {
      static_cast<double>(now.size_bytes()),
      static_cast<double>(now.connections()),
      rate(grown.transactions),
      rate(grown.rollbacks),
      rate(grown.hit),
      rate(grown.read),
      rate(grown.rows_read),
      rate(grown.rows_written),
      rate(grown.temp),
      rate(grown.deadlocks),
  };
}

std::optional<double> hit_ratio(std::optional<double> hits, std::optional<double> reads) {
  if (!hits || !reads || *hits + *reads <= 0) return std::nullopt;
  return *hits / (*hits + *reads);
}

}  // namespace trunkline::lookup
