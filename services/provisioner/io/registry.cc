#include "provisioner/io/registry.h"

#include "provisioner/domain/conversions.h"
#include "provisioner/domain/instance_rules.h"

namespace trunkline::provisioner {
namespace {

Rejection no_capacity(const NoPlacement& none, bool of_admin) {
  return reject(RejectionBlame::conflict, "no_capacity",
                of_admin ? none.by_host : none.failure.message);
}

}  // namespace

void Registry::set_host(const HostState& host) {
  const std::lock_guard lock(mutex_);
  fleet_.set_host(host);
  if (host.name.empty()) return;
  LeftHosts left = left_;
  left.drained.erase(host.name);
  left.lost.erase(host.name);
  left.open.erase(host.name);
  if (host.schedulable) left.open.insert(host.name);
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

void Registry::set_quota(const QuotaState& quota) {
  const std::lock_guard lock(mutex_);
  projects_.set_quota(quota);
}

void Registry::set_instance(const InstanceState& instance) {
  const std::lock_guard lock(mutex_);
  fleet_.set_instance(instance);
  projects_.set_instance(instance);
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
  projects_ = ProjectUse();
  versions_.clear();
  version_of_.clear();
  ports_ = EndpointPorts(range_);
  left_ = {};
  ++left_revision_;
}

void Registry::host_reported(const v1::HostReport& report, TimePoint received_at) {
  const std::lock_guard lock(mutex_);
  fleet_.host_reported(HostName(report.host()), received_at, report.disk_free_gb(),
                       report.files(), report.files_free());
}

std::set<std::string> Registry::orphans_to_remove(const HostName& host) const {
  const std::lock_guard lock(mutex_);
  const auto found = fleet_.hosts().find(host);
  return found == fleet_.hosts().end() ? std::set<std::string>{}
                                       : found->second.host.orphans_to_remove;
}

int64_t Registry::log_position() const {
  const std::lock_guard lock(mutex_);
  return log_position_ ? log_position_() : 0;
}

void Registry::set_log_position(std::function<int64_t()> source) {
  const std::lock_guard lock(mutex_);
  log_position_ = std::move(source);
}

std::map<HostName, TimePoint> Registry::hosts_reported_at() const {
  const std::lock_guard lock(mutex_);
  std::map<HostName, TimePoint> out;
  for (const auto& [name, use] : fleet_.hosts()) {
    if (use.last_reported_at) out[name] = *use.last_reported_at;
  }
  return out;
}

InstanceFacts Registry::facts_for(const InstanceState& instance,
                                  const v1::InstanceCommand& command, bool of_admin,
                                  TimePoint now) {
  const std::lock_guard lock(mutex_);
  InstanceFacts facts;
  if (command.has_create_instance()) {
    const auto& order = command.create_instance();
    const auto version = versions_.find(VersionId(order.version_id()));
    if (version != versions_.end()) {
      facts.version = {version->second.created, version->second.is_offered(),
                       version->second.image};
    }
    if (instance.status == InstanceStatus::none) {
      facts.refusal = hold_order(instance, order, facts.version.image, of_admin, now);
      facts.endpoint = ports_.give(instance.id);
      if (!facts.refusal && facts.endpoint == EndpointPair{} && range_.count > 0) {
        facts.refusal = reject(RejectionBlame::conflict, "no_capacity",
                               "all " + std::to_string(range_.count / 2) +
                                   " endpoints of the platform are in use");
      }
    }
  }
  if (command.has_update_instance() && instance.exists()) {
    facts.refusal = hold_growth(instance, command.update_instance(), of_admin, now);
  }
  if (command.has_place_nodes()) {
    facts.left = left_;
    facts.taken = fleet_.taken_by_others(instance.id, command.place_nodes());
  }
  return facts;
}

std::optional<Rejection> Registry::hold_order(const InstanceState& instance,
                                              const v1::CreateInstance& order,
                                              const std::string& image, bool of_admin,
                                              TimePoint now) {
  const Size size = to_size(order.size());
  const Needs needs{.instance = instance.id, .first_ordinal = 0, .count = order.nodes_number(),
                    .size = size, .image = image, .used_hosts = {}, .avoid = {}};
  auto refusal = projects_.hold(instance.id, ProjectId(order.project_id()), size, needs.count);
  const bool in_bounds = needs.count > 0 && needs.count <= kMaxNodes && !image.empty();
  if (refusal || !in_bounds) return refusal;
  const auto none = provisioner::hold_order(fleet_, needs, now);
  return none ? std::optional(no_capacity(*none, of_admin)) : std::nullopt;
}

std::optional<Rejection> Registry::hold_growth(const InstanceState& instance,
                                               const v1::UpdateInstance& change, bool of_admin,
                                               TimePoint now) {
  const Wanted wanted = wanted_by(instance, change);
  if (!wants_more(instance, wanted) || wanted.nodes_number > kMaxNodes) return std::nullopt;
  auto refusal = projects_.hold(instance.id, instance.spec.project, wanted.size,
                                wanted.nodes_number);
  if (refusal) return refusal;
  const auto none =
      provisioner::hold_growth(fleet_, instance, wanted.size, wanted.nodes_number, now);
  return none ? std::optional(no_capacity(*none, of_admin)) : std::nullopt;
}

void Registry::not_accepted(const InstanceId& instance) {
  const std::lock_guard lock(mutex_);
  ports_.give_back(instance);
  projects_.release(instance);
  fleet_.release(instance);
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
