#include "supervisor/domain/supervision.h"

#include <algorithm>
#include <csignal>
#include <utility>

namespace trunkline::supervisor {

Supervision::Supervision(std::vector<ProcessSpec> specs)
    : specs_(std::move(specs)), entries_(specs_.size()) {}

bool Supervision::lower_levels_prepared(int level) const {
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].level < level && !entries_[i].prepared) return false;
  }
  return true;
}

bool Supervision::all_ready() const {
  return std::all_of(entries_.begin(), entries_.end(),
                     [](const Entry& e) { return e.ready && e.prepared; });
}

bool Supervision::level_down(int level) const {
  for (size_t i = 0; i < specs_.size(); ++i) {
    const Entry& e = entries_[i];
    if (specs_[i].level == level && (e.pid != 0 || e.start_given)) return false;
  }
  return true;
}

std::optional<int> Supervision::highest_level_not_cleaned() const {
  std::optional<int> level;
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (!entries_[i].cleaned) level = std::max(level.value_or(specs_[i].level), specs_[i].level);
  }
  return level;
}

bool Supervision::stopped() const {
  return stopping_ &&
         std::all_of(entries_.begin(), entries_.end(), [](const Entry& e) { return e.cleaned; });
}

std::vector<Action> Supervision::next(Millis now) {
  std::vector<Action> actions;
  if (stopping_) {
    plan_stopping(now, actions);
  } else {
    plan_running(now, actions);
  }
  return actions;
}

void Supervision::plan_running(Millis now, std::vector<Action>& actions) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    Entry& e = entries_[i];
    if (e.pid == 0) {
      if (!e.start_given && now >= e.start_at && lower_levels_prepared(specs_[i].level)) {
        e.start_given = true;
        actions.push_back(StartProcess{i});
      }
      continue;
    }
    if (!e.ready) {
      if (now >= e.probe_at) {
        e.probe_at = now + kProbeInterval;
        actions.push_back(ProbeReady{i});
      }
      continue;
    }
    if (!e.prepared && e.helper_pid == 0 && !e.helper_given && now >= e.helper_at) {
      e.helper_given = true;
      e.helper_kind = HelperKind::prepare;
      actions.push_back(StartHelper{i, HelperKind::prepare});
    }
  }
}

void Supervision::plan_stopping(Millis now, std::vector<Action>& actions) {
  while (const auto level = highest_level_not_cleaned()) {
    const bool down = level_down(*level);
    for (size_t i = 0; i < specs_.size(); ++i) {
      if (specs_[i].level != *level || entries_[i].cleaned) continue;
      if (down) {
        plan_cleanup_of(i, now, actions);
      } else {
        plan_stop_of(i, now, actions);
      }
    }
    if (highest_level_not_cleaned() == level) return;  // something of it has yet to end
  }
}

void Supervision::plan_stop_of(size_t index, Millis now, std::vector<Action>& actions) {
  Entry& e = entries_[index];
  if (e.pid == 0) return;
  if (!e.stop_sent) {
    e.stop_sent = true;
    e.kill_at = now + specs_[index].stop_deadline;
    actions.push_back(SendSignal{index, e.pid, specs_[index].stop_signal});
  } else if (!e.kill_sent && now >= e.kill_at) {
    e.kill_sent = true;
    actions.push_back(SendSignal{index, e.pid, SIGKILL});
  }
}

void Supervision::plan_cleanup_of(size_t index, Millis now, std::vector<Action>& actions) {
  Entry& e = entries_[index];
  if (e.helper_pid != 0) {
    const bool outlived = e.helper_kind == HelperKind::prepare || now >= e.helper_kill_at;
    if (!e.helper_kill_sent && outlived) {
      e.helper_kill_sent = true;
      actions.push_back(SendSignal{index, e.helper_pid, SIGKILL});
    }
    return;
  }
  if (specs_[index].cleanup.empty()) {
    e.cleaned = true;
  } else if (!e.helper_given) {
    e.helper_given = true;
    e.helper_kind = HelperKind::cleanup;
    actions.push_back(StartHelper{index, HelperKind::cleanup});
  }
}

std::optional<Millis> Supervision::wake_at() const {
  std::optional<Millis> at;
  const auto consider = [&](Millis candidate) { at = at ? std::min(*at, candidate) : candidate; };
  if (stopping_) {
    for (const Entry& e : entries_) {
      if (e.stop_sent && !e.kill_sent && e.pid != 0) consider(e.kill_at);
      if (e.helper_pid != 0 && !e.helper_kill_sent) consider(e.helper_kill_at);
    }
    return at;
  }
  for (size_t i = 0; i < specs_.size(); ++i) {
    const Entry& e = entries_[i];
    if (e.pid == 0) {
      if (!e.start_given && lower_levels_prepared(specs_[i].level)) consider(e.start_at);
    } else if (!e.ready) {
      consider(e.probe_at);
    } else if (!e.prepared && e.helper_pid == 0 && !e.helper_given) {
      consider(e.helper_at);
    }
  }
  return at;
}

void Supervision::process_spawned(size_t index, int pid, Millis now) {
  Entry& e = entries_[index];
  e.start_given = false;
  e.pid = pid;
  e.started_at = now;
  e.probe_at = now;
  e.ready = false;
  if (specs_[index].ready.kind == ReadyCheck::Kind::none) became_ready(index);
}

void Supervision::process_not_spawned(size_t index, Millis now) {
  Entry& e = entries_[index];
  e.start_given = false;
  died(e, Millis(0), now);
}

void Supervision::died(Entry& entry, Millis up_for, Millis now) {
  entry.pid = 0;
  entry.ready = false;
  entry.start_at = now + entry.backoff.after_death(up_for);
}

void Supervision::helper_spawned(size_t index, int pid, Millis now) {
  Entry& e = entries_[index];
  e.helper_pid = pid;
  e.helper_kill_sent = false;
  e.helper_kill_at = now + specs_[index].cleanup_deadline;
}

void Supervision::helper_not_spawned(size_t index, Millis now) {
  Entry& e = entries_[index];
  e.helper_given = false;
  e.helper_at = now + kPrepareRetry;
  if (e.helper_kind == HelperKind::cleanup) e.cleaned = true;
}

void Supervision::became_ready(size_t index) {
  Entry& e = entries_[index];
  if (e.pid == 0) return;
  e.ready = true;
  if (specs_[index].prepare.empty()) e.prepared = true;
}

std::optional<Ended> Supervision::exited(int pid, bool success, Millis now) {
  for (size_t i = 0; i < entries_.size(); ++i) {
    Entry& e = entries_[i];
    if (pid == e.pid) {
      died(e, now - e.started_at, now);
      return Ended{i, false, e.start_at - now};
    }
    if (pid == e.helper_pid) {
      e.helper_pid = 0;
      e.helper_given = false;
      if (e.helper_kind == HelperKind::cleanup) {
        e.cleaned = true;  // also if it failed: the rest must be able to stop
      } else if (success) {
        e.prepared = true;
      } else {
        e.helper_at = now + kPrepareRetry;
      }
      return Ended{i, true, Millis(0)};
    }
  }
  return std::nullopt;
}

void Supervision::stop() {
  stopping_ = true;
}

}  // namespace trunkline::supervisor
