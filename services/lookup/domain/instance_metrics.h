// How an instance fares, as JSON and as Prometheus reads it, and what is to be said of the health
// of one of its databases. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "lookup/domain/metric_sample.h"
#include "trunkline/v1/stats.pb.h"

namespace trunkline::lookup {

// A node as its instance's document names it, with what its host says of it.
struct ShownNode {
  std::string id;
  std::string host;
  std::string role;
  bool known = false;
  TimePoint at;
  v1::NodeStats stats;
  MetricValues values;
};

struct ShownInstance {
  std::string id;
  std::string name;
  std::string status;
  uint64_t disk_gb = 0;
  uint64_t ram_mb = 0;
  uint64_t cpu = 0;
  std::vector<ShownNode> nodes;
};

// Points of one node or database over time.
struct MetricPoint {
  int64_t at_ms = 0;
  MetricValues values;
};
struct MetricSeries {
  std::string id;
  std::vector<MetricPoint> points;
};
struct TimeSpan {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  int64_t step_ms = 0;
};

std::string instance_metrics_json(const ShownInstance& instance, const TimeSpan& span,
                                  const std::vector<MetricSeries>& series);

// The text format, version 0.0.4.
std::string instance_metrics_text(const ShownInstance& instance, TimePoint now);

struct Finding {
  bool serious = false;
  std::string rule;
  std::string text;
};
// In the order of the rules; nothing is amiss if there are none.
std::vector<Finding> database_findings(const ShownInstance& instance,
                                       const std::string& database_id, TimePoint now);

struct ShownDatabase {
  std::string id;
  std::string name;
  std::string owner;
};
std::string database_report_json(const ShownInstance& instance, const ShownDatabase& database,
                                 const TimeSpan& span, const std::vector<MetricSeries>& series,
                                 TimePoint now);

}  // namespace trunkline::lookup
