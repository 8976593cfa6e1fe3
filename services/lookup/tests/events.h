// Events for tests: short ways to write them, and a writer that appends them to a real log.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"
#include "eventlog/log.h"
#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::lookup::testing {

inline constexpr char kProject[] = "11111111-1111-4111-8111-111111111111";
inline constexpr char kOtherProject[] = "22222222-2222-4222-8222-222222222222";
inline constexpr char kVersionId[] = "33333333-3333-4333-8333-333333333333";

// The same name gives the same id.
inline std::string id(const std::string& name) { return uuid_from_name("test/" + name); }

inline v1::InstanceEvent created(const std::string& name, const std::string& project = kProject) {
  v1::InstanceEvent event;
  auto& e = *event.mutable_instance_created();
  e.set_project_id(project);
  e.set_name(name);
  e.mutable_size()->set_cpu(2);
  e.mutable_size()->set_ram_mb(1024);
  e.mutable_size()->set_disk_gb(10);
  e.set_nodes_number(2);
  e.set_sync_replica_number(1);
  e.set_version_id(kVersionId);
  e.set_image("postgresql-15");
  return event;
}
inline v1::InstanceEvent placed(const std::string& node, const std::string& host,
                                const std::string& address) {
  v1::InstanceEvent event;
  auto& e = *event.mutable_node_placed();
  e.set_node_id(id(node));
  e.mutable_address()->set_host(host);
  e.mutable_address()->set_zone("zone-" + host);
  e.mutable_address()->set_address(address);
  e.mutable_address()->set_port(5432);
  return event;
}
inline v1::InstanceEvent activated() {
  v1::InstanceEvent event;
  event.mutable_instance_activated();
  return event;
}
inline v1::InstanceEvent retried() {
  v1::InstanceEvent event;
  event.mutable_instance_retried();
  return event;
}
inline v1::InstanceEvent renamed(const std::string& name) {
  v1::InstanceEvent event;
  event.mutable_instance_renamed()->set_name(name);
  return event;
}
inline v1::InstanceEvent resized(uint32_t cpu) {
  v1::InstanceEvent event;
  auto& size = *event.mutable_instance_resized()->mutable_size();
  size.set_cpu(cpu);
  size.set_ram_mb(2048);
  size.set_disk_gb(20);
  return event;
}
inline v1::InstanceEvent scaled(uint32_t nodes, uint32_t sync) {
  v1::InstanceEvent event;
  event.mutable_instance_scaled()->set_nodes_number(nodes);
  event.mutable_instance_scaled()->set_sync_replica_number(sync);
  return event;
}
inline v1::InstanceEvent failed(const std::string& code, const std::string& node = "") {
  v1::InstanceEvent event;
  auto& e = *event.mutable_instance_failed();
  e.set_step("placing");
  e.mutable_failure()->set_code(code);
  e.mutable_failure()->set_message("it did not work");
  if (!node.empty()) e.set_node_id(id(node));
  return event;
}
inline v1::InstanceEvent removal_started(const std::string& node) {
  v1::InstanceEvent event;
  event.mutable_node_removal_started()->set_node_id(id(node));
  return event;
}
inline v1::InstanceEvent deletion_started() {
  v1::InstanceEvent event;
  event.mutable_instance_deletion_started();
  return event;
}
inline v1::InstanceEvent user_created(const std::string& name) {
  v1::InstanceEvent event;
  auto& e = *event.mutable_user_created();
  e.set_user_id(id("user " + name));
  e.set_name(name);
  e.set_scram_verifier("SCRAM-SHA-256$4096:c2FsdA==$a2V5:a2V5");
  return event;
}
inline v1::InstanceEvent user_activated(const std::string& name) {
  v1::InstanceEvent event;
  event.mutable_user_activated()->set_user_id(id("user " + name));
  return event;
}
inline v1::InstanceEvent user_deleted(const std::string& name) {
  v1::InstanceEvent event;
  event.mutable_user_deleted()->set_user_id(id("user " + name));
  event.mutable_user_deleted()->set_name(name);
  return event;
}
inline v1::InstanceEvent database_created(const std::string& name, const std::string& owner) {
  v1::InstanceEvent event;
  auto& e = *event.mutable_database_created();
  e.set_database_id(id("database " + name));
  e.set_name(name);
  e.set_owner_id(id("user " + owner));
  return event;
}
inline v1::GroupEvent primary_assigned(const std::string& node, uint64_t term) {
  v1::GroupEvent event;
  event.mutable_primary_assigned()->set_node_id(id(node));
  event.mutable_primary_assigned()->set_term(term);
  return event;
}
inline v1::GroupEvent primary_opened(const std::string& node, uint64_t term) {
  v1::GroupEvent event;
  event.mutable_primary_opened()->set_node_id(id(node));
  event.mutable_primary_opened()->set_term(term);
  return event;
}
inline void set_reason(v1::Reason& reason, const std::string& rule, const std::string& why) {
  reason.set_rule(rule);
  reason.set_why(why);
  reason.add_facts("node " + id("b") + ": fenced, 0/3000060");
}
inline v1::GroupEvent failover_started(uint64_t term, const std::string& from,
                                       v1::FailoverKind kind) {
  v1::GroupEvent event;
  auto& e = *event.mutable_failover_started();
  e.set_term(term);
  if (!from.empty()) e.set_from_node_id(id(from));
  e.set_kind(kind);
  set_reason(*e.mutable_reason(), "primary_silent", "its host is silent");
  return event;
}
inline v1::GroupEvent failover_blocked(uint64_t term) {
  v1::GroupEvent event;
  event.mutable_failover_blocked()->set_term(term);
  set_reason(*event.mutable_failover_blocked()->mutable_reason(), "too_few_fenced",
             "one voter is missing");
  return event;
}
inline v1::GroupEvent promoted(const std::string& node, uint64_t term, uint64_t lost_bytes = 0) {
  v1::GroupEvent event;
  auto& e = *event.mutable_primary_assigned();
  e.set_node_id(id(node));
  e.set_term(term);
  e.set_lost_bytes(lost_bytes);
  set_reason(*e.mutable_reason(), "furthest", "it has the most");
  return event;
}
inline v1::GroupEvent membership(const std::vector<std::pair<std::string, std::string>>& nodes) {
  v1::GroupEvent event;
  for (const auto& [node, host] : nodes) {
    auto& member = *event.mutable_group_membership_changed()->add_members();
    member.set_node_id(id(node));
    member.mutable_address()->set_host(host);
  }
  return event;
}
inline v1::GroupEvent standby_assigned(const std::string& node) {
  v1::GroupEvent event;
  event.mutable_standby_assigned()->set_node_id(id(node));
  return event;
}
inline v1::GroupEvent standby_streaming(const std::string& node) {
  v1::GroupEvent event;
  event.mutable_standby_streaming()->set_node_id(id(node));
  return event;
}
inline v1::GroupEvent standby_lost(const std::string& node) {
  v1::GroupEvent event;
  event.mutable_standby_lost()->set_node_id(id(node));
  return event;
}
inline v1::VersionEvent version_created(const std::string& name) {
  v1::VersionEvent event;
  event.mutable_version_created()->set_name(name);
  event.mutable_version_created()->set_image("postgresql-" + name);
  return event;
}
inline v1::InstanceEvent with_ports(v1::InstanceEvent event, uint32_t read_write,
                                    uint32_t read_only) {
  event.mutable_instance_created()->set_read_write_port(read_write);
  event.mutable_instance_created()->set_read_only_port(read_only);
  return event;
}
inline v1::HostEvent host_registered(const std::string& name) {
  v1::HostEvent event;
  auto& e = *event.mutable_host_registered();
  e.set_name(name);
  e.set_zone("zone-" + name);
  e.set_address("127.0.0.11");
  e.set_cpu(8);
  e.set_ram_mb(16384);
  e.set_disk_gb(200);
  e.add_images("postgresql-15");
  return event;
}
inline v1::TokenEvent token_created(const std::string& name, const std::string& sha256) {
  v1::TokenEvent event;
  auto& e = *event.mutable_token_created();
  e.set_sha256(sha256);
  e.set_project_id(kProject);
  e.set_role("member");
  e.set_name(name);
  return event;
}
inline v1::TokenEvent token_revoked() {
  v1::TokenEvent event;
  event.mutable_token_revoked();
  return event;
}

// The name of the member that is set.
template <class Event>
std::string type_of(const Event& event) {
  return Event::descriptor()->FindFieldByNumber(static_cast<int>(event.body_case()))->name();
}

// Appends to the log as the service that owns the stream would.
class LogWriter {
 public:
  LogWriter(const std::string& provisioner_dsn, const std::string& replication_dsn)
      : provisioner_(provisioner_dsn), replication_(replication_dsn) {}

  int64_t instance(const std::string& name, const v1::InstanceEvent& event) {
    return append(provisioner_, "instance-" + id(name), type_of(event), event.SerializeAsString());
  }
  int64_t group(const std::string& name, const v1::GroupEvent& event) {
    return append(replication_, "group-" + id(name), type_of(event), event.SerializeAsString());
  }
  int64_t host(const std::string& name, const v1::HostEvent& event) {
    return append(provisioner_, "host-" + uuid_from_name("host/" + name), type_of(event),
                  event.SerializeAsString());
  }
  int64_t version(const std::string& name, const v1::VersionEvent& event) {
    return append(provisioner_, "version-" + id(name), type_of(event), event.SerializeAsString());
  }
  int64_t token(const std::string& name, const v1::TokenEvent& event) {
    return append(provisioner_, "token-" + id(name), type_of(event), event.SerializeAsString());
  }
  // What no service would write.
  int64_t raw(const std::string& stream, const std::string& type, const std::string& payload) {
    return append(provisioner_, stream, type, payload);
  }
  // A command that was refused, or (with events appended by it) accepted.
  void result(const std::string& command_id, const std::string& answer,
              const std::string& audit = {}) {
    eventlog::Log::AppendRequest request;
    request.stream = "instance-" + id("never made");
    request.metadata.command_id = command_id;
    request.result = {std::string(32, 'h'), answer, audit};
    provisioner_.append(request);
  }
  std::string last_command() const { return last_command_; }

 private:
  int64_t append(eventlog::Log& log, const std::string& stream, const std::string& type,
                 const std::string& payload) {
    eventlog::Log::AppendRequest request;
    request.stream = stream;
    request.expected_version = versions_[stream];
    last_command_ = uuid_from_name("command " + std::to_string(++commands_));
    request.metadata.command_id = last_command_;
    request.metadata.actor = "service:test";
    request.events.push_back({type, 1, payload});
    request.record_result = false;
    const auto outcome = log.append(request);
    if (!outcome.appended) throw std::runtime_error("append to " + stream + " failed");
    ++versions_[stream];
    return outcome.appended->last_position;
  }

  eventlog::Log provisioner_;
  eventlog::Log replication_;
  std::map<std::string, int64_t> versions_;
  std::string last_command_;
  // No two writers of a program use the same id: they may write to the same log.
  static inline std::atomic<int> commands_{0};
};

}  // namespace trunkline::lookup::testing
