// Child processes of the agent, and handles on processes that are not. Thread-safe (no state).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "agent/io/file_ops.h"

namespace trunkline::agent {

// A helper program (initdb, pg_basebackup, the keeper's start). Runs as the node's user if `drop`,
// with a clean environment, its output in a pipe. It is killed when this object goes away or when
// the agent dies.
class ChildProcess {
 public:
  ChildProcess(const std::vector<std::string>& argv, const NodeUser& user, bool drop,
               const std::string& input = "");
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // True when it has ended; waits up to `timeout`, returning early if `wake_fd` gets readable.
  bool wait(std::chrono::milliseconds timeout, int wake_fd = -1);
  int exit_code() const { return exit_code_; }           // 128 + n: by signal n
  const std::string& output() const { return output_; }  // the last few KiB of both outputs
  void kill();

 private:
  void drain();
  pid_t pid_ = -1;
  Fd pidfd_;
  Fd output_fd_;
  bool ended_ = false;
  int exit_code_ = -1;
  std::string output_;
};

// Runs to the end. Throws std::runtime_error with the last lines of output unless it exits with 0,
// and when `cancel_fd` gets readable.
void run_program(const std::vector<std::string>& argv, const NodeUser& user, bool drop,
                 const std::string& input = "",
                 std::chrono::milliseconds deadline = std::chrono::minutes(5), int cancel_fd = -1);

// A pidfd, invalid if the process is not there.
Fd open_process(pid_t pid);
// Sends a signal if the process belongs to `user`: pids that come from a node are not believed.
bool signal_process(pid_t pid, const NodeUser& user, int signal);
// True if the process behind the pidfd has ended.
bool process_ended(const Fd& pidfd);

}  // namespace trunkline::agent
