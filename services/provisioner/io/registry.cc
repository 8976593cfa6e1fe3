#include "provisioner/io/registry.h"

namespace trunkline::provisioner {

void Registry::set_host(const HostState& host) {
  const std::lock_guard lock(mutex_);
  fleet_.set_host(host);
}

void Registry::set_version(const VersionState& version) {
  const std::lock_guard lock(mutex_);
  versions_[version.id] = version;
}

void Registry::set_instance(const InstanceState& instance) {
  const std::lock_guard lock(mutex_);
  fleet_.set_instance(instance);
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
                                  const v1::InstanceCommand& command) const {
  const std::lock_guard lock(mutex_);
  InstanceFacts facts;
  if (command.has_create_instance()) {
    const auto version = versions_.find(VersionId(command.create_instance().version_id()));
    if (version != versions_.end()) {
      facts.version = {version->second.created, version->second.is_offered(),
                       version->second.image};
    }
  }
  if (command.has_place_nodes()) {
    facts.taken = fleet_.taken_by_others(instance, command.place_nodes());
  }
  return facts;
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
