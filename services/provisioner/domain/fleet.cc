#include "provisioner/domain/fleet.h"

#include <algorithm>

#include "provisioner/domain/instance_rules.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::provisioner {

namespace {

// The node that is assigned as primary, or will be: the first that stays. Empty: none is left.
NodeId primary_of(const InstanceState& instance) {
  if (find_node(instance, instance.group.primary)) return instance.group.primary;
  const auto first = std::ranges::find_if(instance.nodes, &Node::is_wanted);
  return first == instance.nodes.end() ? NodeId() : first->id;
}

}  // namespace

void Fleet::set_host(const HostState& host) {
  if (host.name.empty()) return;
  hosts_[host.name].host = host;
}

void Fleet::host_reported(const HostName& host, TimePoint received_at, uint64_t disk_free_gb,
                          uint64_t files, uint64_t files_free) {
  HostUse& use = hosts_[host];
  use.last_reported_at = received_at;
  use.disk_free_gb = disk_free_gb;
  use.files = files;
  use.files_free = files_free;
}

void Fleet::add(const Use& use) {
  HostUse& host = hosts_[use.at.host];
  ++host.nodes;
  if (use.is_primary) ++host.primaries;
  host.cpu += use.size.cpu;
  host.ram_mb += use.size.ram_mb;
  host.disk_gb += use.size.disk_gb;
  ++host.ports[use.at.port];
  while (!host.is_port_free(host.lowest_free_port)) ++host.lowest_free_port;
}

void Fleet::subtract(const Use& use) {
  HostUse& host = hosts_[use.at.host];
  --host.nodes;
  if (use.is_primary) --host.primaries;
  host.cpu -= use.size.cpu;
  host.ram_mb -= use.size.ram_mb;
  host.disk_gb -= use.size.disk_gb;
  const auto port = host.ports.find(use.at.port);
  if (--port->second > 0) return;
  host.ports.erase(port);
  if (host.is_port_free(use.at.port) && use.at.port >= kFirstPort) {
    host.lowest_free_port = std::min(host.lowest_free_port, use.at.port);
  }
}

void Fleet::set_instance(const InstanceState& instance) {
  const auto known = instances_.find(instance.id);
  if (known != instances_.end()) {
    for (const Use& use : known->second) subtract(use);
    instances_.erase(known);
  }
  const bool places = instance.exists() && wanted_nodes(instance) < instance.spec.nodes_number;
  if (!places) release_places(instance.id);
  release_growth(instance.id);
  if (instance.exists() && instance.nodes.size() > instance.spec.nodes_number) {
    moving_.insert(instance.id);
  } else {
    moving_.erase(instance.id);
  }
  const NodeId primary = primary_of(instance);
  std::vector<Use> uses;
  for (const Node& node : instance.nodes) {
    // A port that somebody else on the host listens on does not get free with the node.
    if (node.removal_why == kPortInUse) {
      hosts_[node.address.host].blocked_ports.insert(node.address.port);
    }
    uses.push_back({{node.address.host, node.address.port}, instance.spec.size,
                    node.id == primary});
    add(uses.back());
  }
  if (!uses.empty()) instances_.emplace(instance.id, std::move(uses));
}

void Fleet::reserve(const InstanceId& instance, const std::vector<Address>& addresses,
                    const Size& size, TimePoint until) {
  release_places(instance);
  Reservation reservation;
  reservation.until = until;
  for (const Address& address : addresses) {
    const bool is_first = reservation.uses.empty() && !instances_.contains(instance);
    reservation.uses.push_back({{address.host, address.port}, size, is_first});
    add(reservation.uses.back());
  }
  reservations_.emplace(instance, std::move(reservation));
}

void Fleet::hold_growth(const InstanceId& instance,
                        const std::vector<std::pair<HostName, Size>>& more, TimePoint until) {
  release_growth(instance);
  for (const auto& [host, size] : more) {
    hosts_[host].cpu += size.cpu;
    hosts_[host].ram_mb += size.ram_mb;
    hosts_[host].disk_gb += size.disk_gb;
  }
  growths_.emplace(instance, Growth{more, until});
}

void Fleet::release_growth(const InstanceId& instance) {
  const auto found = growths_.find(instance);
  if (found == growths_.end()) return;
  for (const auto& [host, size] : found->second.more) {
    hosts_[host].cpu -= size.cpu;
    hosts_[host].ram_mb -= size.ram_mb;
    hosts_[host].disk_gb -= size.disk_gb;
  }
  growths_.erase(found);
}

void Fleet::release(const InstanceId& instance) {
  release_places(instance);
  release_growth(instance);
}

void Fleet::release_places(const InstanceId& instance) {
  const auto found = reservations_.find(instance);
  if (found == reservations_.end()) return;
  for (const Use& use : found->second.uses) subtract(use);
  reservations_.erase(found);
}

void Fleet::expire_reservations(TimePoint now) {
  std::vector<InstanceId> expired;
  for (const auto& [instance, reservation] : reservations_) {
    if (reservation.until <= now) expired.push_back(instance);
  }
  for (const auto& [instance, growth] : growths_) {
    if (growth.until <= now) expired.push_back(instance);
  }
  for (const InstanceId& instance : expired) release(instance);
}

std::vector<Fleet::HostPort> Fleet::taken_by_others(const InstanceId& instance,
                                                    const v1::PlaceNodes& command) const {
  std::vector<HostPort> mine;
  if (const auto it = instances_.find(instance); it != instances_.end()) {
    for (const Use& use : it->second) mine.push_back(use.at);
  }
  if (const auto it = reservations_.find(instance); it != reservations_.end()) {
    for (const Use& use : it->second.uses) mine.push_back(use.at);
  }
  std::vector<HostPort> taken;
  for (const auto& node : command.nodes()) {
    const HostPort at{HostName(node.address().host()), node.address().port()};
    const auto host = hosts_.find(at.host);
    if (host == hosts_.end()) continue;
    const auto port = host->second.ports.find(at.port);
    if (port == host->second.ports.end()) continue;
    if (port->second > static_cast<uint32_t>(std::ranges::count(mine, at))) taken.push_back(at);
  }
  return taken;
}

}  // namespace trunkline::provisioner
