// Starts a child with everything that a daemon wants set: a session of its own, no descriptors but
// its log, default signals, another user, and a signal for it when the supervisor dies.
// Single-threaded use only: the kernel ties that signal to the thread that forks.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace trunkline::supervisor {

struct ChildOptions {
  std::vector<std::string> argv;
  std::string user;  // empty: unchanged
  std::map<std::string, std::string> env;
  std::string log;  // made with mode 0640 if it is not there; empty: our own standard output
  int signal_when_parent_dies = 15;
};

// Returns its process id once the program has been executed. Throws std::runtime_error with the
// step that failed.
int start_child(const ChildOptions& options);

}  // namespace trunkline::supervisor
