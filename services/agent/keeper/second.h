// The keeper's second: a process that does nothing but end the node's server when its lease is over
// and the keeper has not done so, because it is frozen or dead. A keeper that has taken over is
// known by its lock on the pid file; it has a second of its own.
#pragma once

#include <sys/types.h>

#include <string>

#include "agent/keeper/lease_cell.h"

namespace trunkline::agent {

// Forks. The second ends by itself when its keeper has ended and nothing is guarded any more.
pid_t start_second(const LeaseCell& cell, const std::string& data_directory,
                   const std::string& pid_file);

}  // namespace trunkline::agent
