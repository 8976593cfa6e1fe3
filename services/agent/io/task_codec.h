// Tasks from the bus to assignments. Everything is checked here: ids and names become paths and
// SQL.
#pragma once

#include <optional>
#include <string>

#include "agent/io/node_actor.h"
#include "trunkline/v1/task.pb.h"

namespace trunkline::agent {

// Nothing, and why in `error`, if the task is malformed. `node_id` is set to a canonical UUID.
std::optional<Assignment> read_task(const v1::Task& task, std::string* node_id, std::string* error);

}  // namespace trunkline::agent
