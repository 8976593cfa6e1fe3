// One shard of replication: the groups whose uuids belong to it, the newest reports of their
// nodes, and asking the table until it decides nothing more. Only in the process that owns the
// service's work; the others fold and listen, to be ready.
#pragma once

#include <set>
#include <string>
#include <unordered_map>

#include "eventlog/log.h"
#include "replication/domain/group_facts.h"
#include "replication/domain/group_react.h"
#include "replication/domain/instance_order.h"
#include "replication/domain/primary_news.h"
#include "replication/io/failover_trace.h"
#include "replication/io/group_aggregate.h"
#include "runtime/aggregate_shell.h"
#include "runtime/ownership.h"
#include "runtime/service_host.h"
#include "runtime/task_sender.h"

namespace trunkline::replication {

class ReplicationShard : public runtime::ShardLogic {
 public:
  ReplicationShard(const std::string& log_dsn, bus::Bus& bus, const runtime::Ownership& ownership);

  void load(const v1::ServiceSnapshot::Aggregate& aggregate) override;
  void clear() override;
  void save(v1::ServiceSnapshot* snapshot) override;
  void on_event(const eventlog::RecordedEvent& event) override;
  void on_ready() override;
  void on_command(v1::Command&& command, std::shared_ptr<runtime::CommandReply> reply) override;
  void on_report(const v1::HostReport& report, const std::vector<int>& nodes) override;
  void on_tick() override;

 private:
  // The instance's own stream, as far as its group follows it.
  struct Followed {
    InstanceOrder order;
    int64_t version = 0;
    GroupFacts facts;
    std::set<std::string> hosts;  // of its members
    std::string command_id;  // of the newest event of either stream: carried on
    std::string correlation_id;
    std::string traceparent;
    TimePoint at;  // of that event
    FailoverTrace failover_trace;
    // What proxies were told last of the primary, or are to be told.
    std::optional<PrimaryKey> primary_key;
    int64_t primary_position = 0;  // of the event that made it so; 0: nobody needs to be told
    TimePoint tell_until;          // it is said again, for who missed it
    TimePoint told_at;
  };

  // Whether this process owns the work; takes note when that begins anew.
  bool owns();
  Followed& followed(const std::string& uuid);
  // Answers a report with the leases of the primaries on its host.
  void grant(const v1::HostReport& report, const std::vector<std::string>& uuids);
  void on_instance_event(const std::string& uuid, const eventlog::RecordedEvent& event);
  void measure(const std::string& uuid, const eventlog::RecordedEvent& event);
  void carry_on(Followed& followed, const eventlog::RecordedEvent& event);
  void index_hosts(const std::string& uuid, Followed& followed);
  void drive(const std::string& uuid);
  // One command that changed the group, or nothing more to decide.
  bool decide_something(const std::string& uuid, Followed& followed);
  // The parent of what is done for the group now; empty if all that led to it is over.
  static std::string trace_of(const std::string& uuid, const Followed& followed,
                              const GroupState& state);
  bool issue(const std::string& uuid, Followed& followed, const v1::GroupCommand& body);
  void send_tasks(const std::string& uuid, Followed& followed);
  // Takes note of who is primary after the event at `position`, which is `old` already.
  void note_primary(const std::string& uuid, int64_t position, milliseconds old);
  void tell_primary(const std::string& uuid, Followed& followed);
  void send_probes(const std::string& uuid, Followed& followed);
  // Whether a request has to wait for what it has sent out.
  bool prepares(const v1::Command& command);
  v1::CommandAnswer decide_request(const v1::Command& command);

  eventlog::Log log_;
  bus::Bus& bus_;
  const runtime::Ownership& ownership_;
  runtime::AggregateShell<GroupAggregate> groups_;
  runtime::TaskSender tasks_;
  std::unordered_map<std::string, Followed> followed_;  // by instance
  std::unordered_map<std::string, std::set<std::string>> groups_on_;  // by host: has a member there
  std::unordered_map<std::string, TimePoint> failing_over_;           // since, by instance
  std::unordered_map<std::string, TimePoint> heard_;                  // by host
  std::set<std::string> restless_;  // groups that time alone may change
  std::set<std::string> telling_;   // groups whose primary is said again
  TimePoint owner_since_;
  TimePoint others_lease_until_;
  bool ready_ = false;
};

}  // namespace trunkline::replication
