// Decides commands of the instance aggregate. Pure: the same arguments give the same decision.
//
// Rules (rule: blame):
//   any command      instance_not_found: not_found (never created, being deleted, deleted)
//                    command_empty: bad_value
//   CreateInstance   uuid_in_use: conflict; uuid_malformed, project_id_missing, name_*,
//                    description_*, cpu_out_of_range, ram_out_of_range, disk_size_out_of_range,
//                    nodes_number_out_of_range, sync_replica_number_out_of_range,
//                    sync_replica_number_too_big: bad_value;
//                    version_not_found, version_not_offered: not_found; image_differs: conflict
//   UpdateInstance   the ranges above; disk_must_not_shrink: bad_value
//   users, databases object_decide.h
//   PlaceNodes       nodes_missing, port_out_of_range, address_malformed: bad_value;
//                    address_taken: conflict
//   StartNodeRemoval primary_must_stay: conflict
//   RecordNodeCreated generation_unknown: bad_value
// A reactor's command whose time has passed is Ignored: it was computed from an older state.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/decision.h"
#include "provisioner/domain/endpoint_ports.h"
#include "provisioner/domain/instance_state.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::provisioner {

// What a decision needs of the other aggregates, as of now.
struct InstanceFacts {
  struct Version {
    bool exists = false;   // was created, deleted or not
    bool offered = false;  // and not deleted
    std::string image;
  };
  Version version;  // the one that CreateInstance names
  // Host and port pairs of PlaceNodes that nodes of other instances have.
  struct HostPort {
    HostName host;
    uint32_t port = 0;
    auto operator<=>(const HostPort&) const = default;
  };
  std::vector<HostPort> taken;
  // For CreateInstance: ports of endpoints that no other instance has.
  EndpointPair endpoint;
  // Hosts that are to be left: a node is placed before the one there goes.
  std::set<HostName> drained;
};

Decision<v1::InstanceEvent> decide(const InstanceState& state, const v1::InstanceCommand& command,
                                   const InstanceFacts& facts, TimePoint now);

}  // namespace trunkline::provisioner
