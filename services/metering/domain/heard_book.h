// The newest counters that each source has told, in memory only: what is lost here is told again.
// Messages may come late, twice, in any order or not at all. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "metering/domain/usage_state.h"
#include "trunkline/v1/stats.pb.h"
#include "trunkline/v1/traffic.pb.h"

namespace trunkline::metering {

// What a source told of one node or of one instance's endpoints. Counters of one epoch only grow,
// so the largest is the newest. An instance's endpoints of both roles are counted apart and added
// up.
struct HeardItem {
  struct Epoch {
    std::string epoch;
    bool is_read_only = false;
    Counters total{};
  };
  std::string instance_id;
  bool is_node = false;
  bool is_heard = false;  // since the last measurement
  uint64_t used_mb = 0;
  std::vector<Epoch> epochs;

  std::vector<EpochCounters> totals() const;  // one an epoch
};

struct HeardSource {
  std::string source;  // "host:<name>", "proxy:<id>"
  uint64_t messages = 0;
  std::map<std::string, HeardItem> items;
  // A whole report since the last measurement: what it does not name is not there any more.
  bool has_whole = false;
  std::set<std::string> whole;

  // The report that is being put together from its parts.
  std::string run;
  uint64_t sequence = 0;
  std::set<uint32_t> parts;
  std::set<std::string> named;
};

class HeardBook {
 public:
  // `host` and `proxy` as the subject says; a message that speaks for another is not taken.
  bool take(const std::string& host, const v1::HostStats& stats);
  bool take(const std::string& proxy, const v1::TrafficReport& report);

  // By source_uuid().
  const std::map<std::string, HeardSource>& sources() const { return sources_; }
  // The source's stream has a new measurement: what it does not know of is asked for anew.
  void measured(const std::string& source_id, const UsageState& state);

 private:
  HeardSource& begin(const std::string& source, const std::string& run, uint64_t sequence);
  void end_part(HeardSource& source, uint64_t sequence, uint32_t part, uint32_t parts);

  std::map<std::string, HeardSource> sources_;
};

}  // namespace trunkline::metering
