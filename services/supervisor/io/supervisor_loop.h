// Carries out what Supervision decides: starts, probes, signals, reaps, and writes the run file.
// One thread; call block_signals() first in main.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "supervisor/domain/supervision.h"
#include "supervisor/io/config_file.h"

namespace trunkline::supervisor {

class SupervisorLoop {
 public:
  explicit SupervisorLoop(SupervisorConfig config);
  SupervisorLoop(const SupervisorLoop&) = delete;
  SupervisorLoop& operator=(const SupervisorLoop&) = delete;

  static void block_signals();
  // Returns when a stop signal has come and all is down. `stop_now`: only stops and cleans up.
  void run(bool stop_now);

 private:
  static constexpr int64_t kLogLimitBytes = 16'000'000;
  static constexpr Millis kRotateEvery{10'000};

  void act();
  void carry_out(const Action& action);
  void start_process(size_t index);
  void start_helper(size_t index, HelperKind kind);
  void reap();
  void take_signals(int signal_fd);
  void write_run_file();
  void rotate_logs();
  static Millis now();

  SupervisorConfig config_;
  Supervision supervision_;
  std::map<std::string, int> last_pids_;
  bool said_ready_ = false;
  Millis rotate_at_{0};
};

}  // namespace trunkline::supervisor
