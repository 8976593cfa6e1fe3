// How an instance fares, in Prometheus' text format.
#include <charconv>
#include <cmath>
#include <functional>
#include <utility>

#include "lookup/domain/instance_metrics.h"

namespace trunkline::lookup {
namespace {

std::string number_text(double value) {
  if (!std::isfinite(value)) return "NaN";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general, 15).ptr;
  return std::string(buffer, end);
}

// Families are written one after the other, each with its help once.
class PrometheusText {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    out_ += "# HELP ";
    out_.append(name).append(" ").append(help);
    out_ += "\n# TYPE ";
    out_.append(name).append(" ").append(type).append("\n");
    name_ = name;
  }
  void value(const std::vector<std::pair<std::string_view, std::string_view>>& labels,
             double value) {
    out_ += name_;
    out_ += '{';
    for (size_t i = 0; i < labels.size(); ++i) {
      if (i > 0) out_ += ',';
      out_.append(labels[i].first).append("=\"");
      escaped(labels[i].second);
      out_ += '"';
    }
    out_ += "} " + number_text(value) + "\n";
  }
  std::string take() { return std::move(out_); }

 private:
  void escaped(std::string_view text) {
    for (const char c : text) {
      if (c == '\\' || c == '"') out_ += '\\';
      if (c == '\n') {
        out_ += "\\n";
      } else {
        out_ += c;
      }
    }
  }
  std::string out_;
  std::string_view name_;
};

struct DatabaseCounter {
  std::string_view name;
  std::string_view help;
  uint64_t (v1::DatabaseStats::*value)() const;
};
constexpr DatabaseCounter kDatabaseCounters[] = {
    {"trunkline_postgres_database_commits_total", "Transactions committed.",
     &v1::DatabaseStats::commits},
    {"trunkline_postgres_database_rollbacks_total", "Transactions rolled back.",
     &v1::DatabaseStats::rollbacks},
    {"trunkline_postgres_database_blocks_hit_total", "Blocks found in shared memory.",
     &v1::DatabaseStats::blocks_hit},
    {"trunkline_postgres_database_blocks_read_total", "Blocks read from the system.",
     &v1::DatabaseStats::blocks_read},
    {"trunkline_postgres_database_rows_returned_total", "Rows read by scans.",
     &v1::DatabaseStats::rows_returned},
    {"trunkline_postgres_database_rows_fetched_total", "Rows fetched by index scans.",
     &v1::DatabaseStats::rows_fetched},
    {"trunkline_postgres_database_rows_inserted_total", "Rows inserted.",
     &v1::DatabaseStats::rows_inserted},
    {"trunkline_postgres_database_rows_updated_total", "Rows updated.",
     &v1::DatabaseStats::rows_updated},
    {"trunkline_postgres_database_rows_deleted_total", "Rows deleted.",
     &v1::DatabaseStats::rows_deleted},
    {"trunkline_postgres_database_conflicts_total", "Statements ended by a standby's replay.",
     &v1::DatabaseStats::conflicts},
    {"trunkline_postgres_database_temp_bytes_total", "Bytes written to temporary files.",
     &v1::DatabaseStats::temp_bytes},
    {"trunkline_postgres_database_deadlocks_total", "Deadlocks.", &v1::DatabaseStats::deadlocks},
};

struct NodeCounter {
  std::string_view name;
  std::string_view help;
  uint64_t (v1::NodeCounters::*value)() const;
  double unit;
};
constexpr NodeCounter kNodeCounters[] = {
    {"trunkline_postgres_transactions_total", "Transactions, over all restarts.",
     &v1::NodeCounters::transactions, 1},
    {"trunkline_postgres_wal_bytes_total", "WAL written as primary, over all restarts.",
     &v1::NodeCounters::wal_bytes, 1},
    {"trunkline_postgres_disk_read_bytes_total", "Bytes read from storage.",
     &v1::NodeCounters::read_bytes, 1},
    {"trunkline_postgres_disk_write_bytes_total", "Bytes written to storage.",
     &v1::NodeCounters::write_bytes, 1},
    {"trunkline_postgres_cpu_seconds_total", "CPU time of all processes of the node.",
     &v1::NodeCounters::cpu_ms, 1000},
};

}  // namespace

std::string instance_metrics_text(const ShownInstance& instance, TimePoint now) {
  PrometheusText out;
  const auto each = [&](const std::function<void(const ShownNode&)>& visit) {
    for (const auto& node : instance.nodes) {
      if (node.known) visit(node);
    }
  };
  out.family("trunkline_postgres_up", "gauge", "Whether the node's server answers.");
  for (const auto& node : instance.nodes) {
    const bool fresh = node.known && now - node.at < std::chrono::minutes(1);
    out.value({{"node", node.id}, {"host", node.host}, {"role", node.role}},
              fresh && node.stats.has_server() ? 1 : 0);
  }
  const auto metrics = node_metrics();
  for (size_t i = 0; i < metrics.size(); ++i) {
    if (metrics[i].prometheus.empty()) continue;
    out.family(metrics[i].prometheus, "gauge", metrics[i].help);
    each([&](const ShownNode& node) {
      if (node.values[i]) out.value({{"node", node.id}, {"role", node.role}}, *node.values[i]);
    });
  }
  for (const auto& counter : kNodeCounters) {
    out.family(counter.name, "counter", counter.help);
    each([&](const ShownNode& node) {
      const auto value = static_cast<double>((node.stats.counters().*counter.value)());
      out.value({{"node", node.id}, {"role", node.role}}, value / counter.unit);
    });
  }
  const auto each_database = [&](const auto& value) {
    each([&](const ShownNode& node) {
      for (const auto& database : node.stats.server().databases()) {
        out.value({{"node", node.id}, {"role", node.role}, {"database", database.name()}},
                  static_cast<double>(value(database)));
      }
    });
  };
  out.family(database_metrics()[0].prometheus, "gauge", database_metrics()[0].help);
  each_database([](const v1::DatabaseStats& d) { return d.size_bytes(); });
  out.family(database_metrics()[1].prometheus, "gauge", database_metrics()[1].help);
  each_database([](const v1::DatabaseStats& d) { return d.connections(); });
  for (const auto& counter : kDatabaseCounters) {
    out.family(counter.name, "counter", counter.help);
    each_database([&](const v1::DatabaseStats& d) { return (d.*counter.value)(); });
  }
  return out.take();
}

}  // namespace trunkline::lookup
