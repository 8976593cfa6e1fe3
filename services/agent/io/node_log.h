// Reads a node's PostgreSQL log for its instance's owner, a piece at a time: at most
// kLogPieceBytes are read and answered, whatever the file holds.
#pragma once

#include <string>

#include "agent/io/agent_context.h"
#include "trunkline/v1/node_log.pb.h"

namespace trunkline::agent {

inline constexpr size_t kLogPieceBytes = 256 * 1024;

// `path`: the log; `path`.1 holds what was there before it was emptied. Never throws for a file
// that is not there.
v1::NodeLogAnswer read_node_log(const std::string& path, const NodeUser& user,
                                const v1::NodeLogRequest& request);

}  // namespace trunkline::agent
