// The frame of a service's process: configuration, stop signals, telemetry, and what it says when
// it ends.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bus/bus.h"
#include "runtime/config.h"

namespace trunkline::runtime {

// For main(): `serve` does the work until a stop signal has come (wait_for_stop_signal()). Answers
// the exit code; whatever is thrown is logged and ends the process with 1.
int run_service(int argc, char** argv, const std::string& name,
                const std::function<void(const ServiceConfig&)>& serve);

// Does not return before there is a connection.
std::unique_ptr<bus::Bus> connect_for_ever(const bus::BusOptions& options);

}  // namespace trunkline::runtime
