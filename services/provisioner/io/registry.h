// What the provisioner's shards share: the fleet, and who uses which version. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "provisioner/domain/endpoint_ports.h"
#include "provisioner/domain/fleet.h"
#include "provisioner/domain/placement.h"
#include "provisioner/domain/project_use.h"
#include "provisioner/domain/version_aggregate.h"
#include "trunkline/v1/report.pb.h"

namespace trunkline::provisioner {

class Registry {
 public:
  explicit Registry(EndpointPorts::Range ports = {}) : ports_(ports), range_(ports) {}

  void set_host(const HostState& host);
  void set_version(const VersionState& version);
  void set_quota(const QuotaState& quota);
  void set_instance(const InstanceState& instance);
  void forget_instances();  // before a new fold

  void host_reported(const v1::HostReport& report, TimePoint received_at);
  std::map<HostName, TimePoint> hosts_reported_at() const;

  // What an order or a change of one needs is held for it until set_instance(), or not_accepted().
  // Administrators are told which hosts lack what.
  InstanceFacts facts_for(const InstanceState& instance, const v1::InstanceCommand& command,
                          bool of_admin, TimePoint now);
  void not_accepted(const InstanceId& instance);
  VersionFacts facts_for(const VersionId& version) const;

  LeftHosts left_hosts() const;
  // Another number whenever they are others.
  uint64_t left_hosts_revision() const { return left_revision_; }

  // Node ids, as an administrator ordered.
  std::set<std::string> orphans_to_remove(const HostName& host) const;

  // Up to which the log is read; 0: not known yet.
  int64_t log_position() const;
  void set_log_position(std::function<int64_t()> source);

  // As placement.h says; the reservation is held in here.
  std::optional<v1::InstanceCommand> answer_needs(const Needs& needs, TimePoint now);
  void release(const InstanceId& instance);
  void expire_reservations(TimePoint now);

 private:
  std::optional<Rejection> hold_order(const InstanceState& instance,
                                      const v1::CreateInstance& order, const std::string& image,
                                      bool of_admin, TimePoint now);
  std::optional<Rejection> hold_growth(const InstanceState& instance,
                                       const v1::UpdateInstance& change, bool of_admin,
                                       TimePoint now);

  mutable std::mutex mutex_;
  Fleet fleet_;
  ProjectUse projects_;
  EndpointPorts ports_;
  const EndpointPorts::Range range_;
  LeftHosts left_;
  std::atomic<uint64_t> left_revision_{0};
  std::function<int64_t()> log_position_;
  std::map<VersionId, VersionState> versions_;
  std::unordered_map<InstanceId, VersionId> version_of_;  // of instances that are not deleted
};

}  // namespace trunkline::provisioner
