// Starting and asking a node's keeper (see keeper/keeper.h). For one thread a node.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/io/file_ops.h"
#include "agent/keeper/lease_cell.h"

namespace trunkline::agent {

struct KeeperStatus {
  std::string state;  // "running", "waiting", "stopping", "fenced"
  pid_t postmaster_pid = 0;
  pid_t keeper_pid = 0;
  uint64_t restarts = 0;
  uint32_t quick_deaths = 0;
  int64_t started_unix_us = 0;
  int last_exit = 0;
  bool held = false;
  bool memory_locked = false;  // and before ordinary processes: see keeper/priority.h
  bool realtime = false;
  Guard guard;
  int64_t lease_until_ms = 0;  // CLOCK_BOOTTIME; of a guard that is on
};

struct KeeperStart {
  std::string keeper;  // path of trunkline-keeper
  std::string postgres;
  std::string data_directory;
  std::string log;
  std::string control;
  std::string pid_file;
  std::string door;  // who may knock at the port (preload/node_door.cc)
  std::vector<std::string> cgroup_procs;
  std::vector<std::string> hidden;  // from the server, but for `kept` (keeper/sandbox.h); none: all
  std::vector<std::string> kept;    // is seen
  pid_t adopt = 0;
  uint64_t restarts = 0;
  std::string guard;  // words of the request; not for one that is adopted
};

// Returns when the keeper listens. Throws std::runtime_error with what it said.
void start_keeper(const KeeperStart& start, const NodeUser& user);

enum class KeeperAnswer { ok, nobody, no_answer };  // nobody: no keeper is there
KeeperAnswer ask_keeper(const std::string& control, const std::string& request, std::string* reply,
                        int timeout_ms = 300);
// Sends and does not wait for the answer: for any thread.
void tell_keeper(const std::string& control, const std::string& request);
// Nothing if nobody is there or it does not answer; `*frozen` tells the two apart.
std::optional<KeeperStatus> keeper_status(const std::string& control, bool* frozen);

}  // namespace trunkline::agent
