// How the command ends, and the exception that says so. Scripts rely on the numbers.
#pragma once

#include <stdexcept>
#include <string>

namespace trunkline::cli {

enum class ExitCode {
  ok = 0,
  usage = 1,           // wrong arguments, or a name that fits several things
  refused = 2,         // the API said no: its type and message are printed
  not_found = 3,
  unavailable = 4,     // the API or the log cannot be reached, or the wait ran out of time
  went_to_error = 5,   // what was waited for ended in ERROR
  log_damaged = 6,     // `log verify` found something
  decides_otherwise = 7,  // `failovers replay`: a decision would be another one today
};

class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code(code) {}
  const ExitCode code;
};

}  // namespace trunkline::cli
