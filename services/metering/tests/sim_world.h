// A month of a platform's life in a virtual clock: customers, hosts, proxies, a bus that loses,
// doubles and reorders, a log whose clock steps, and metering processes that die. Seeded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "metering/domain/heard_book.h"
#include "metering/domain/measure_decide.h"
#include "metering/domain/usage_evolve.h"
#include "metering/domain/usage_snapshot.h"
#include "metering/domain/window_close.h"
#include "trunkline/v1/instance.pb.h"
#include "usage_oracle.h"

namespace trunkline::metering {

struct SimOptions {
  uint64_t seed = 1;
  int64_t days = 1;
  int64_t window_ms = 60'000;
  int64_t report_ms = 15'000;
  int instances = 8;
  int hosts = 4;
  int proxies = 2;
  bool epochs_are_lost = true;    // agents and proxies may lose their counters
  bool length_changes = true;
  int64_t calm_ms = 0;            // at the end: nothing is changed, lost or late any more
};

// What a node or an instance's endpoints really counted.
struct TrueCounters {
  Counters total{};        // of all epochs
  int epochs = 1;
};

class SimWorld {
 public:
  explicit SimWorld(const SimOptions& options);
  void run();

  const std::vector<SimEvent>& log() const { return log_; }
  // What the database holds: by position of the close and ordinal.
  const std::map<std::pair<int64_t, int32_t>, UsageRecord>& records() const { return records_; }
  // Of what still runs at the end.
  std::map<std::string, TrueCounters> true_nodes() const;
  std::map<std::string, TrueCounters> true_endpoints() const;
  bool is_alive(const std::string& id) const { return alive_.contains(id); }
  const std::vector<std::string>& faults() const { return faults_; }

  struct Story {
    int creates = 0, resizes = 0, failovers = 0, deletes = 0, crashes = 0, refolds = 0,
        conflicts = 0, lost = 0, steps_back = 0, corrections = 0;
  };
  const Story& story() const { return story_; }

 private:
  struct SimNode {
    std::string id, host;
    bool reports = true;
  };
  struct SimInstance {
    std::string id;
    int64_t version = 0;
    int64_t order_version = 0;
    bool is_deleted = false;
    std::vector<SimNode> nodes;
  };
  struct NodeFile {
    std::string instance, epoch;
    Counters counters{};
    Counters before{};  // of epochs that were lost
    int epochs = 1;
    uint64_t used_mb = 10;
  };
  struct SimHost {
    std::string name, agent;
    uint64_t sequence = 0;
    int64_t silent_until = 0;
    int64_t clock_off_ms = 0;
    std::map<std::string, NodeFile> nodes;
  };
  struct EndpointFile {
    Counters counters[2]{};
    Counters before{};
  };
  struct SimProxy {
    std::string id, epoch;
    uint64_t sequence = 0;
    int64_t silent_until = 0;
    int epochs = 1;
    std::map<std::string, EndpointFile> endpoints;
  };
  struct Process {  // of metering
    UsageState state;
    HeardBook book;
    int64_t down_until = 0;
    bool is_up = false;
    size_t folded = 0;  // events of the log
  };

  using Work = std::function<void()>;
  int64_t now() const { return now_; }
  int64_t log_now() const { return now_ + log_offset_ms_; }
  int64_t random(int64_t low, int64_t high);
  bool chance(int percent) { return random(1, 100) <= percent; }
  bool is_calm() const { return now_ >= end_ms_ - options_.calm_ms; }
  std::string new_id(const std::string& kind);
  void at(int64_t when, Work work);

  int64_t append(const std::string& stream, int64_t expected, const std::string& payload);
  void append(SimInstance& instance, const v1::InstanceEvent& event);

  void customers();
  void create();
  void resize(SimInstance& instance);
  void failover(SimInstance& instance);
  void scale(SimInstance& instance);
  void fail(SimInstance& instance);
  void remove(SimInstance& instance);
  void place(SimInstance& instance);
  void make(SimInstance& instance, const std::string& node, int64_t generation);
  void remove_node(SimInstance& instance, size_t index);
  void activate(SimInstance& instance);

  void report(SimHost& host);
  void report(SimProxy& proxy);
  void deliver(std::function<void(HeardBook&)> take);
  void trouble();

  void meter(Process& process);
  void fold(Process& process);
  void keep(const UsageChange& change, int64_t position);
  void start(Process& process);
  void crash(Process& process, int64_t down_ms);

  const SimOptions options_;
  std::mt19937_64 random_;
  int64_t now_ = 0;
  int64_t end_ms_ = 0;
  int64_t log_offset_ms_ = 0;
  int64_t lost_percent_ = 5;
  int64_t ids_ = 0;
  struct Later {
    int64_t when;
    int64_t order;
    std::shared_ptr<Work> work;
    bool operator>(const Later& other) const {
      return std::tie(when, order) > std::tie(other.when, other.order);
    }
  };
  std::priority_queue<Later, std::vector<Later>, std::greater<>> later_;
  int64_t orders_ = 0;

  std::vector<SimEvent> log_;
  std::map<std::string, int64_t> versions_;
  std::map<std::string, std::unique_ptr<SimInstance>> instances_;
  std::set<std::string> alive_;
  std::vector<SimHost> hosts_;
  std::vector<SimProxy> proxies_;
  std::vector<Process> processes_;
  WindowRules rules_;

  int64_t checkpoint_ = 0;
  std::map<std::pair<int64_t, int32_t>, UsageRecord> records_;
  std::string snapshot_;
  std::vector<std::string> faults_;
  Story story_;
};

}  // namespace trunkline::metering
