// What the instances of each project have, against the projects' quotas. What a command that is not
// in the log yet would add is held for it, so that two at once cannot both take the last of a
// quota. Not thread-safe: who shares it must lock it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/decision.h"
#include "base/ids.h"
#include "provisioner/domain/instance_state.h"
#include "provisioner/domain/quota_aggregate.h"

namespace trunkline::provisioner {

class ProjectUse {
 public:
  void set_quota(const QuotaState& quota);
  // As it is in the log now; ends what is held for it. One that is being deleted has nothing.
  void set_instance(const InstanceState& instance);

  // What stands against the instance having `nodes` nodes of this size, and what it would add is
  // held, unless something does, until set_instance() or release(). More than the quota is refused
  // only where it is more than the instance has.
  std::optional<Rejection> hold(const InstanceId& instance, const ProjectId& project,
                                const Size& size, uint32_t nodes);
  void release(const InstanceId& instance);

 private:
  struct Use {
    uint64_t instances = 0, cpu = 0, ram_mb = 0, disk_gb = 0;
  };
  struct Entry {
    std::string project;
    Use use;
  };
  using Entries = std::unordered_map<InstanceId, Entry>;
  const Quota& quota_of(const std::string& project) const;
  void put(Entries& entries, const InstanceId& instance, const std::string& project,
           const Use& use);
  void erase(Entries& entries, const InstanceId& instance);

  std::map<std::string, Quota> quotas_;
  std::unordered_map<std::string, Use> totals_;  // of both below
  Entries recorded_;
  Entries held_;  // beside what is recorded
};

}  // namespace trunkline::provisioner
