// Remembers on disk which processes run, so that a supervisor that was killed does not leave
// unknown ones behind: "<pid> <start time> <boot id>" in <dir>/<name>.pid.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "supervisor/domain/process_spec.h"

namespace trunkline::supervisor {

// Holds a lock on <dir>/supervisor.lock as long as it lives; the file says who holds it.
class SupervisorLock {
 public:
  explicit SupervisorLock(const std::string& dir);  // throws std::runtime_error if it is taken
  ~SupervisorLock();
  SupervisorLock(const SupervisorLock&) = delete;
  SupervisorLock& operator=(const SupervisorLock&) = delete;

 private:
  int fd_ = -1;
};

// Replaces a file as a whole; readers see the old or the new one. Throws std::runtime_error.
void write_file_atomically(const std::string& path, const std::string& text, int mode);

void remember_pid(const std::string& dir, const std::string& name, int pid);
// The process that the pid file names, if it is still that one and not a later user of the number.
std::optional<int> remembered_pid(const std::string& dir, const std::string& name);

// Stops what an earlier supervisor left running, highest level first, and waits until it has gone.
void stop_leftovers(const std::string& dir, const std::vector<ProcessSpec>& specs);

}  // namespace trunkline::supervisor
