// Sessions that stand in the way: of a standby's replay, of a promotion, of a stop.
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "agent/domain/in_the_way.h"
#include "agent/io/node_actor.h"
#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAnswer{1000};
constexpr milliseconds kLook{4};

std::vector<pid_t> pids_of(const PgRows& rows) {
  std::vector<pid_t> out;
  for (const auto& row : rows) {
    const auto pid = static_cast<pid_t>(std::strtol(row.at(0).value_or("").c_str(), nullptr, 10));
    if (pid > 1) out.push_back(pid);
  }
  return out;
}

}  // namespace

// Clients of tenants, but for those that have ended by themselves when they are looked at.
std::vector<pid_t> NodeActor::tenant_sessions(const char* condition) {
  return pids_of(sql().exec(
      std::string("select pid from pg_stat_get_activity(null)"
                  " where backend_type = 'client backend' and usesysid <> 10") +
          condition,
      {}, kAnswer));
}

// Pids of a server are believed as far as the processes are its postmaster's children.
size_t NodeActor::signal_children(const std::vector<pid_t>& pids, int signal) const {
  const auto children = children_of(postmaster_pid_);
  size_t count = 0;
  for (const pid_t pid : pids) {
    if (std::find(children.begin(), children.end(), pid) == children.end()) continue;
    if (signal_process(pid, user_, signal)) ++count;
  }
  return count;
}

void NodeActor::observe_replay() {
  const auto now = Clock::now();
  if (!facts_ || !facts_->replay_blocked) {
    replay_blocked_since_.reset();
    return;
  }
  const bool gets_on = blocked_at_lsn_ != facts_->replay_lsn;
  if (!replay_blocked_since_ || gets_on) replay_blocked_since_ = now;
  blocked_at_lsn_ = facts_->replay_lsn;
  const bool is_promoted = manifest_.role && manifest_.role->role == NodeRole::primary;
  const bool is_fenced = manifest_.role && manifest_.role->role == NodeRole::fenced;
  const bool is_urgent = is_promoted || (is_fenced && !facts_->end_known);
  const auto blocked_for = std::chrono::duration_cast<milliseconds>(now - *replay_blocked_since_);
  if (!must_end_sessions(blocked_for, is_urgent)) return;
  try {
    const size_t ended = signal_children(tenant_sessions(" and state <> 'idle'"), SIGKILL);
    spdlog::warn("node {}: {} sessions that held up its replay for {} ms were ended by SIGKILL",
                 manifest_.node_id, ended, blocked_for.count());
  } catch (const PgError& e) {
    spdlog::warn("node {}: sessions in the way of its replay: {}", manifest_.node_id, e.what());
  }
  replay_blocked_since_.reset();
  drop_facts();
  seen_.postgres = PostgresState::starting;
}

// Whether a stop would be clean soon: no session of a tenant is left, and who was ended by force
// has not taken the standbys with him for good. Otherwise something was done about it; to be asked
// again.
bool NodeActor::clear_of_sessions() {
  const auto now = Clock::now();
  if (!parting_since_) parting_since_ = now;
  if (now - *parting_since_ > kPartingAtMost) return true;
  facts_at_ = {};
  if (seen_.postgres != PostgresState::open || !facts_) {
    if (!sessions_killed_) return true;
    wait(kLook);  // it starts anew
    return false;
  }
  const auto left = tenant_sessions("");
  if (left.empty()) {
    const auto streams = [](const StandbyFacts& s) { return s.state == "streaming"; };
    const auto streaming = static_cast<size_t>(
        std::count_if(facts_->standbys.begin(), facts_->standbys.end(), streams));
    if (!sessions_killed_ || streaming >= standbys_before_) return true;
  } else if (!sessions_told_at_) {
    sessions_told_at_ = now;
    standbys_before_ = facts_->standbys.size();
    signal_children(left, SIGTERM);
  } else if (now - *sessions_told_at_ > kSessionPatience) {
    const size_t ended = signal_children(left, SIGKILL);
    spdlog::warn("node {}: {} sessions in the way of its stop were ended by SIGKILL",
                 manifest_.node_id, ended);
    sessions_killed_ = true;
    drop_facts();
  }
  wait(kLook);
  return false;
}

void NodeActor::forget_parting() {
  parting_since_.reset();
  sessions_told_at_.reset();
  sessions_killed_ = false;
  standbys_before_ = 0;
}

// A fast shutdown waits until every WAL sender has sent all: for too long, if that is to one that
// is far behind, or gone.
void NodeActor::find_senders() {
  laggards_.clear();
  senders_.clear();
  try {
    const auto rows = sql().exec(
        "select pid, state <> 'streaming' or reply_time < clock_timestamp() - interval '3 s'"
        " from pg_stat_get_wal_senders()",
        {}, kAnswer);
    senders_ = pids_of(rows);
    for (const auto& row : rows) {
      if (row.at(1).value_or("t") == "t") laggards_.push_back(pids_of({row}).at(0));
    }
  } catch (const PgError& e) {
    spdlog::warn("node {}: its WAL senders: {}", manifest_.node_id, e.what());
  }
}

void NodeActor::end_late_senders(milliseconds stopping_for) {
  auto& late = stopping_for >= kSenderPatience ? senders_ : laggards_;
  if (stopping_for < kLaggardPatience || late.empty()) return;
  const size_t ended = signal_children(late, SIGTERM);
  if (ended > 0) {
    spdlog::warn("node {}: its stop does not wait for {} standbys that are behind",
                 manifest_.node_id, ended);
  }
  late.clear();
}

}  // namespace trunkline::agent
