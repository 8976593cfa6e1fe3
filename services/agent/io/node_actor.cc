#include "agent/io/node_actor.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "agent/domain/follow_failures.h"
#include "agent/domain/retry_backoff.h"
#include "base/utf8.h"

namespace trunkline::agent {
namespace {

constexpr size_t kFailureText = 600;  // bytes

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

void fill(v1::TaskReport* out, uint64_t generation, v1::TaskState state) {
  out->set_generation(generation);
  out->set_state(state);
}

v1::ObjectKind to_proto(ObjectKind kind) {
  return kind == ObjectKind::database ? v1::OBJECT_KIND_DATABASE : v1::OBJECT_KIND_USER;
}

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

v1::NodeReport NodeActor::report() const {
  v1::NodeReport out;
  {
    const std::lock_guard lock(mutex_);
    out = report_;
  }
  const std::lock_guard lock(lease_mutex_);
  const int64_t now = boot_ms();
  int64_t until = served_until_ms_;
  out.set_lease_term(guard_term_);
  if (lease_term_ >= guard_term_) {
    until = lease_term_ == guard_term_ ? std::max(until, lease_until_ms_) : lease_until_ms_;
    out.set_lease_term(lease_term_);
  }
  out.set_lease_ms(static_cast<uint32_t>(std::max<int64_t>(until - now, 0)));
  if (probe_answered_id_ > 0) {
    out.mutable_probe()->set_probe_id(probe_answered_id_);
    out.mutable_probe()->set_answered(probe_answered_);
  }
  return out;
}

void NodeActor::run() {
  while (!stopping_ && !finished_) {
    try {
      take_inbox();
      observe();
      const Decision decision = decide_step(manifest_, seen_);
      settle(decision);
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
  if (changed) save_manifest();
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
  if (const auto* ensure = std::get_if<EnsureSpec>(&assignment.body)) {
    if (manifest_.ensure && manifest_.ensure->generation >= ensure->generation) return false;
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
  manifest_dirty_ = false;
  context_.manifests->write(manifest_);
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
    progress.failure_message = bounded_text(message, kFailureText);
    progress.step = to_text(decision.step);
    return;
  }
  if (decision.step == Step::check_objects) return;
  if (progress.state != v1::TASK_STATE_FAILED) progress.state = v1::TASK_STATE_IN_PROGRESS;
  progress.step = to_text(decision.step);
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
  progress.failure_message = bounded_text(message, kFailureText);
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

void NodeActor::publish() {
  v1::NodeReport report = build_report();
  // What moves all the time waits for the next regular report.
  v1::NodeReport significant = report;
  significant.set_flush_lsn(0);
  significant.set_replay_lsn(0);
  significant.set_data_bytes(0);
  significant.set_connections(0);
  significant.set_upstream_silent_ms(0);
  significant.clear_databases();
  for (auto& standby : *significant.mutable_standbys()) {
    standby.set_flush_lsn(0);
    standby.set_lag_bytes(0);
    standby.set_reply_unix_us(0);
  }
  std::string bytes = significant.SerializeAsString();
  const bool changed = bytes != last_significant_;
  last_significant_ = std::move(bytes);
  {
    const std::lock_guard lock(mutex_);
    report_ = std::move(report);
  }
  if (changed) context_.report_changed();
}

v1::NodeReport NodeActor::build_report() const {
  v1::NodeReport out;
  out.set_node_id(manifest_.node_id);
  out.set_instance_id(manifest_.instance_id);
  for (const auto& [kind, progress] : progress_) {
    if (progress.generation == 0) continue;
    v1::TaskReport* task = nullptr;
    switch (kind) {
      case TaskKind::none:
        continue;
      case TaskKind::ensure:
        task = out.mutable_ensure();
        break;
      case TaskKind::role:
        task = out.mutable_role();
        break;
      case TaskKind::objects:
        task = out.mutable_objects();
        break;
      case TaskKind::remove:
        task = out.mutable_remove();
        break;
    }
    fill(task, progress.generation, progress.state);
    task->set_tries(progress.tries);
    task->set_step(progress.step);
    if (!progress.failure_code.empty()) {
      task->mutable_failure()->set_code(progress.failure_code);
      task->mutable_failure()->set_message(progress.failure_message);
    }
  }
  if (read_only_) {
    v1::Failure* failure = out.mutable_ensure()->mutable_failure();
    failure->set_code("disk_full");
    failure->set_message("95 % of disk_size is used; sessions start read-only until there is room");
  }
  for (const auto& failure : object_failures_) {
    v1::ObjectReport* object = out.add_object_failures();
    object->set_kind(to_proto(failure.key.kind));
    object->set_object_id(failure.key.id);
    object->mutable_failure()->set_code(failure.code);
    object->mutable_failure()->set_message(failure.message.substr(0, 300));
  }
  for (const auto& seen : object_notes_) {
    v1::ObjectNoteReport* out_note = out.add_object_notes();
    out_note->set_scram_verifier(seen.verifier);
    v1::ObjectNote* note = out_note->mutable_note();
    note->set_kind(to_proto(seen.key.kind));
    note->set_object_id(seen.key.id);
    note->set_what(seen.what);
    note->set_detail(seen.detail);
    for (const auto& item : seen.items) note->add_items(item);
    note->set_count(seen.count);
    note->set_database_user(seen.database_user);
    note->set_seen_unix_us(seen.seen_unix_us);
  }
  switch (seen_.postgres) {
    case PostgresState::stopped:
      out.set_postgres(seen_.postmaster_alive ? v1::POSTGRES_STATE_STARTING
                                              : v1::POSTGRES_STATE_STOPPED);
      break;
    case PostgresState::starting:
      out.set_postgres(v1::POSTGRES_STATE_STARTING);
      break;
    case PostgresState::recovering:
      out.set_postgres(v1::POSTGRES_STATE_RECOVERING);
      break;
    case PostgresState::open:
      out.set_postgres(v1::POSTGRES_STATE_OPEN);
      break;
  }
  out.set_restarts(restarts_);
  out.set_prepared_id(prepared_);
  out.set_restart_awaited(seen_.restart_deferred && prepared_at_ >= *restart_wanted_since_);
  out.set_data_bytes(data_bytes_);
  if (seen_.data == DataState::primary) out.set_reported_role(v1::ROLE_PRIMARY);
  if (seen_.data == DataState::standby) out.set_reported_role(v1::ROLE_STANDBY);
  out.set_term(manifest_.opened_term);
  out.set_upstream_silent_ms(facts_ ? facts_->upstream_silent_ms : -1);
  *out.mutable_address() = report_address();
  for (const auto& size : database_sizes_) {
    v1::DatabaseReport* database = out.add_databases();
    database->set_database_id(size.database_id);
    database->set_name(size.name);
    database->set_bytes(size.bytes);
  }
  if (fence_holds_) {
    out.set_reported_role(v1::ROLE_FENCED);
    out.set_term(manifest_.role->term);
    out.set_upstream_silent_ms(facts_ ? boot_ms() - received_seen_ms_ : -1);
  }
  for (const TimelineSwitch& step : reported_history_) {
    v1::TimelineSwitch* entry = out.add_history();
    entry->set_timeline(step.timeline);
    entry->set_begin_lsn(step.begin_lsn);
  }
  if (!facts_ && stopped_end_) {
    out.set_timeline(stopped_end_->timeline);
    out.set_flush_lsn(stopped_end_->lsn);
    out.set_wal_end_exact(stopped_end_->exact);
  }
  if (!facts_) return out;
  out.set_timeline(facts_->timeline);
  out.set_flush_lsn(facts_->flush_lsn);
  out.set_replay_lsn(facts_->replay_lsn);
  out.set_wal_receiver_streaming(facts_->wal_receiver_streaming);
  if (facts_->in_recovery && manifest_.role) {
    out.set_upstream_node_id(manifest_.role->upstream_node_id);
  }
  for (const auto& standby : facts_->standbys) {
    v1::StandbyReport* entry = out.add_standbys();
    entry->set_node_id(standby.node_id);
    entry->set_state(standby.state);
    entry->set_sync_state(standby.sync_state);
    entry->set_flush_lsn(standby.flush_lsn);
    entry->set_lag_bytes(
        facts_->flush_lsn > standby.flush_lsn ? facts_->flush_lsn - standby.flush_lsn : 0);
    entry->set_reply_unix_us(standby.reply_unix_us);
  }
  if (reported_timeline_ > 0) out.set_timeline(reported_timeline_);
  if (seen_.postgres == PostgresState::open) out.set_sync_version(sync_in_force_);
  for (const auto& slot : facts_->slots) out.add_slots(slot.node_id);
  out.set_postmaster_started_unix_us(facts_->started_unix_us);
  out.set_connections(facts_->connections);
  return out;
}

v1::NodeAddress NodeActor::report_address() const {
  v1::NodeAddress out;
  if (!manifest_.ensure) return out;
  const NodeAddress& address = manifest_.ensure->address;
  out.set_host(address.host);
  out.set_zone(address.zone);
  out.set_address(address.address);
  out.set_port(address.port);
  return out;
}

}  // namespace trunkline::agent
