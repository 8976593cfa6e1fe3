// What is shown of a node and of a database over time: one row a metric, with how it follows from
// the statistics that agents send (`tl.stats.<host>`). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trunkline/v1/stats.pb.h"

namespace trunkline::lookup {

struct MetricInfo {
  std::string_view name;        // in JSON and as a column, with its unit
  bool of_the_worst;            // over a step: the greatest, else the mean
  std::string_view prometheus;  // "": shown otherwise there
  std::string_view help;
};

std::span<const MetricInfo> node_metrics();
std::span<const MetricInfo> database_metrics();

// In the order of the metrics; nothing where it is not known, as rates of a first sample.
using MetricValues = std::vector<std::optional<double>>;

// `before` is the sample before, of `elapsed_ms` earlier; null: there is none. Counters that have
// begun anew have grown by what they show.
MetricValues node_values(const v1::NodeStats& now, const v1::NodeStats* before, int64_t elapsed_ms);
MetricValues database_values(const v1::DatabaseStats& now, const v1::DatabaseStats* before,
                             int64_t elapsed_ms);

// hits of hits and reads; nothing if there was neither.
std::optional<double> hit_ratio(std::optional<double> hits, std::optional<double> reads);

}  // namespace trunkline::lookup
