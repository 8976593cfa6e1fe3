// Reads the supervisor's process list: one JSON file (mode 0600, written by scripts/run.sh).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "supervisor/domain/process_spec.h"

namespace trunkline::supervisor {

struct SupervisorConfig {
  std::string pid_dir;         // pid files and the lock that says "running"
  std::string run_file;        // what scripts read; rewritten at every start of a process
  nlohmann::ordered_json run;  // its constant part; "processes" is filled in
  std::string own_log;         // rotated with the others; may be empty
  std::vector<ProcessSpec> processes;
};

// Throws std::runtime_error that names the file, the process and the field.
SupervisorConfig read_config(const std::string& path);

}  // namespace trunkline::supervisor
