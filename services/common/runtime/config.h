// A process's configuration: one JSON file (mode 0600, it holds the process's bus password),
// named by `--config FILE`. See scripts/run.sh for who writes it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <memory>
#include <string>

#include "bus/bus.h"

namespace trunkline::runtime {

struct ServiceConfig {
  std::string service;         // "provisioner"
  std::string home;            // TRUNKLINE_HOME
  bus::BusOptions bus;         // "nats": {"url", "user", "password"}
  std::string log_dsn;         // "log_dsn"
  std::string metrics_listen;  // "metrics_listen", where /metrics is; "": nowhere
  std::string read_model_dsn;  // "read_model_dsn", lookup only
  std::shared_ptr<const nlohmann::json> raw;  // everything, for fields of one service
};

// Parses argv for --config FILE and reads it. Throws std::runtime_error with what is wrong.
ServiceConfig load_config(int argc, char** argv);

// Blocks SIGTERM and SIGINT in the calling thread and all that it starts later; call first in main.
void block_stop_signals();
// Returns when one of them has come.
void wait_for_stop_signal();

}  // namespace trunkline::runtime
