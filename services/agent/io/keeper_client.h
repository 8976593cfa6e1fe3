// Starting and asking a node's keeper (see keeper/keeper.h). For one thread a node.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/io/file_ops.h"

namespace trunkline::agent {

struct KeeperStatus {
  std::string state;  // "running", "waiting", "stopping"
  pid_t postmaster_pid = 0;
  pid_t keeper_pid = 0;
  uint64_t restarts = 0;
  uint32_t quick_deaths = 0;
  int64_t started_unix_us = 0;
  int last_exit = 0;
};

struct KeeperStart {
  std::string keeper;  // path of trunkline-keeper
  std::string postgres;
  std::string data_directory;
  std::string log;
  std::string control;
  std::string pid_file;
  std::vector<std::string> cgroup_procs;
  pid_t adopt = 0;
  uint64_t restarts = 0;
};

// Returns when the keeper listens. Throws std::runtime_error with what it said.
void start_keeper(const KeeperStart& start, const NodeUser& user);

enum class KeeperAnswer { ok, nobody, no_answer };  // nobody: no keeper is there
KeeperAnswer ask_keeper(const std::string& control, const std::string& request, std::string* reply,
                        int timeout_ms = 300);
// Nothing if nobody is there or it does not answer; `*frozen` tells the two apart.
std::optional<KeeperStatus> keeper_status(const std::string& control, bool* frozen);

}  // namespace trunkline::agent
