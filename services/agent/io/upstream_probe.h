// Whether something at an address answers. Nothing here throws.
#pragma once

#include <chrono>

#include "agent/domain/node_spec.h"

namespace trunkline::agent {

// True if something accepts connections there in time.
bool listens(const NodeAddress& address, std::chrono::milliseconds longest);
// True if a postmaster there says within that time whether it speaks TLS: it forks and serves,
// which a frozen one or a dead host does not.
bool postmaster_answers(const NodeAddress& address, std::chrono::milliseconds longest);

}  // namespace trunkline::agent
