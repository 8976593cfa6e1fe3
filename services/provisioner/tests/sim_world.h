// A world for the provisioner's pure loop: virtual time, hosts with simple agents, a bus that
// loses, delays, repeats and reorders, a replication that does its part, and a provisioner that
// dies at any point and starts again from the events only. One seed, one history.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "provisioner/domain/fleet.h"
#include "provisioner/domain/instance_react.h"
#include "provisioner/domain/instance_state.h"
#include "provisioner/domain/report_book.h"
#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::provisioner::testing {

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}
  uint64_t next();
  uint64_t below(uint64_t n) { return next() % n; }
  bool chance(uint64_t percent) { return below(100) < percent; }
  milliseconds up_to(uint64_t ms) { return milliseconds(below(ms + 1)); }

 private:
  uint64_t state_;
};

// How much goes wrong, in percent.
struct Faults {
  uint64_t loss = 0;
  uint64_t repeat = 0;
  uint64_t host_fails = 0;     // a box cannot be made on this host, for a while
  uint64_t agent_dies = 0;     // a step
  uint64_t provisioner_dies = 0;  // a decision
  uint64_t replication_sleeps = 0;  // a step
  uint64_t max_delay_ms = 50;
  bool any() const {
    return loss + repeat + host_fails + agent_dies + provisioner_dies + replication_sleeps > 0;
  }
};

class World {
 public:
  World(uint64_t seed, uint32_t hosts, uint32_t instances);

  void set_faults(const Faults& faults) {
    faults_ = faults;
    if (faults.any()) is_calm_ = false;
  }
  // Time goes on by up to half a second; everybody does what there is to do.
  void step();
  // A customer does something, good or bad.
  void customer();
  // An administrator drains a host, or puts it back, or one dies and is declared lost.
  void administrator();
  // Puts an end to what still hangs: failing hosts are mended; an instance in ERROR is retried.
  void mend();

  // Every instance is as ordered and every host has exactly its nodes, users and databases.
  std::string why_not_converged() const;
  bool is_quiet() const;  // the last step sent nothing and decided nothing
  const std::vector<std::string>& violations() const { return violations_; }
  uint64_t digest() const;  // of everything that was ever recorded
  std::string history() const;  // every event, one a line
  size_t events() const { return log_.size(); }
  const std::map<std::string, size_t>& counts() const { return counts_; }

 private:
  struct Recorded {
    size_t instance = 0;
    bool of_group = false;
    v1::InstanceEvent event;
    v1::GroupEvent group_event;
    TimePoint at;
  };
  struct Box {
    size_t instance = 0;
    v1::NodeAddress address;
    uint64_t generation = 0;
    TimePoint done_at;
    uint64_t doomed_generation = 0;  // fails at this one for ever
    bool has_data = false;
    bool awaits_restart = false;  // a primary, until another node is, or for so long
    TimePoint restarts_at;
    std::string changed_under;    // the primary when it was told its newest generation
    bool removing = false;
    TimePoint removed_at;
    v1::ApplyObjects objects;
    TimePoint objects_done_at;
  };
  struct Agent {
    HostState host;
    uint64_t life = 1;
    uint64_t sequence = 0;
    TimePoint silent_until;
    TimePoint failing_until;
    TimePoint failing_since;
    std::map<std::string, Box> boxes;
  };
  struct Flight {
    TimePoint at;
    uint64_t order = 0;
    bool is_report = false;
    v1::Task task;
    v1::HostReport report;
    HostName host;
  };
  // What replication knows; it reads the log at its own pace.
  struct Group {
    size_t read = 0;
    TimePoint sleeps_until;
    uint64_t version = 0;
    std::map<std::string, bool> members;  // → leaving
    std::vector<std::string> order;
    std::set<std::string> detached;
    uint32_t nodes_number = 0, sync = 0;
    bool deleting = false, deleted = false, ever_open = false, open = false, settled = false;
    bool ever_settled = false, changes_overlap = false;
    std::string primary;
    std::string heir;  // of a switchover that has begun
    std::set<std::string> streaming;
  };

  void append(size_t instance, const v1::InstanceEvent& event);
  void append(size_t instance, const v1::GroupEvent& event);
  bool decide_and_append(size_t instance, const v1::InstanceCommand& command);
  void look_at_event(size_t instance, const v1::InstanceEvent& event);
  void look_at_ports();
  void violation(const std::string& what);

  void fly(Flight flight);
  void deliver();
  void restart_provisioner();
  void run_provisioner(size_t instance);
  bool dies_here();
  void hear_again();  // a command that was decided long ago comes once more
  void run_agent(Agent& agent);
  void take_task(Agent& agent, const v1::Task& task);
  v1::HostReport report_of(Agent& agent);
  void run_replication(size_t instance);
  bool look_at_standbys(size_t instance);
  bool switch_over(size_t instance);
  bool may_be_lost(const HostName& name) const;
  void set_service(Agent& agent, HostService service);
  void read_order(size_t instance);
  bool box_is_ready(size_t instance, const std::string& node) const;
  bool primary_awaits_restart(size_t instance) const;
  void look_at_change(const std::string& node, const Box& box);
  Box* find_box(const std::string& node);
  bool objects_match(const InstanceState& state, const Box& box) const;

  Rng rng_;
  Faults faults_;
  TimePoint now_;
  TimePoint watching_since_;
  std::vector<Recorded> log_;
  std::vector<InstanceState> states_;
  std::vector<Group> groups_;
  std::map<HostName, Agent> agents_;
  std::vector<Flight> flights_;
  uint64_t flights_made_ = 0;
  std::vector<std::pair<size_t, v1::InstanceCommand>> issued_;  // by the reactor, ever
  LeftHosts left_;
  ReportBook book_;
  Fleet fleet_;
  std::set<std::string> placed_ever_;
  std::vector<std::string> violations_;
  std::map<std::string, size_t> counts_;
  bool quiet_ = true;
  bool is_calm_ = true;  // nothing ever went wrong
  uint32_t names_ = 0;
};

}  // namespace trunkline::provisioner::testing
