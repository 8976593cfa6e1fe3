// Decides commands of the instance aggregate. Pure: the same arguments give the same decision.
//
// Rules (rule: blame):
//   any command      instance_not_found: not_found (never created, being deleted, deleted)
//                    command_empty: bad_value
//   CreateInstance   uuid_in_use: conflict; uuid_malformed, project_id_missing, name_*,
//                    description_*, cpu_out_of_range, ram_out_of_range, disk_size_out_of_range,
//                    nodes_number_out_of_range, sync_replica_number_out_of_range,
//                    sync_replica_number_too_big: bad_value;
//                    version_not_found, version_not_offered: not_found; image_differs,
//                    quota_exceeded, no_capacity: conflict
//   UpdateInstance   the ranges above; disk_must_not_shrink: bad_value; where it wants more:
//                    quota_exceeded, no_capacity: conflict
//   users, databases object_decide.h
//   PlaceNodes       nodes_missing, port_out_of_range, address_malformed: bad_value;
//                    address_taken: conflict
//   StartNodeRemoval primary_must_stay: conflict
//   RecordNodeCreated generation_unknown: bad_value
//   RecordWrites      writes_why_unknown: bad_value
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
  // Hosts that are to be left, or to be gone to: a node is placed before the other one goes.
  LeftHosts left;
  // Of CreateInstance and of an UpdateInstance that wants more: what stands against it of the quota
  // of its project (quota_exceeded), the hosts' room or the endpoints' ports (no_capacity).
  std::optional<Rejection> refusal;
};

// What an update asks for, where it says so, else what there is.
struct Wanted {
  Size size;
  uint32_t nodes_number = 0;
  uint32_t sync_replica_number = 0;
};
Wanted wanted_by(const InstanceState& state, const v1::UpdateInstance& command);
// More than there is, of anything that hosts or quotas bound.
bool wants_more(const InstanceState& state, const Wanted& wanted);

Decision<v1::InstanceEvent> decide(const InstanceState& state, const v1::InstanceCommand& command,
                                   const InstanceFacts& facts, TimePoint now);

}  // namespace trunkline::provisioner
