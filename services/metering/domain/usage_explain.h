// Which measurements a line of usage came from, and how they are shown to who may see that line
// alone. Pure.
#pragma once

#include <set>
#include <string>

#include "metering/domain/usage_line.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {

// Of a source, in the order of its stream.
class MeasuredScan {
 public:
  explicit MeasuredScan(UsageLine line) : line_(std::move(line)) {}

  // Whether this event belongs to the line. `event` is reduced to what the line's owner may see.
  bool take(int64_t recorded_ms, v1::UsageMeasured* event);

 private:
  bool is_ours(const std::string& id) const { return id == line_.node_id || nodes_.contains(id); }

  const UsageLine line_;
  std::set<std::string> nodes_;  // of the instance, that were named
};

}  // namespace trunkline::metering
