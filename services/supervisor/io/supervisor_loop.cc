#include "supervisor/io/supervisor_loop.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "supervisor/io/child_process.h"
#include "supervisor/io/log_rotation.h"
#include "supervisor/io/pid_files.h"
#include "supervisor/io/ready_probe.h"
#include "supervisor/io/say.h"

namespace trunkline::supervisor {
namespace {

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  return set;
}

std::string describe(int status) {
  if (WIFEXITED(status)) return "exited with " + std::to_string(WEXITSTATUS(status));
  return "was killed by signal " + std::to_string(WTERMSIG(status));
}

}  // namespace

SupervisorLoop::SupervisorLoop(SupervisorConfig config)
    : config_(std::move(config)), supervision_(config_.processes) {}

void SupervisorLoop::block_signals() {
  const sigset_t set = watched_signals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

Millis SupervisorLoop::now() {
  return std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now().time_since_epoch());
}

void SupervisorLoop::run(bool stop_now) {
  // Keepers that detach themselves become ours, so somebody reaps them also where process 1 does
  // not (containers); if this process dies they go on under process 1.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const sigset_t set = watched_signals();
  const int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd < 0) throw std::runtime_error(std::string("signalfd: ") + std::strerror(errno));
  if (stop_now) supervision_.stop();
  rotate_at_ = now() + kRotateEvery;
  while (true) {
    act();
    if (supervision_.stopped()) break;
    rotate_logs();
    const Millis wake_at = std::min(supervision_.wake_at().value_or(rotate_at_), rotate_at_);
    const auto timeout = std::clamp<int64_t>((wake_at - now()).count(), 0, 60'000);
    pollfd waiting{signal_fd, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(timeout)) > 0) take_signals(signal_fd);
    reap();
  }
  close(signal_fd);
}

void SupervisorLoop::act() {
  for (auto actions = supervision_.next(now()); !actions.empty();
       actions = supervision_.next(now())) {
    for (const auto& action : actions) carry_out(action);
  }
  if (!said_ready_ && !supervision_.stopping() && supervision_.all_ready()) {
    said_ready_ = true;
    say("all processes are up");
  }
}

void SupervisorLoop::carry_out(const Action& action) {
  const auto& specs = supervision_.specs();
  if (const auto* start = std::get_if<StartProcess>(&action)) {
    start_process(start->index);
  } else if (const auto* helper = std::get_if<StartHelper>(&action)) {
    start_helper(helper->index, helper->kind);
  } else if (const auto* probe = std::get_if<ProbeReady>(&action)) {
    if (is_ready(specs[probe->index].ready)) supervision_.became_ready(probe->index);
  } else if (const auto* send = std::get_if<SendSignal>(&action)) {
    say("sending signal " + std::to_string(send->signal) + " to " + specs[send->index].name +
        ", pid " + std::to_string(send->pid));
    kill(send->pid, send->signal);
  }
}

void SupervisorLoop::start_process(size_t index) {
  const ProcessSpec& spec = supervision_.specs()[index];
  try {
    const int pid = start_child({spec.argv, spec.user, spec.env, spec.log, spec.stop_signal});
    supervision_.process_spawned(index, pid, now());
    last_pids_[spec.name] = pid;
    say("started " + spec.name + ", pid " + std::to_string(pid));
    remember_pid(config_.pid_dir, spec.name, pid);
    write_run_file();
  } catch (const std::exception& e) {
    say("cannot start " + spec.name + ": " + e.what());
    if (supervision_.pid(index) == 0) supervision_.process_not_spawned(index, now());
  }
}

void SupervisorLoop::start_helper(size_t index, HelperKind kind) {
  const ProcessSpec& spec = supervision_.specs()[index];
  const bool prepare = kind == HelperKind::prepare;
  const std::string what = spec.name + (prepare ? " (prepare)" : " (cleanup)");
  try {
    const int pid = start_child({.argv = prepare ? spec.prepare : spec.cleanup,
                                 .user = {},
                                 .env = spec.env,
                                 .log = spec.log,
                                 .signal_when_parent_dies = SIGTERM});
    supervision_.helper_spawned(index, pid, now());
    say("started " + what + ", pid " + std::to_string(pid));
  } catch (const std::exception& e) {
    say("cannot start " + what + ": " + e.what());
    supervision_.helper_not_spawned(index, now());
  }
}

void SupervisorLoop::reap() {
  int status = 0;
  for (pid_t pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    const bool success = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const auto ended = supervision_.exited(pid, success, now());
    if (!ended) continue;
    const ProcessSpec& spec = supervision_.specs()[ended->index];
    std::string text = spec.name + (ended->helper ? " (helper)" : "") + ", pid " +
                       std::to_string(pid) + ", " + describe(status);
    if (!ended->helper && !supervision_.stopping()) {
      text += ", starting again in " + std::to_string(ended->restart_in.count()) + " ms";
    }
    say(text);
  }
}

void SupervisorLoop::take_signals(int signal_fd) {
  signalfd_siginfo info{};
  while (read(signal_fd, &info, sizeof info) == sizeof info) {
    const auto signal = static_cast<int>(info.ssi_signo);
    if ((signal == SIGTERM || signal == SIGINT) && !supervision_.stopping()) {
      say("signal " + std::to_string(signal) + ": stopping");
      supervision_.stop();
    }
  }
}

void SupervisorLoop::write_run_file() {
  nlohmann::ordered_json document = config_.run;
  document["processes"] = nlohmann::ordered_json::array();
  for (const ProcessSpec& spec : supervision_.specs()) {
    const auto pid = last_pids_.find(spec.name);
    if (pid == last_pids_.end()) continue;
    document["processes"].push_back({{"name", spec.name}, {"pid", pid->second}, {"log", spec.log}});
  }
  try {
    write_file_atomically(config_.run_file, document.dump(2) + "\n", 0644);
  } catch (const std::exception& e) {
    say(e.what());
  }
}

void SupervisorLoop::rotate_logs() {
  if (now() < rotate_at_) return;
  rotate_at_ = now() + kRotateEvery;
  for (const ProcessSpec& spec : supervision_.specs()) {
    if (rotate_if_larger(spec.log, kLogLimitBytes)) say("rotated the log of " + spec.name);
  }
  if (!config_.own_log.empty()) rotate_if_larger(config_.own_log, kLogLimitBytes);
}

}  // namespace trunkline::supervisor
