// Whether something at an address answers, and whose turn it is there. Nothing here throws.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "agent/domain/node_spec.h"

namespace trunkline::agent {

// Whether another process of this host listens there, so that nobody else can.
bool is_taken(const NodeAddress& address);
// True if something accepts connections there in time.
bool listens(const NodeAddress& address, std::chrono::milliseconds longest);
// True if a postmaster there says within that time whether it speaks TLS: it forks and serves,
// which a frozen one or a dead host does not.
bool postmaster_answers(const NodeAddress& address, std::chrono::milliseconds longest);

// The turn to rebuild a standby from an upstream, which one at a time has. It ends with the object,
// with the upstream's server or with the connection to it.
class RebuildTurn {
 public:
  // Nothing: another standby has it, or the upstream does not answer. `conninfo` is the replication
  // role's. Blocks for a few seconds at most.
  static std::optional<RebuildTurn> take(const std::string& conninfo);

 private:
  explicit RebuildTurn(std::shared_ptr<void> session) : session_(std::move(session)) {}
  std::shared_ptr<void> session_;
};

}  // namespace trunkline::agent
