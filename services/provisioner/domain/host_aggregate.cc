#include "provisioner/domain/host_aggregate.h"

#include "base/host_name.h"

namespace trunkline::provisioner {
namespace {

using HostDecision = Decision<v1::HostEvent>;

Rejection bad_value(std::string rule, std::string message) {
  return reject(RejectionBlame::bad_value, std::move(rule), std::move(message));
}

HostDecision register_host(const HostState& state, const v1::RegisterHost& c) {
  if (!is_host_name(c.name())) {
    return bad_value("host_name_malformed",
                     std::string("name must be ") + kHostNameRule);
  }
  if (host_uuid(HostName(c.name())) != state.id) {
    return bad_value("host_name_mismatch", "host " + state.id + " is not named " + c.name());
  }
  if (c.zone().empty()) return bad_value("zone_missing", "zone must not be empty");
  if (c.address().empty()) return bad_value("address_missing", "address must not be empty");
  if (c.cpu() == 0 || c.ram_mb() == 0 || c.disk_gb() == 0) {
    return bad_value("capacity_missing", "cpu, ram_mb and disk_gb must be more than 0");
  }
  const std::set<std::string> images(c.images().begin(), c.images().end());
  if (state.name.str() == c.name() && state.zone == c.zone() && state.address == c.address() &&
      state.cpu == c.cpu() && state.ram_mb == c.ram_mb() && state.disk_gb == c.disk_gb() &&
      state.images == images) {
    return ignore("the host is registered like this already");
  }
  v1::HostEvent event;
  auto& e = *event.mutable_host_registered();
  e.set_name(c.name());
  e.set_zone(c.zone());
  e.set_address(c.address());
  e.set_cpu(c.cpu());
  e.set_ram_mb(c.ram_mb());
  e.set_disk_gb(c.disk_gb());
  for (const auto& image : images) e.add_images(image);
  return accept(std::vector{std::move(event)});
}

Rejection host_not_found(const HostState& state) {
  return reject(RejectionBlame::not_found, "host_not_found", "there is no host " + state.id);
}

HostDecision set_schedulable(const HostState& state, const v1::SetHostSchedulable& c) {
  if (state.name.empty()) return host_not_found(state);
  if (state.schedulable == c.schedulable()) return ignore("the host is like this already");
  v1::HostEvent event;
  event.mutable_host_schedulable_set()->set_schedulable(c.schedulable());
  return accept(std::vector{std::move(event)});
}

HostDecision drain(const HostState& state) {
  if (state.name.empty()) return host_not_found(state);
  if (state.service == HostService::draining) return ignore("the host is drained already");
  v1::HostEvent event;
  event.mutable_host_drain_started();
  return accept(std::vector{std::move(event)});
}

HostDecision declare_lost(const HostState& state) {
  if (state.name.empty()) return host_not_found(state);
  if (state.service == HostService::lost) return ignore("the host is lost already");
  v1::HostEvent event;
  event.mutable_host_lost();
  return accept(std::vector{std::move(event)});
}

HostDecision remove_orphan(const HostState& state, const v1::RemoveOrphan& c) {
  constexpr size_t kMost = 10'000;
  if (state.name.empty()) return host_not_found(state);
  if (!is_uuid(c.node_id())) return bad_value("node_malformed", "node must be a UUID");
  if (state.orphans_to_remove.contains(c.node_id())) return ignore("it is to be removed already");
  if (state.orphans_to_remove.size() >= kMost) {
    return reject(RejectionBlame::conflict, "too_many_orphans",
                  "a host can be told to remove " + std::to_string(kMost) + " unknown nodes");
  }
  v1::HostEvent event;
  event.mutable_orphan_removal_ordered()->set_node_id(c.node_id());
  return accept(std::vector{std::move(event)});
}

}  // namespace

std::string host_uuid(const HostName& name) { return uuid_from_name("host/" + name.str()); }

HostDecision decide(const HostState& state, const v1::HostCommand& command, const HostFacts&,
                    TimePoint) {
  switch (command.body_case()) {
    case v1::HostCommand::kRegisterHost: return register_host(state, command.register_host());
    case v1::HostCommand::kSetHostSchedulable:
      return set_schedulable(state, command.set_host_schedulable());
    case v1::HostCommand::kDrainHost: return drain(state);
    case v1::HostCommand::kDeclareHostLost: return declare_lost(state);
    case v1::HostCommand::kRemoveOrphan: return remove_orphan(state, command.remove_orphan());
    case v1::HostCommand::BODY_NOT_SET: break;
  }
  return bad_value("command_empty", "the command has no body");
}

void evolve(HostState& state, const v1::HostEvent& event, TimePoint) {
  ++state.version;
  switch (event.body_case()) {
    case v1::HostEvent::kHostRegistered: {
      const auto& e = event.host_registered();
      state.name = HostName(e.name());
      state.zone = e.zone();
      state.address = e.address();
      state.cpu = e.cpu();
      state.ram_mb = e.ram_mb();
      state.disk_gb = e.disk_gb();
      state.images = {e.images().begin(), e.images().end()};
      return;
    }
    case v1::HostEvent::kHostSchedulableSet:
      state.schedulable = event.host_schedulable_set().schedulable();
      if (state.schedulable) state.service = HostService::in_service;
      return;
    case v1::HostEvent::kHostDrainStarted:
      state.schedulable = false;
      state.service = HostService::draining;
      return;
    case v1::HostEvent::kHostLost:
      state.schedulable = false;
      state.service = HostService::lost;
      return;
    case v1::HostEvent::kOrphanRemovalOrdered:
      state.orphans_to_remove.insert(event.orphan_removal_ordered().node_id());
      return;
    case v1::HostEvent::BODY_NOT_SET: return;
  }
}

}  // namespace trunkline::provisioner
