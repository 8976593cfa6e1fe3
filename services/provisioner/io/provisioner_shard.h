// One shard of the provisioner: the aggregates whose uuids belong to it, the newest reports of
// their nodes, and driving each instance until what is reported is what was ordered.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "eventlog/log.h"
#include "provisioner/domain/instance_react.h"
#include "provisioner/io/aggregates.h"
#include "provisioner/io/registry.h"
#include "runtime/aggregate_shell.h"
#include "runtime/service_host.h"
#include "runtime/task_sender.h"

namespace trunkline::provisioner {

class ProvisionerShard : public runtime::ShardLogic {
 public:
  // `owns`: whether a uuid belongs to this shard.
  using Owns = std::function<bool(const std::string& uuid)>;
  ProvisionerShard(const std::string& log_dsn, bus::Bus& bus, Registry& registry, Owns owns);

  void load(const v1::ServiceSnapshot::Aggregate& aggregate) override;
  void clear() override;
  void save(v1::ServiceSnapshot* snapshot) override;
  void on_event(const eventlog::RecordedEvent& event) override;
  void on_ready() override;
  void on_command(v1::Command&& command, std::shared_ptr<runtime::CommandReply> reply) override;
  void on_report(const v1::HostReport& report, const std::vector<int>& nodes) override;
  void on_tick() override;

 private:
  // What the newest event of an instance came from: its next commands and tasks carry it on.
  struct Cause {
    std::string command_id;
    std::string correlation_id;
    std::string traceparent;
    TimePoint at;
  };

  v1::CommandAnswer decide(const v1::Command& command);
  void on_group_event(const eventlog::RecordedEvent& event);
  void instance_changed(const std::string& uuid, const eventlog::Metadata& cause, TimePoint at);
  // Asks the reactor until it wants nothing more that can be decided at once.
  void drive(const std::string& uuid);
  // True if the instance changed.
  bool perform(const std::string& uuid, const Action& action);
  bool issue(const std::string& uuid, const v1::InstanceCommand& body,
             const std::string& actor = {});
  // What is to be left may be otherwise than at the last call: whom that concerns rests no more.
  void look_at_hosts();
  void register_host(const v1::HostReport& report, TimePoint now);
  InstanceState* state_of(const std::string& uuid);
  // Says of which log the task is. One that removes a node waits while the host has obeyed a log
  // that is further than this one.
  void send(const HostName& host, v1::Task task);

  eventlog::Log log_;
  Registry& registry_;
  const Owns owns_;
  runtime::AggregateShell<InstanceAggregate> instances_;
  runtime::AggregateShell<HostAggregate> hosts_;
  runtime::AggregateShell<VersionAggregate> versions_;
  runtime::AggregateShell<TokenAggregate> tokens_;
  runtime::AggregateShell<QuotaAggregate> quotas_;
  runtime::TaskSender tasks_;
  ReportBook reports_;
  std::unordered_map<std::string, Cause> causes_;
  std::set<std::string> restless_;  // instances that every tick asks about
  std::unordered_map<std::string, std::string> refused_hosts_;  // uuid -> rule; said once
  LeftHosts left_;
  uint64_t left_revision_ = 0;  // of left_
  std::unordered_map<std::string, int64_t> obeyed_;  // by host, as it reports
  TimePoint behind_said_;
  bool ready_ = false;
  TimePoint watching_since_;
};

}  // namespace trunkline::provisioner
