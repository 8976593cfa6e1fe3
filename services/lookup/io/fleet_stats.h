// The newest statistics of every host and node (`tl.stats.<host>`), and their way into the metrics'
// history. A host speaks for itself; what it says of a node counts where the node is placed on it
// (see who asks). Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "lookup/domain/instance_metrics.h"
#include "lookup/io/metric_history.h"
#include "trunkline/v1/stats.pb.h"

namespace trunkline::lookup {

struct HostNow {
  std::string host;
  TimePoint at;
  uint64_t memory_mb = 0;
  uint64_t memory_available_mb = 0;
  double load_1m = 0;
  std::optional<double> cpu_cores;  // busy, of all
};

class FleetStats {
 public:
  // `history` may be null.
  explicit FleetStats(MetricHistory* history) : history_(history) {}

  // `subject_host`: from the subject, which the bus lets only that host publish on.
  void take(const std::string& subject_host, const v1::HostStats& stats, TimePoint now);

  // Fills in what is known of each node from the host that it is on. Figures only: without lists
  // (databases, locks, statements), for who looks at many nodes.
  enum class Detail { all, figures_only };
  void fill(std::vector<ShownNode>& nodes, Detail detail = Detail::all) const;
  std::map<std::string, HostNow> hosts() const;

 private:
  struct Database {
    v1::DatabaseStats stats;
    TimePoint at;
  };
  struct Node {
    std::string agent_id;
    uint64_t sequence = 0;
    int64_t sent_us = 0;
    TimePoint at;
    v1::NodeStats stats;
    MetricValues values;
    std::map<std::string, Database> databases;  // by id: what the history has newest
  };
  struct Host {
    std::string agent_id;
    uint64_t sequence = 0;
    uint64_t cpu_busy_ms = 0;
    int64_t sent_us = 0;
    HostNow now;
    std::map<std::string, Node> nodes;  // by id
  };
  void take_node(const v1::HostStats& head, const v1::NodeStats& stats, Node& node, TimePoint now);
  void remember_databases(const v1::NodeStats& stats, Node& node, TimePoint now);

  MetricHistory* const history_;
  mutable std::shared_mutex mutex_;
  std::map<std::string, Host> hosts_;
};

}  // namespace trunkline::lookup
