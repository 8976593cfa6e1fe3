// A PgBouncer as a child process: killed when the thread that started it ends, however it ends, and
// when this is destroyed. What it says is read through a pipe. One thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace trunkline::proxy {

class PoolProcess {
 public:
  // `uid` 0: it keeps this process's user. Throws std::system_error.
  PoolProcess(const std::string& program, const std::string& config_file, uid_t uid, gid_t gid);
  ~PoolProcess();
  PoolProcess(const PoolProcess&) = delete;
  PoolProcess& operator=(const PoolProcess&) = delete;

  pid_t pid() const { return pid_; }
  int end_fd() const { return pidfd_; }  // readable when it has ended
  int log_fd() const { return log_; }    // readable when it has said something
  bool has_ended();                      // reaps it
  int status() const { return status_; }  // as waitpid() tells it, once it has ended
  void send_signal(int signal);
  std::vector<std::string> new_lines();

 private:
  pid_t pid_ = -1;
  int pidfd_ = -1;
  int log_ = -1;
  int status_ = 0;
  bool ended_ = false;
  std::string said_;
};

}  // namespace trunkline::proxy
