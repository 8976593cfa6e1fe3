// What the supervisor is told about one process. Plain data; times in milliseconds.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace trunkline::supervisor {

using Millis = std::chrono::milliseconds;

// When a process counts as up: at once, or when a connection to it is accepted.
struct ReadyCheck {
  enum class Kind { none, tcp, unix_socket };
  Kind kind = Kind::none;
  std::string address;  // tcp: "127.0.0.1:4222"; unix_socket: a path
};

struct ProcessSpec {
  std::string name;
  std::vector<std::string> argv;           // argv[0] is an absolute path
  std::string user;                        // empty: the supervisor's own
  std::map<std::string, std::string> env;  // added to the supervisor's environment
  std::string log;                         // of its output and errors; empty: where ours goes
  // Processes of a level start together once every lower level is ready and prepared; they stop
  // together before every lower level.
  int level = 0;
  int stop_signal = 15;
  Millis stop_deadline{10'000};  // then SIGKILL
  ReadyCheck ready;
  // Runs after the process was ready for the first time, again until it exits with 0.
  std::vector<std::string> prepare;
  // Runs when all of the level has stopped, also if the process never started.
  std::vector<std::string> cleanup;
  Millis cleanup_deadline{60'000};
};

}  // namespace trunkline::supervisor
