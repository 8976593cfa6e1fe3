// Reads a node's PostgreSQL log for its instance's owner, a piece at a time: at most
// kLogPieceBytes are read and answered, whatever the file holds. Keeps the log small, too.
//
// A place in the log counts all bytes that were ever written: `path` holds the newest of them, and
// `path`.1 those right before; `path`.base says how many were taken out of `path`. So who has read
// up to a place goes on behind it also when the log was emptied meanwhile.
#pragma once

#include <string>

#include "agent/io/agent_context.h"
#include "trunkline/v1/node_log.pb.h"

namespace trunkline::agent {

inline constexpr size_t kLogPieceBytes = 256 * 1024;

// Never throws for a file that is not there.
v1::NodeLogAnswer read_node_log(const std::string& path, const NodeUser& user,
                                const v1::NodeLogRequest& request);

// Empties a log that is longer than `limit`, and puts its newest `kept` bytes aside. The postmaster
// goes on appending to the very same file. Whether it was emptied. Throws as file_ops does.
bool empty_node_log(const std::string& path, const NodeUser& user, size_t limit, size_t kept);

}  // namespace trunkline::agent
