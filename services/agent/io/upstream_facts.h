// Asks a node's upstream, as the replication role over TLS, what its standby must know of it. With
// a deadline on everything. For one thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "agent/domain/follow_facts.h"
#include "agent/io/file_ops.h"

struct pg_conn;

namespace trunkline::agent {

// Nothing if it does not answer in time, or not as expected. The key is read as `user`.
std::optional<UpstreamState> ask_upstream(const std::string& conninfo, const NodeUser& user,
                                          std::chrono::milliseconds longest);
// The timeline of its newest checkpoint, if it is open.
std::optional<uint32_t> ask_checkpointed_timeline(const std::string& conninfo,
                                                  const NodeUser& user,
                                                  std::chrono::milliseconds longest);

}  // namespace trunkline::agent
