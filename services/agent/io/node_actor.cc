#include "agent/io/node_actor.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "agent/domain/log_text.h"
#include "agent/domain/retry_backoff.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kIdle{350};
// A host of hundreds of nodes looks at each less often: what matters wakes a node anyway.
constexpr milliseconds kIdlePerNode{5};
constexpr milliseconds kLongestIdle{1000};
constexpr uint32_t kCrowd = 8;  // so many can be in a hurry without slowing each other down
constexpr milliseconds kLeasePoll{20};
constexpr milliseconds kStartingPoll{2};
constexpr milliseconds kUnsettledPoll{12};
constexpr milliseconds kConfirmPoll{4};
constexpr milliseconds kLongestPace{200};
constexpr milliseconds kUnsavedPause{100};

}  // namespace

NodeActor::NodeActor(AgentContext& context, Manifest manifest)
    : context_(context),
      paths_(node_paths(context.paths, manifest.node_id)),
      user_(context.users->owner_of(paths_.dir)),
      manifest_(std::move(manifest)),
      wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  // What was done before the agent's restart is looked at again, not believed.
  if (manifest_.ensure) progress_[TaskKind::ensure].generation = manifest_.ensure->generation;
  if (manifest_.role) progress_[TaskKind::role].generation = manifest_.role->generation;
  if (manifest_.objects) progress_[TaskKind::objects].generation = manifest_.objects->version;
  if (manifest_.remove) progress_[TaskKind::remove].generation = 1;
  if (manifest_.role) probe_target_ = manifest_.role->upstream;
  report_ = build_report();
}

NodeActor::~NodeActor() {
  stopping_ = true;
  const uint64_t one = 1;
  if (::write(wake_fd_.get(), &one, sizeof one) < 0) {
    // The counter is full: the thread wakes anyway.
  }
  if (thread_.joinable()) thread_.join();
  context_.disks->forget(manifest_.node_id);
}

void NodeActor::start() {
  thread_ = std::thread([this] { run(); });
}

void NodeActor::assign(Assignment assignment) {
  if (const auto* order = std::get_if<ProbeOrder>(&assignment.body)) {
    probe(order->probe_id);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    // Tasks are repeated until the report shows them; a node that is busy must not collect them.
    std::erase_if(inbox_, [&](const Assignment& waiting) {
      return waiting.body.index() == assignment.body.index();
    });
    inbox_.push_back(std::move(assignment));
  }
  const uint64_t one = 1;
  if (::write(wake_fd_.get(), &one, sizeof one) < 0) return;
}

void NodeActor::run() {
  while (!stopping_ && !finished_) {
    try {
      take_inbox();
      keep_trying_to_save();
      observe();
      const Decision decision = decide_step(manifest_, seen_);
      settle(decision);
      if (!unsaved_.empty()) {
        refuse_unsaved();
        publish();
        wait(kUnsavedPause);
        continue;
      }
      publish();
      const Progress& progress = progress_[decision.kind];
      const auto now = Clock::now();
      const bool later = decision.kind != TaskKind::none && progress.next_try > now;
      if (decision.step == Step::none || decision.step == Step::wait ||
          decision.step == Step::await_lease || decision.step == Step::refuse || later) {
        if (manifest_dirty_) save_manifest();
        milliseconds longest = idle_time();
        note_hurry(longest < kIdle);
        if (later) {
          longest = std::min(longest, std::chrono::ceil<milliseconds>(progress.next_try - now));
        }
        wait(longest);
        continue;
      }
      perform(decision);
    } catch (const std::exception& e) {
      spdlog::error("node {}: {}", manifest_.node_id, e.what());
      wait(milliseconds(200));
    }
  }
  note_hurry(false);
  start_span_.reset();
}

void NodeActor::note_hurry(bool hurries) {
  if (hurries == hurries_) return;
  hurries_ = hurries;
  if (hurries) {
    ++context_.in_a_hurry;
  } else {
    --context_.in_a_hurry;
  }
}

bool NodeActor::take_inbox() {
  uint64_t count = 0;
  if (::read(wake_fd_.get(), &count, sizeof count) < 0 && errno != EAGAIN) return false;
  std::vector<Assignment> inbox;
  {
    const std::lock_guard lock(mutex_);
    inbox.swap(inbox_);
  }
  bool changed = false;
  for (const auto& assignment : inbox) {
    if (manifest_.instance_id.empty()) manifest_.instance_id = assignment.instance_id;
    changed |= take(assignment);
  }
  if (changed) unsaved_ = "not written yet";
  if (changed) keep_trying_to_save();
  return changed;
}

bool NodeActor::take(const Assignment& assignment) {
  const auto renew = [&](TaskKind kind, uint64_t generation) {
    progress_[kind] = Progress{};
    progress_[kind].generation = generation;
    progress_[kind].traceparent = assignment.traceparent;
    progress_[kind].since = Clock::now();
    unsettled_since_ = Clock::now();
  };
  if (std::holds_alternative<RemoveOrder>(assignment.body)) {
    if (manifest_.remove) return false;
    manifest_.remove = true;
    renew(TaskKind::remove, 1);
    return true;
  }
  if (manifest_.remove) return false;
  if (std::holds_alternative<QuarantineOrder>(assignment.body)) {
    if (std::exchange(manifest_.quarantined, true)) return false;
    spdlog::error("node {}: the log does not know it; it is stopped and kept", manifest_.node_id);
    return true;
  }
  if (const auto* ensure = std::get_if<EnsureSpec>(&assignment.body)) {
    const bool released = std::exchange(manifest_.quarantined, false);
    if (manifest_.ensure && manifest_.ensure->generation >= ensure->generation) return released;
    manifest_.ensure = *ensure;
    renew(TaskKind::ensure, ensure->generation);
    return true;
  }
  if (const auto* prepare = std::get_if<PrepareOrder>(&assignment.body)) {
    prepare_wanted_ = std::max(prepare_wanted_, prepare->prepare_id);
    return false;
  }
  if (const auto* role = std::get_if<RoleSpec>(&assignment.body)) {
    if (manifest_.role &&
        (manifest_.role->generation >= role->generation || manifest_.role->term > role->term)) {
      return false;
    }
    manifest_.role = *role;
    new_upstream_ = true;
    fence_holds_ = false;
    forget_parting();
    facts_at_ = {};
    closing_checkpoint_.reset();
    if (role->upstream.port != 0) {
      const std::lock_guard lock(lease_mutex_);
      probe_target_ = role->upstream;
    }
    renew(TaskKind::role, role->generation);
    return true;
  }
  const auto& objects = std::get<ObjectsSpec>(assignment.body);
  if (manifest_.objects && manifest_.objects->version >= objects.version) return false;
  manifest_.objects = objects;
  renew(TaskKind::objects, objects.version);
  return true;
}

void NodeActor::save_manifest() {
  context_.manifests->write(manifest_);
  manifest_dirty_ = false;
  unsaved_.clear();
}

// What is assigned counts when it is on disk: a fence that a restart of the agent forgets is none.
// Until then nothing is done for it, and the reports say why.
void NodeActor::keep_trying_to_save() {
  if (unsaved_.empty()) return;
  try {
    save_manifest();
  } catch (const std::exception& e) {
    if (unsaved_ != e.what()) spdlog::error("node {}: {}", manifest_.node_id, e.what());
    unsaved_ = e.what();
  }
}

// What the decision says about the tasks: what is done, and what is being worked on.
void NodeActor::settle(const Decision& decision) {
  const auto done_unless = [&](TaskKind kind, bool assigned, bool open) {
    if (assigned && !open) set_done(kind);
  };
  const bool accepting =
      seen_.postgres == PostgresState::open || seen_.postgres == PostgresState::recovering;
  fence_holds_ = decision.rule == "fenced_standby" || decision.rule == "fenced_primary_stopped";
  if (fence_holds_ && manifest_.fenced_term < manifest_.role->term) {
    manifest_.fenced_term = manifest_.role->term;
    manifest_.fenced_timeline = own_timeline();
    save_later();  // the assignment itself is on disk
  }
  // A server that was open once has a new size only when it runs with it.
  const bool in_force = manifest_.opened_term == 0 || !manifest_.role || fence_holds_ ||
                        mark_in_force_ == config_mark(conf_on_disk_);
  done_unless(TaskKind::ensure, manifest_.ensure.has_value(),
              decision.kind == TaskKind::ensure || decision.kind == TaskKind::remove ||
                  !seen_.box_ready || !seen_.image_here || seen_.files_differ || !in_force ||
                  size_is_refused(manifest_));
  if (size_is_refused(manifest_)) report_refused_size();
  done_unless(TaskKind::role, manifest_.role.has_value(),
              decision.kind == TaskKind::ensure || decision.kind == TaskKind::role ||
                  decision.kind == TaskKind::remove || !manifest_.ensure ||
                  !(accepting || fence_holds_));
  done_unless(TaskKind::objects, manifest_.objects.has_value(),
              objects_applied_ < (manifest_.objects ? manifest_.objects->version : 0));
  if (decision.kind == TaskKind::none) return;
  Progress& progress = progress_[decision.kind];
  if (decision.step == Step::refuse) {
    const size_t colon = decision.why.find(": ");
    std::string message = decision.why.substr(colon + 2);
    if (decision.rule == "primary_crash_loop") {
      const AsNodeUser rights(user_);
      const std::string why = last_fatal_line(read_tail(paths_.log, 16 * 1024));
      if (!why.empty()) message = why;
    }
    if (Clock::now() >= progress.refused_again) {
      ++progress.tries;
      progress.refused_again = Clock::now() + retry_delay(progress.tries);
    }
    progress.state = v1::TASK_STATE_FAILED;
    progress.failure_code = decision.why.substr(0, colon);
    progress.failure_message = message;
    progress.step = to_text(decision.step);
    return;
  }
  if (decision.step == Step::check_objects) return;
  if (progress.state != v1::TASK_STATE_FAILED) progress.state = v1::TASK_STATE_IN_PROGRESS;
  progress.step = to_text(decision.step);
}

void NodeActor::refuse_unsaved() {
  for (auto& [kind, progress] : progress_) {
    if (progress.generation == 0) continue;
    progress.state = v1::TASK_STATE_FAILED;
    progress.failure_code = "manifest_not_saved";
    progress.failure_message = unsaved_;
  }
}

void NodeActor::set_done(TaskKind kind) {
  Progress& progress = progress_[kind];
  if (progress.state == v1::TASK_STATE_SUCCEEDED) return;
  progress.state = v1::TASK_STATE_SUCCEEDED;
  progress.failure_code.clear();
  progress.failure_message.clear();
  progress.tries = 0;
  progress.step.clear();
  progress.next_try = {};
}

void NodeActor::set_failed(TaskKind kind, const std::string& code, const std::string& message) {
  Progress& progress = progress_[kind];
  progress.state = v1::TASK_STATE_FAILED;
  progress.failure_code = code;
  progress.failure_message = message;
  ++progress.tries;
  progress.next_try = Clock::now() + retry_delay(progress.tries);
}

void NodeActor::wait(milliseconds longest) {
  pollfd fds[3] = {{wake_fd_.get(), POLLIN, 0},
                   {keeper_pidfd_.get(), POLLIN, 0},
                   {postmaster_pidfd_.get(), POLLIN, 0}};
  ::poll(fds, 3, static_cast<int>(longest.count()));
  if (fds[1].revents != 0) keeper_pidfd_.reset();
  if (fds[2].revents != 0) postmaster_pidfd_.reset();
}

uint32_t NodeActor::crowd() const {
  return 1 + context_.in_a_hurry / kCrowd;
}

milliseconds NodeActor::crowded(milliseconds pause) const {
  return std::min(pause * crowd(), kLongestPace);
}

milliseconds NodeActor::paced(milliseconds least) const {
  const auto age = std::chrono::duration_cast<milliseconds>(Clock::now() - unsettled_since_);
  return std::clamp(age * crowd() / 16, crowded(least), kLongestPace);
}

milliseconds NodeActor::idle_time() const {
  const milliseconds idle = std::clamp(kIdlePerNode * context_.nodes.load(), kIdle, kLongestIdle);
  if (fence_holds_) return idle;
  if (lease_awaited_) return crowded(kLeasePoll);
  if (!manifest_.role) return idle;
  if (!seen_.postmaster_alive) return seen_.keeper_alive ? paced(kStartingPoll) : idle;
  if (seen_.postgres == PostgresState::starting) return paced(kStartingPoll);
  if (seen_.restart_pending || !seen_.files_in_force || barrier_) return paced(kConfirmPoll);
  if (preparing_) return crowded(kConfirmPoll);
  if (is_unsettled() && !standbys_streaming()) return paced(kUnsettledPoll);
  return idle;
}

}  // namespace trunkline::agent
