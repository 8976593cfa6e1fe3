// The tasks an instance's hosts are given, and whether a report calls for sending one (again).
#pragma once

#include "provisioner/domain/instance_state.h"
#include "trunkline/v1/report.pb.h"
#include "trunkline/v1/task.pb.h"

namespace trunkline::provisioner {

v1::Task ensure_task(const InstanceState& state, const Node& node);
v1::Task remove_task(const InstanceId& instance, const NodeId& node);
v1::Task quarantine_task(const InstanceId& instance, const NodeId& node);
// All users and databases, and what was dropped and may still be there.
v1::Task objects_task(const InstanceState& state, const NodeId& primary);

// The host has not taken up this generation. What it has taken up it tries again by itself.
bool needs_task(uint64_t generation, const v1::TaskReport& report);

}  // namespace trunkline::provisioner
