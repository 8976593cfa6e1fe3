// What the provisioner's shards share: the fleet, and who uses which version. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "provisioner/domain/fleet.h"
#include "provisioner/domain/placement.h"
#include "provisioner/domain/version_aggregate.h"
#include "trunkline/v1/report.pb.h"

namespace trunkline::provisioner {

class Registry {
 public:
  void set_host(const HostState& host);
  void set_version(const VersionState& version);
  void set_instance(const InstanceState& instance);
  void forget_instances();  // before a new fold

  void host_reported(const v1::HostReport& report, TimePoint received_at);
  std::map<HostName, TimePoint> hosts_reported_at() const;

  InstanceFacts facts_for(const InstanceId& instance, const v1::InstanceCommand& command) const;
  VersionFacts facts_for(const VersionId& version) const;

  // As placement.h says; the reservation is held in here.
  std::optional<v1::InstanceCommand> answer_needs(const Needs& needs, TimePoint now);
  void release(const InstanceId& instance);
  void expire_reservations(TimePoint now);

 private:
  mutable std::mutex mutex_;
  Fleet fleet_;
  std::map<VersionId, VersionState> versions_;
  std::unordered_map<InstanceId, VersionId> version_of_;  // of instances that are not deleted
};

}  // namespace trunkline::provisioner
