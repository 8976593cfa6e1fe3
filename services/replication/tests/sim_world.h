// Hosts, agents, keepers and PostgreSQL servers as a simulation: seeded, on a virtual clock, over
// networks that lose, delay, double, reorder and are cut, also one way. Every host has a clock of
// its own that runs a little fast or slow. Agents do what docs/adr/0050-failover.md lets them do.
//
// A server's data is a path of branches, one for each time that a node began to write of its own:
// what timelines only number. So the world knows what a node really has, whatever it reports.
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
#include "trunkline/v1/lease.pb.h"
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

// A process's own idea of time: another zero, and up to 1 % fast or slow.
struct SimClock {
  double rate = 1.0;
  int64_t offset_us = 0;
  TimePoint at(TimePoint now) const {
    const auto us = static_cast<double>(to_unix_us(now) - 1'800'000'000'000'000) * rate;
    return from_unix_us(1'800'000'000'000'000 + offset_us + static_cast<int64_t>(us));
  }
  static SimClock any(Dice& dice) {
    return {.rate = 0.99 + 0.0002 * dice.below(101),
            .offset_us = static_cast<int64_t>(dice.below(1000)) * 1'000'000};
  }
};

struct SyncConfig {
  uint64_t version = 0;
  std::set<std::string> candidates;
  uint32_t number = 0;
};

// Where a branch of the data began; it ends where the next begins.
struct Branch {
  uint64_t id = 0;
  uint64_t begin = 0;
  uint32_t timeline = 0;
  bool operator==(const Branch&) const = default;
};

struct SimNode {
  enum class Postgres { stopped, starting, recovering, closed, stopping, open };
  std::string id;
  int host = 0;
  bool boxed = false;                    // EnsureNode is done
  std::optional<v1::AssignRole> role;    // the newest task, kept on disk
  std::vector<Branch> data;              // empty: none
  uint64_t flush_lsn = 0;
  bool wiped = false;                    // had data, has none: cannot say what it had confirmed
  Postgres postgres = Postgres::stopped;
  TimePoint busy_until;
  bool recovers = false;                 // its postmaster lives, and starts its server anew
  uint64_t done_generation = 0;
  std::string refused;                   // a role that the agent cannot take
  uint64_t term = 0;                     // of the role it has taken
  v1::Role taken = v1::ROLE_UNSPECIFIED;
  bool streaming = false;
  uint64_t connection = 0;               // to its upstream
  TimePoint stalled_until;               // open, and nothing of it gets on
  TimePoint stalled_since;
  TimePoint stuck_until;                 // does not stream, until then or
  uint64_t stuck_generation = 0;         // until it is assigned anew
  TimePoint heard_upstream;
  uint64_t probe_id = 0;
  bool probe_answered = false;
  // Of a primary.
  SyncConfig in_force;
  std::set<std::string> slots;
  std::map<std::string, uint64_t> confirmed;  // by standby: as its WAL sender knows it
  uint64_t parting_generation = 0;  // of the role that its clients leave for
  TimePoint clients_leave_at;
  TimePoint stop_at_latest;
  // The keeper, on its host's clock.
  uint64_t lease_term = 0;
  TimePoint lease_until;
  TimePoint reply_until;
  TimePoint fenced_since;
  uint64_t opened_term = 0;
  uint64_t received_lsn = 0;
  TimePoint received_seen;  // when the agent first saw that it has it
  TimePoint beat_at;
  std::vector<std::pair<uint64_t, TimePoint>> beats;  // not confirmed: LSN, written

  uint32_t timeline() const { return data.empty() ? 0 : data.back().timeline; }
  bool is_primary() const { return taken == v1::ROLE_PRIMARY; }
  bool serves() const { return postgres == Postgres::open; }
  bool stalls(TimePoint now) const { return serves() && stalled_until > now; }
  bool sends() const { return serves() || postgres == Postgres::closed; }
  bool has(uint64_t branch, uint64_t lsn) const;
};

// Where the data of `node` stops being the data of `upstream`, told by timelines alone, as
// PostgreSQL tells it; and as it is.
bool follows_by_timelines(const SimNode& node, const SimNode& upstream);
bool follows_in_truth(const SimNode& node, const SimNode& upstream);

class SimWorld {
 public:
  static constexpr int kHosts = 5;
  static constexpr int kBus = kHosts;  // in `cut_`: where the controllers are
  SimWorld(Dice& dice, TimePoint start);

  TimePoint now;
  bool faults = true;
  uint32_t hardness = 1;  // 0: only what a network does; 2: much at once
  std::map<std::string, SimNode> nodes;
  std::map<uint64_t, uint64_t> acknowledged;  // by branch: newest write under a sync set
  std::vector<std::string> violations;
  uint64_t promotions = 0;
  uint64_t reopened = 0;  // by voters, without a lease
  // What the log says: only a standby of an open primary loses its data, or nothing could be
  // promised; writes count as acknowledged when every set that may be in force waits for somebody;
  // and before the first primary was seen open, no client knows one.
  bool primary_is_open = false;
  bool sync_is_promised = false;
  uint64_t first_open_term = 0;
  bool loss_is_accepted = false;  // by an operator, of the next promotion

  void place(const std::string& id, int host);
  void remove(const std::string& id);  // the box and all that is in it
  void send(const v1::Task& task, int host);
  void send(const v1::LeaseGrant& grant, int host);
  void tick();
  // The reports that arrive by now.
  std::vector<v1::HostReport> arrivals();
  SimNode* find(const std::string& id) {
    const auto found = nodes.find(id);
    return found == nodes.end() ? nullptr : &found->second;
  }
  const SimNode* find(const std::string& id) const {
    const auto found = nodes.find(id);
    return found == nodes.end() ? nullptr : &found->second;
  }
  static std::string host_name(int host) {
    return std::string("host-") + static_cast<char>('a' + host);
  }
  // Everything that was cut, frozen or down comes back.
  void heal();
  bool host_is_up(int host) const { return hosts_[host].down_until <= now; }
  // It never comes back.
  void destroy_host(int host);
  bool is_destroyed(int host) const { return hosts_[host].is_destroyed; }

 private:
  struct Host {
    SimClock clock;
    std::string agent_id;
    uint64_t sequence = 0;
    std::map<uint64_t, TimePoint> sent;  // of this agent_id: on the host's clock
    TimePoint next_report;
    TimePoint down_until;          // the machine
    bool is_destroyed = false;
    TimePoint frozen_until;        // the machine: nothing runs, clocks go on
    TimePoint agent_frozen_until;  // the agent only
    bool changed = false;
  };
  template <class Message>
  struct InFlight {
    TimePoint due;
    int host;
    Message message;
  };
  struct Confirmation {
    TimePoint due;
    std::string primary, standby;
    uint64_t connection;
    uint64_t lsn;
  };

  bool lose() { return faults && dice_.one_in(12); }
  TimePoint arrival();
  template <class Message>
  void post(std::vector<InFlight<Message>>& to, int host, const Message& message);
  template <class Message>
  std::vector<InFlight<Message>> due(std::vector<InFlight<Message>>& from);
  bool runs(int host) const { return host_is_up(host) && hosts_[host].frozen_until <= now; }
  bool agent_runs(int host) const { return runs(host) && hosts_[host].agent_frozen_until <= now; }
  bool reaches(int from, int to) const { return cut_[from][to] <= now; }
  bool linked(int a, int b) const { return a == b || (reaches(a, b) && reaches(b, a)); }
  TimePoint clock(const SimNode& node) const { return hosts_[node.host].clock.at(now); }

  void hurt();
  void hurt_network();
  void hurt_host(Host& host, int index);
  void cut_power(int host, TimePoint until);
  void hurt_node(SimNode& node);
  void stop(SimNode& node);
  void wipe(SimNode& node);
  void take_messages();
  void take(const v1::Task& task);
  void take(const v1::LeaseGrant& grant, int host);
  void keep(SimNode& node);
  bool may_serve(const SimNode& node) const;
  void work(SimNode& node);
  void work_fenced(SimNode& node);
  void work_as_primary(SimNode& node);
  void await_lease(SimNode& node);
  void apply_settings(SimNode& node);
  void open(SimNode& node);
  void work_as_standby(SimNode& node);
  void done(SimNode& node);
  bool can_stream(const SimNode& node, const SimNode& upstream);
  void replicate();
  void finish_stopping(SimNode& node);
  void write();
  void report();
  v1::NodeReport report_of(const SimNode& node) const;
  void changed(const SimNode& node) { hosts_[node.host].changed = true; }

  Dice& dice_;
  Host hosts_[kHosts];
  TimePoint cut_[kHosts + 1][kHosts + 1];  // until then nothing passes
  int agents_ = 0;
  uint64_t branches_ = 0;
  uint64_t connections_ = 0;
  std::vector<InFlight<v1::Task>> tasks_;
  std::vector<InFlight<v1::LeaseGrant>> grants_;
  std::vector<InFlight<v1::HostReport>> reports_;
  std::vector<Confirmation> confirmations_;
  std::map<std::string, std::string> task_contents_;  // by task id: a generation means one thing
};

}  // namespace trunkline::replication::test
