// Decides what to start, signal and run, from what has happened; does none of it itself. Pure: time
// comes in, as milliseconds of any clock that only grows.
//
// The shell reports what happened (spawned, exited, ...), then asks next(now) and carries out every
// action it gets; each action is given once.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "supervisor/domain/process_spec.h"
#include "supervisor/domain/restart_backoff.h"

namespace trunkline::supervisor {

enum class HelperKind { prepare, cleanup };

struct StartProcess {
  size_t index;
};
struct StartHelper {
  size_t index;
  HelperKind kind;
};
struct ProbeReady {
  size_t index;
};
struct SendSignal {
  size_t index;
  int pid;
  int signal;
};
using Action = std::variant<StartProcess, StartHelper, ProbeReady, SendSignal>;

// What became of a process id that has ended.
struct Ended {
  size_t index;
  bool helper;
  Millis restart_in;  // of a process that will be started again
};

class Supervision {
 public:
  explicit Supervision(std::vector<ProcessSpec> specs);

  std::vector<Action> next(Millis now);
  // When next() should be asked again though nothing happened; nothing: not before something does.
  std::optional<Millis> wake_at() const;

  void process_spawned(size_t index, int pid, Millis now);
  void process_not_spawned(size_t index, Millis now);  // counts as a death
  void helper_spawned(size_t index, int pid, Millis now);
  void helper_not_spawned(size_t index, Millis now);
  void became_ready(size_t index);
  // Nothing if the id is not one of ours (a grandchild).
  std::optional<Ended> exited(int pid, bool success, Millis now);

  void stop();
  bool stopping() const { return stopping_; }
  bool stopped() const;  // all are down and cleaned up after

  const std::vector<ProcessSpec>& specs() const { return specs_; }
  int pid(size_t index) const { return entries_[index].pid; }  // 0: not running
  bool all_ready() const;

 private:
  static constexpr Millis kProbeInterval{20};
  static constexpr Millis kPrepareRetry{500};

  struct Entry {
    int pid = 0;
    int helper_pid = 0;
    HelperKind helper_kind = HelperKind::prepare;
    bool ready = false;
    bool prepared = false;     // ready and prepared at least once
    bool start_given = false;  // an action was given and not yet answered
    bool helper_given = false;
    bool cleaned = false;
    bool stop_sent = false;
    bool kill_sent = false;
    bool helper_kill_sent = false;
    Millis started_at{0};
    Millis start_at{0};
    Millis probe_at{0};
    Millis helper_at{0};
    Millis kill_at{0};
    Millis helper_kill_at{0};
    RestartBackoff backoff;
  };

  bool lower_levels_prepared(int level) const;
  std::optional<int> highest_level_not_cleaned() const;
  bool level_down(int level) const;
  void plan_running(Millis now, std::vector<Action>& actions);
  void plan_stopping(Millis now, std::vector<Action>& actions);
  void plan_stop_of(size_t index, Millis now, std::vector<Action>& actions);
  void plan_cleanup_of(size_t index, Millis now, std::vector<Action>& actions);
  void died(Entry& entry, Millis up_for, Millis now);

  std::vector<ProcessSpec> specs_;
  std::vector<Entry> entries_;
  bool stopping_ = false;
};

}  // namespace trunkline::supervisor
