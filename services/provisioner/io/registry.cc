#include "provisioner/io/registry.h"

namespace trunkline::provisioner {

void Registry::set_host(const HostState& host) {
  const std::lock_guard lock(mutex_);
  fleet_.set_host(host);
  if (host.name.empty()) return;
  LeftHosts left = left_;
  left.drained.erase(host.name);
  left.lost.erase(host.name);
  if (host.service == HostService::draining) left.drained.insert(host.name);
  if (host.service == HostService::lost) left.lost.insert(host.name);
  if (left == left_) return;
  left_ = std::move(left);
  ++left_revision_;
}

void Registry::set_version(const VersionState& version) {
  const std::lock_guard lock(mutex_);
  versions_[version.id] = version;
}

void Registry::set_instance(const InstanceState& instance) {
  const std::lock_guard lock(mutex_);
  fleet_.set_instance(instance);
  const bool was_ordered = instance.status != InstanceStatus::none;
  if (instance.status == InstanceStatus::deleted) {
    ports_.free(instance.id);
  } else if (was_ordered) {
    ports_.record(instance.id, {instance.spec.read_write_port, instance.spec.read_only_port});
  }
  if (instance.exists()) {
    version_of_[instance.id] = instance.spec.version;
  } else {
    version_of_.erase(instance.id);
  }
}

void Registry::forget_instances() {
  const std::lock_guard lock(mutex_);
  fleet_ = Fleet();
  versions_.clear();
  version_of_.clear();
  ports_ = EndpointPorts(range_);
  left_ = {};
  ++left_revision_;
}

void Registry::host_reported(const v1::HostReport& report, TimePoint received_at) {
  const std::lock_guard lock(mutex_);
  fleet_.host_reported(HostName(report.host()), received_at, report.disk_free_gb());
}

std::map<HostName, TimePoint> Registry::hosts_reported_at() const {
  const std::lock_guard lock(mutex_);
  std::map<HostName, TimePoint> out;
  for (const auto& [name, use] : fleet_.hosts()) {
    if (use.last_reported_at) out[name] = *use.last_reported_at;
  }
  return out;
}

InstanceFacts Registry::facts_for(const InstanceId& instance,
                                  const v1::InstanceCommand& command) {
  const std::lock_guard lock(mutex_);
  InstanceFacts facts;
  if (command.has_create_instance()) {
    const auto version = versions_.find(VersionId(command.create_instance().version_id()));
    if (version != versions_.end()) {
      facts.version = {version->second.created, version->second.is_offered(),
                       version->second.image};
    }
    facts.endpoint = ports_.give(instance);
  }
  if (command.has_place_nodes()) {
    facts.drained = left_.drained;
    facts.taken = fleet_.taken_by_others(instance, command.place_nodes());
  }
  return facts;
}

void Registry::not_created(const InstanceId& instance) {
  const std::lock_guard lock(mutex_);
  ports_.give_back(instance);
}

LeftHosts Registry::left_hosts() const {
  const std::lock_guard lock(mutex_);
  return left_;
}

VersionFacts Registry::facts_for(const VersionId& version) const {
  const std::lock_guard lock(mutex_);
  VersionFacts facts;
  for (const auto& [id, other] : versions_) {
    if (id != version && other.is_offered()) facts.names_in_use.insert(other.name);
  }
  for (const auto& [instance, used] : version_of_) {
    if (used == version) ++facts.instances;
  }
  return facts;
}

std::optional<v1::InstanceCommand> Registry::answer_needs(const Needs& needs, TimePoint now) {
  const std::lock_guard lock(mutex_);
  return provisioner::answer_needs(fleet_, needs, now);
}

void Registry::release(const InstanceId& instance) {
  const std::lock_guard lock(mutex_);
  fleet_.release(instance);
}

void Registry::expire_reservations(TimePoint now) {
  const std::lock_guard lock(mutex_);
  fleet_.expire_reservations(now);
}

}  // namespace trunkline::provisioner
