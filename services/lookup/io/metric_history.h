// Writes samples into the metrics' history and reads them back. Samples wait in memory while
// PostgreSQL is away, up to a bound; losing some is no fault. Thread-safe; add() never waits.
//
// Its transactions are short: an old one anywhere in the log's server makes readers of the log
// wait.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <pqxx/pqxx>
#include <string>
#include <thread>
#include <vector>

#include "lookup/domain/instance_metrics.h"
#include "lookup/domain/metric_sample.h"
#include "lookup/io/metric_schema.h"

namespace trunkline::lookup {

struct NodeSample {
  std::string instance_id;
  std::string node_id;
  int64_t at_ms = 0;
  bool is_primary = false;
  MetricValues values;
};
struct DatabaseSample {
  std::string instance_id;
  std::string database_id;
  int64_t at_ms = 0;
  MetricValues values;
};

class MetricHistory {
 public:
  struct Options {
    std::string dsn;
    std::chrono::milliseconds flush_every{5'000};
    std::chrono::milliseconds upkeep_every{60'000};
    size_t most_waiting = 100'000;
    std::function<int64_t()> now_ms;  // nothing: this machine's clock
  };
  explicit MetricHistory(Options options);
  ~MetricHistory();  // writes what is waiting, if that is quick
  MetricHistory(const MetricHistory&) = delete;
  MetricHistory& operator=(const MetricHistory&) = delete;

  void add(NodeSample sample);
  void add(DatabaseSample sample);
  // Returns when everything that was added before is written, and upkeep was done; false: not in
  // time.
  bool settle(std::chrono::milliseconds patience);

 private:
  void run();
  bool flush(pqxx::connection& connection);
  void upkeep(pqxx::connection& connection);
  void roll_up(pqxx::connection& connection, int64_t now);
  void drop_old(pqxx::connection& connection, int64_t now);
  int64_t now() const;

  const Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<NodeSample> nodes_;
  std::vector<DatabaseSample> databases_;
  bool stopping_ = false;
  uint64_t settle_asked_ = 0;
  uint64_t settled_ = 0;
  std::thread thread_;
};

// In steps of `step_ms`, from the finest table that reaches back to `from_ms`. Both throw pqxx's
// errors.
std::vector<MetricSeries> node_series(pqxx::connection& connection, const std::string& instance_id,
                                      int64_t from_ms, int64_t to_ms, int64_t step_ms,
                                      int64_t now_ms);
std::vector<MetricSeries> database_series(pqxx::connection& connection,
                                          const std::string& instance_id,
                                          const std::string& database_id, int64_t from_ms,
                                          int64_t to_ms, int64_t step_ms);

}  // namespace trunkline::lookup
