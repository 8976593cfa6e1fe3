// The host aggregate (stream `host-<version-5 uuid of "host/" + name>`): what an agent says of its
// host, and whether an administrator lets nodes be placed there. Pure.
//
// A host that is drained or lost takes no new node and is left by those that it has
// (instance_react.h); setting it schedulable again ends both.
//
// Rules: command_empty, host_name_malformed, host_name_mismatch (the stream is another host's),
// zone_missing, address_missing, capacity_missing, node_malformed: bad_value;
// host_not_found: not_found; too_many_orphans: conflict.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/decision.h"
#include "base/ids.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::provisioner {

enum class HostService { in_service, draining, lost };

struct HostState {
  HostState() = default;
  explicit HostState(std::string uuid) : id(std::move(uuid)) {}

  std::string id;
  uint64_t version = 0;
  HostName name;             // empty: never registered
  std::string zone;
  std::string address;
  uint32_t cpu = 0;
  uint64_t ram_mb = 0;
  uint64_t disk_gb = 0;
  std::set<std::string> images;
  bool schedulable = true;
  HostService service = HostService::in_service;
  std::set<std::string> orphans_to_remove;  // node ids, see orphans()
  bool operator==(const HostState&) const = default;
};

struct HostFacts {};

std::string host_uuid(const HostName& name);
Decision<v1::HostEvent> decide(const HostState& state, const v1::HostCommand& command,
                               const HostFacts& facts, TimePoint now);
void evolve(HostState& state, const v1::HostEvent& event, TimePoint recorded_at);

}  // namespace trunkline::provisioner
