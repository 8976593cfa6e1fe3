// Looking at the machine's processes through /proc. Shared by the agent and the keeper: standard
// library and system calls only. Nothing here throws.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace trunkline::agent {

// Start time of a process in clock ticks since boot; 0 if it is not there or is a zombie. Together
// with the pid it names a process for good.
uint64_t process_start_ticks(pid_t pid);

// Processes whose working directory is `data_directory` and whose program is called "postgres": a
// postmaster and its children, whoever their parent is now. A look at every process of the machine:
// not for a loop that many nodes may be in at once.
std::vector<pid_t> postgres_processes_in(const std::string& data_directory);

// The pid in <data_directory>/postmaster.pid if that process is this directory's postmaster; else
// 0.
pid_t running_postmaster(const std::string& data_directory);

// Waits, by what the kernel tells and not by looking, until all have ended. False if one has not
// within `longest_ms`.
bool await_end(const std::vector<pid_t>& pids, int64_t longest_ms);

// Children of a process, as the kernel lists them.
std::vector<pid_t> children_of(pid_t pid);

// The Unix socket of the directory's postmaster, or "" if postmaster.pid does not name it yet.
std::string postmaster_socket(const std::string& data_directory);

// The status word of postmaster.pid's eighth line ("starting", "ready", "standby", "stopping"), or
// "" if there is none yet.
std::string postmaster_status(const std::string& data_directory);

}  // namespace trunkline::agent
