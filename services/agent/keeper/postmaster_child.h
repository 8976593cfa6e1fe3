// Starting one postmaster in clean surroundings. Part of the keeper: no threads, no exceptions.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "agent/keeper/priority.h"

namespace trunkline::agent {

struct PostmasterCommand {
  std::string postgres;  // path of the binary
  std::string data_directory;
  std::string socket_directory;
  std::string preload;          // a library that it is to load; empty: none
  std::string door;             // file for that library, see preload/node_door.cc
  int log_fd = -1;              // standard output and error
  std::vector<int> cgroup_fds;  // cgroup.procs files, opened before rights were dropped
  OrdinaryLimits limits;
  bool is_spared = false;  // where memory is short: see spare_from_oom()
};

// The child's pid, or -1. It has its own session, default signals and no descriptors of the
// keeper's. `hba_file` is used instead of the data directory's if it is not empty.
pid_t start_postmaster(const PostmasterCommand& command, const std::string& hba_file);

// Removes postmaster.pid and the socket's lock file that a machine crash or kill -9 left behind, if
// no postmaster of this directory runs: PostgreSQL itself refuses to start when the pid in them
// belongs by now to any other process of the same user, such as another node's server, or to a
// zombie that nobody has reaped yet.
void remove_stale_lock_files(const PostmasterCommand& command);

// Kills what is left of a postmaster that is dead: a backend that is busy can outlive it, and holds
// the shared memory that the next postmaster must not find in use. False if some have not ended
// after about two seconds.
bool kill_orphaned_backends(const std::string& data_directory);

// Ends the directory's server at once: the postmaster first, so that nothing new begins, then all
// that it has started. Nothing of it serves anybody when this returns; false if some of it has yet
// to end, as what waits for a disk does. Looks at all processes of the machine once where it can:
// a machine that is late lets many leases run out at once.
bool kill_server(const std::string& data_directory);

}  // namespace trunkline::agent
