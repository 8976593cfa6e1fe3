// What a log bills, worked out once more and in another way than the fold does it: nothing is kept
// between closes and nothing is corrected. For each instance and node the finished timeline is laid
// out, and each window looks at it. Slow and plain on purpose.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "metering/domain/meters.h"

namespace trunkline::metering {

struct SimEvent {
  int64_t position = 0;
  std::string stream;
  int64_t version = 0;
  std::string payload;
  TimePoint recorded_at;
};

// instance, node ("" for the instance as a whole), start of the window.
using UsageKey = std::tuple<std::string, std::string, int64_t>;
using Usage = std::map<UsageKey, Amounts>;

// All windows that the log has closed, as the log's last close sees them.
Usage oracle(const std::vector<SimEvent>& log);

}  // namespace trunkline::metering
