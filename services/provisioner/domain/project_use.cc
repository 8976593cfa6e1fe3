#include "provisioner/domain/project_use.h"

namespace trunkline::provisioner {
namespace {

uint64_t grown(uint64_t wanted, uint64_t has) { return wanted > has ? wanted - has : 0; }

std::string lack(const char* what, const char* unit, uint64_t used, uint64_t added,
                 uint64_t limit) {
  if (added == 0 || used + added <= limit) return {};
  return std::string(what) + " " + std::to_string(used) + unit + " of " + std::to_string(limit) +
         unit + " in use, " + std::to_string(added) + unit + " more wanted";
}

}  // namespace

const Quota& ProjectUse::quota_of(const std::string& project) const {
  auto found = quotas_.find(project);
  if (found == quotas_.end()) found = quotas_.find(kDefaultQuotaId);
  return found == quotas_.end() ? kNoQuota : found->second;
}

void ProjectUse::set_quota(const QuotaState& quota) {
  if (quota.is_set) {
    quotas_[quota.id] = quota.quota;
  } else {
    quotas_.erase(quota.id);
  }
}

void ProjectUse::put(Entries& entries, const InstanceId& instance, const std::string& project,
                     const Use& use) {
  entries[instance] = {project, use};
  Use& total = totals_[project];
  total.instances += use.instances;
  total.cpu += use.cpu;
  total.ram_mb += use.ram_mb;
  total.disk_gb += use.disk_gb;
}

void ProjectUse::erase(Entries& entries, const InstanceId& instance) {
  const auto found = entries.find(instance);
  if (found == entries.end()) return;
  const Use& use = found->second.use;
  Use& total = totals_[found->second.project];
  total.instances -= use.instances;
  total.cpu -= use.cpu;
  total.ram_mb -= use.ram_mb;
  total.disk_gb -= use.disk_gb;
  entries.erase(found);
}

void ProjectUse::set_instance(const InstanceState& instance) {
  erase(held_, instance.id);
  erase(recorded_, instance.id);
  if (!instance.exists()) return;
  const uint64_t nodes = instance.spec.nodes_number;
  const Size& size = instance.spec.size;
  put(recorded_, instance.id, instance.spec.project.str(),
      {1, nodes * size.cpu, nodes * size.ram_mb, nodes * size.disk_gb});
}

std::optional<Rejection> ProjectUse::hold(const InstanceId& instance, const ProjectId& project,
                                          const Size& size, uint32_t nodes) {
  release(instance);
  const auto recorded = recorded_.find(instance);
  const Use has = recorded == recorded_.end() ? Use{} : recorded->second.use;
  const uint64_t n = nodes;
  const Use more{grown(1, has.instances), grown(n * size.cpu, has.cpu),
                 grown(n * size.ram_mb, has.ram_mb), grown(n * size.disk_gb, has.disk_gb)};
  const Use& used = totals_[project.str()];
  const Quota& quota = quota_of(project.str());
  std::string lacks;
  for (const std::string& one :
       {lack("instances", "", used.instances, more.instances, quota.instances),
        lack("cpu", "", used.cpu, more.cpu, quota.cpu),
        lack("ram", " MB", used.ram_mb, more.ram_mb, quota.ram_mb),
        lack("disk_size", " GB", used.disk_gb, more.disk_gb, quota.disk_gb)}) {
    if (!one.empty()) lacks += (lacks.empty() ? "" : "; ") + one;
  }
  if (lacks.empty()) {
    put(held_, instance, project.str(), more);
    return std::nullopt;
  }
  return reject(RejectionBlame::conflict, "quota_exceeded",
                "the quota of project " + project.str() + " does not allow it: " + lacks);
}

void ProjectUse::release(const InstanceId& instance) { erase(held_, instance); }

}  // namespace trunkline::provisioner
