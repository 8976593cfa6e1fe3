// Hosts, agents and PostgreSQL servers as a simulation: seeded, on a virtual clock, over a bus that
// loses, delays, doubles and reorders. Agents do what an agent can do and nothing else: a primary
// comes from the template, a standby from a base backup, neither ever becomes the other.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "trunkline/v1/report.pb.h"
#include "trunkline/v1/task.pb.h"

namespace trunkline::replication::test {

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  bool one_in(uint32_t n) { return below(n) == 0; }
  uint32_t below(uint32_t n) { return n == 0 ? 0 : static_cast<uint32_t>(engine_() % n); }
  milliseconds up_to(milliseconds most) {
    return milliseconds(below(static_cast<uint32_t>(most.count()) + 1));
  }

 private:
  std::mt19937_64 engine_;
};

struct SyncConfig {
  uint64_t version = 0;
  std::set<std::string> candidates;
  uint32_t number = 0;
};

struct SimNode {
  enum class Data { none, primary, standby };
  enum class Postgres { stopped, starting, recovering, open };
  std::string id;
  int host = 0;
  bool boxed = false;  // EnsureNode is done
  std::optional<v1::AssignRole> role;
  Data data = Data::none;
  std::string data_of;  // the primary that the data comes from
  Postgres postgres = Postgres::stopped;
  TimePoint busy_until;
  uint64_t done_generation = 0;
  std::string refused;  // a role that the agent cannot take
  uint64_t term = 0;
  uint64_t flush_lsn = 0;
  bool wiped = false;  // had data, has none: cannot say what it had confirmed
  bool streaming = false;
  TimePoint stuck_until;          // does not stream, until then or
  uint64_t stuck_generation = 0;  // until it is assigned anew
  // Of a primary.
  SyncConfig in_force;
  std::set<std::string> slots;
};

class SimWorld {
 public:
  static constexpr int kHosts = 5;
  SimWorld(Dice& dice, TimePoint start) : now(start), dice_(dice) {
    for (auto& host : hosts_) host.agent_id = "agent-" + std::to_string(++agents_);
  }

  TimePoint now;
  bool faults = true;  // losses, crashes, wipes
  std::map<std::string, SimNode> nodes;
  uint64_t acknowledged_lsn = 0;  // of the newest write that a client was told is committed
  std::vector<std::string> violations;

  void place(const std::string& id, int host);
  void remove(const std::string& id);  // the box and all that is in it
  void send(const v1::Task& task, int host);
  // One tick: messages arrive, agents and servers work, clients write.
  void tick();
  // The reports that arrive by now.
  std::vector<v1::HostReport> arrivals();
  SimNode* find(const std::string& id) {
    const auto found = nodes.find(id);
    return found == nodes.end() ? nullptr : &found->second;
  }
  static std::string host_name(int host) {
    return std::string("host-") + static_cast<char>('a' + host);
  }

 private:
  struct Host {
    std::string agent_id;
    uint64_t sequence = 0;
    TimePoint next_report;
    TimePoint away_until;  // neither hears nor speaks
    bool changed = false;
  };
  struct TaskInFlight {
    TimePoint due;
    int host;
    v1::Task task;
  };
  struct ReportInFlight {
    TimePoint due;
    v1::HostReport report;
  };

  bool lose() { return faults && dice_.one_in(5); }
  TimePoint arrival() {
    return now + (faults && dice_.one_in(8) ? dice_.up_to(milliseconds(3000))
                                            : dice_.up_to(milliseconds(60)));
  }
  void hurt();
  void take_tasks();
  void take(const v1::Task& task);
  void work(SimNode& node);
  void work_as_primary(SimNode& node);
  void work_as_standby(SimNode& node);
  void replicate();
  void write();
  void report();
  v1::NodeReport report_of(const SimNode& node) const;
  bool confirmed(const SyncConfig& config, uint64_t lsn);
  void changed(const SimNode& node) { hosts_[static_cast<size_t>(node.host)].changed = true; }

  Dice& dice_;
  Host hosts_[kHosts];
  int agents_ = 0;
  std::vector<TaskInFlight> tasks_;
  std::vector<ReportInFlight> reports_;
  std::map<std::string, std::string> task_contents_;  // by task id: a generation means one thing
};

}  // namespace trunkline::replication::test
