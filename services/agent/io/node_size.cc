// What size a node has: the floors of a standby's settings, sizes that its server does not start
// with, and restarts that wait for another node to take over.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>

#include "agent/domain/log_text.h"
#include "agent/io/node_actor.h"

namespace trunkline::agent {
namespace {

using std::chrono::seconds;

constexpr uint32_t kRefusedDeaths = 2;
constexpr uint32_t kRefusedTries = 5;  // so many are a failure for the control plane
constexpr seconds kRestartPatience{20};
constexpr seconds kFloorAgain{1};
constexpr size_t kLogTail = 16 * 1024;

}  // namespace

// A primary that has standbys cannot go below: they would not start any more. One without them
// does so with its next size, and not before.
bool NodeActor::keeps_floor() const {
  if (seen_.data == DataState::standby) return true;
  if (!manifest_.role) return true;
  if (manifest_.role->role == NodeRole::standby) return true;
  if (manifest_.opened_term == 0) return false;
  return !manifest_.role->standby_node_ids.empty() ||
         manifest_.proven_generation == manifest_.ensure->generation;
}

// pg_control has the primary's settings as far as they are replayed, so it is read again before
// anything is made of them, and when replay stands at settings above its own.
void NodeActor::observe_floor() {
  const bool has_data = seen_.data == DataState::primary || seen_.data == DataState::standby;
  if (!manifest_.ensure || !has_data || !keeps_floor()) return;
  const bool is_current = floor_loaded_ && floor_generation_ == manifest_.ensure->generation &&
                          floor_deaths_ >= seen_.quick_deaths;
  const bool is_short = facts_ && facts_->replay_paused && Clock::now() >= floor_again_at_;
  if (!is_current || is_short) load_floor(paths_.data);
}

void NodeActor::load_floor(const std::string& directory) {
  if (!manifest_.ensure || !context_.templates->has_image(manifest_.ensure->image)) return;
  floor_loaded_ = true;
  floor_again_at_ = Clock::now() + kFloorAgain;
  floor_generation_ = manifest_.ensure->generation;
  floor_deaths_ = seen_.quick_deaths;
  ChildProcess child(
      {context_.templates->program(manifest_.ensure->image, "pg_controldata"), directory},
      user_, true);
  if (!child.wait(seconds(5)) || child.exit_code() != 0) return;
  const auto value = [&](const std::string& name) {
    const size_t at = child.output().find(name);
    if (at == std::string::npos) return 0ul;
    return std::strtoul(child.output().c_str() + at + name.size(), nullptr, 10);
  };
  floor_.max_connections = static_cast<uint32_t>(value("max_connections setting:"));
  floor_.max_worker_processes = static_cast<uint32_t>(value("max_worker_processes setting:"));
}

// A server that ran, and does not start with its new size, gets back the one that it ran with.
void NodeActor::observe_size() {
  seen_.size_untried = false;
  if (!manifest_.ensure || !manifest_.role) return;
  const EnsureSpec& ensure = *manifest_.ensure;
  if (size_generation_ != ensure.generation) deaths_before_ = seen_.quick_deaths;
  size_generation_ = ensure.generation;
  deaths_before_ = std::min(deaths_before_, seen_.quick_deaths);
  if (size_is_refused(manifest_) || manifest_.proven_generation == ensure.generation) return;
  const bool accepts =
      seen_.postgres == PostgresState::open || seen_.postgres == PostgresState::recovering;
  if (accepts) {
    const bool in_force = !seen_.files_differ && seen_.files_in_force && !seen_.restart_pending;
    if (!in_force || manifest_.role->role == NodeRole::fenced) return;
    manifest_.proven_generation = ensure.generation;
    manifest_.proven_size = ensure.size;
    manifest_.refused_generation = 0;
    manifest_.refused_why.clear();
    save_later();
    return;
  }
  const bool had_another = manifest_.proven_generation > 0 && manifest_.proven_size != ensure.size;
  if (!had_another) return;
  seen_.size_untried = true;
  const bool keeps_dying = seen_.quick_deaths - deaths_before_ >= kRefusedDeaths;
  if (!keeps_dying || seen_.files_differ || seen_.port_in_use) return;
  {
    const AsNodeUser rights(user_);
    manifest_.refused_why = last_fatal_line(read_tail(paths_.log, kLogTail));
  }
  manifest_.refused_generation = ensure.generation;
  spdlog::warn("node {}: does not start with its new size: {}", manifest_.node_id,
               manifest_.refused_why);
  save_manifest();
  seen_.files_differ = wanted_conf() != conf_on_disk_;
}

void NodeActor::report_refused_size() {
  Progress& progress = progress_[TaskKind::ensure];
  progress.state = v1::TASK_STATE_FAILED;
  progress.tries = kRefusedTries;
  progress.failure_code = "size_refused";
  progress.failure_message = "PostgreSQL does not start with this size, so the node has the one "
                             "before it: " + manifest_.refused_why;
  progress.step.clear();
}

// A primary whose standbys can take over waits a while for one to do so, and is restarted as a
// standby then. What a stop has to write is written before it says that it waits.
void NodeActor::observe_restart() {
  const bool may_wait = seen_.restart_pending && seen_.postgres == PostgresState::open &&
                        manifest_.role && manifest_.role->role == NodeRole::primary &&
                        !manifest_.role->standby_node_ids.empty() && !size_is_refused(manifest_);
  if (!may_wait) {
    restart_wanted_since_.reset();
    seen_.restart_deferred = false;
    return;
  }
  if (!restart_wanted_since_) {
    restart_wanted_since_ = Clock::now();
    prepare_wanted_ = std::max(prepare_wanted_, prepare_begun_ + 1);
  }
  seen_.restart_deferred = Clock::now() - *restart_wanted_since_ < kRestartPatience;
}

}  // namespace trunkline::agent
