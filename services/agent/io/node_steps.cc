// Doing the steps of the converge table. Each may be repeated and interrupted anywhere.
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "agent/domain/control_file.h"
#include "agent/domain/failure_text.h"
#include "agent/domain/sign_of_life.h"
#include "agent/domain/sql_text.h"
#include "agent/io/node_actor.h"
#include "agent/io/objects_apply.h"
#include "agent/keeper/proc_scan.h"
#include "runtime/random.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kObjectsCheck{5};
constexpr seconds kNoteKept{60};
constexpr seconds kRestartPatience{3};  // with sessions that are told to end
constexpr int kEndPollMs = 5;
constexpr int kLongestEndPollMs = 160;

uint64_t random_turn() {
  const std::string bytes = runtime::random_bytes(2);
  return static_cast<unsigned char>(bytes[0]) * 256u + static_cast<unsigned char>(bytes[1]);
}

std::string code_of(Step step, const std::exception& error) {
  const auto* system = dynamic_cast<const std::system_error*>(&error);
  if (system != nullptr && system->code() == std::errc::no_space_on_device) return "disk_full";
  const auto* pg = dynamic_cast<const PgError*>(&error);
  if (pg != nullptr && pg->sqlstate() == "53100") return "disk_full";
  std::string code = to_text(step);
  std::replace(code.begin(), code.end(), ' ', '_');
  std::erase_if(code, [](char c) { return c == '(' || c == ')'; });
  return code + "_failed";
}

}  // namespace

void NodeActor::perform(const Decision& decision) {
  if (decision.rule != last_rule_ && decision.step != Step::check_objects) {
    spdlog::info("node {}: {} ({})", manifest_.node_id, to_text(decision.step), decision.rule);
    last_rule_ = decision.rule;
  }
  try {
    switch (decision.step) {
      case Step::none:
      case Step::wait:
      case Step::await_lease:
      case Step::refuse:
        break;
      case Step::make_box:
        make_box();
        break;
      case Step::create_from_template:
        create_from_template();
        break;
      case Step::take_base_backup:
        base_backup(false);
        break;
      case Step::replace_by_base_backup:
        base_backup(true);
        break;
      case Step::write_files:
        write_files(paths_.data);
        if (seen_.keeper_alive) reload();
        break;
      case Step::start:
        start_postmaster(0);
        break;
      case Step::adopt:
        start_postmaster(postmaster_pid_);
        break;
      case Step::stop_quarantined:
        stop_postmaster(seconds(10), seconds(2));
        break;
      case Step::kill_without_data:
      case Step::stop_for_disk:
        stop_postmaster(milliseconds(0), seconds(2));
        break;
      case Step::restart:
        restart_postmaster();
        break;
      case Step::reload:
        reload();
        break;
      case Step::set_guard:
        set_guard();
        break;
      case Step::start_closed:
        start_closed();
        break;
      case Step::release_keeper:
        if (seen_.data == DataState::standby) drop_borrowed_timelines();
        ask_keeper(paths_.control, "release", nullptr);
        break;
      case Step::promote:
        promote();
        break;
      case Step::await_promotion:
        await_promotion();
        break;
      case Step::withdraw_promotion:
        withdraw_promotion();
        break;
      case Step::resume_promotion:
        resume_promotion();
        break;
      case Step::become_standby:
        become_standby();
        break;
      case Step::rewind:
        rewind();
        break;
      case Step::checkpoint_and_part:
        part();
        break;
      case Step::stop_primary:
        stop_primary();
        break;
      case Step::end_receiver:
        end_receiver();
        break;
      case Step::apply_slots:
        apply_slots();
        break;
      case Step::confirm_sync_set:
        confirm_sync_set();
        break;
      case Step::sync_data:
        sync_data();
        break;
      case Step::apply_objects:
        run_objects(false);
        break;
      case Step::check_objects:
        run_objects(true);
        break;
      case Step::remove:
        remove_node();
        break;
    }
  } catch (const std::exception& e) {
    spdlog::warn("node {}: {}: {}", manifest_.node_id, to_text(decision.step), e.what());
    set_failed(decision.kind, code_of(decision.step, e), e.what());
    const auto* pg = dynamic_cast<const PgError*>(&e);
    if (pg == nullptr) return;
    if (pg->sqlstate() == "53200") relieve_lock_table();
    if (!is_sign_of_life(pg->sqlstate())) drop_facts();
  }
}

void NodeActor::create_from_template() {
  telemetry::Span span("copy template", telemetry::SpanKind::internal,
                       progress_[TaskKind::role].traceparent);
  {
    const AsNodeUser rights(user_);
    remove_tree(paths_.incoming);
  }
  const std::string random = runtime::random_bytes(4);
  uint32_t number = 0;
  for (const char c : random) number = number << 8 | static_cast<unsigned char>(c);
  context_.templates->take(manifest_.ensure->image, paths_.incoming,
                           make_system_identifier(to_unix_us(runtime::now()), number), user_);
  put_data_in_place(NodeRole::primary);
}

// Remembered before the directory is there: one that a crash of the machine may have damaged must
// never be taken for a good one.
void NodeActor::mark_unsynced(bool unsynced) {
  const std::string boot = unsynced ? boot_id() : "";
  if (manifest_.unsynced_boot_id == boot) return;
  manifest_.unsynced_boot_id = boot;
  save_manifest();
}

// Writes the configuration into what is in data.new, makes it the node's data directory and
// remembers that. The name is the last thing to change.
void NodeActor::put_data_in_place(NodeRole role) {
  mark_unsynced(role == NodeRole::standby);  // a base backup is not on disk yet
  const AsNodeUser rights(user_);
  conf_on_disk_.clear();
  write_files(paths_.incoming);
  write_file_atomically(paths_.incoming + "/postgresql.auto.conf", "", 0600, false);
  if (role == NodeRole::standby) {
    // Without it the data would look like a primary's.
    write_file_atomically(paths_.incoming + "/standby.signal", "", 0600, true);
  }
  manifest_.rewinding = false;
  manifest_.promoted_term = 0;
  history_timeline_ = 0;
  segment_bytes_ = 0;
  const bool had_data = exists(paths_.data);
  if (had_data) {
    remove_tree(paths_.old);
    rename_path(paths_.data, paths_.old);
  }
  rename_path(paths_.incoming, paths_.data);
  fsync_path(paths_.dir);
  if (had_data) remove_tree(paths_.old);
  conf_loaded_ = true;
}

// Beside the data, where the server sees it however it is boxed, and whatever becomes of ours.
void NodeActor::place_guard() const {
  const std::string source = guard_source();
  if (source.empty()) return;
  const auto wanted = read_file(source);
  const AsNodeUser rights(user_);
  if (!wanted || read_file(paths_.guard) == wanted) return;
  write_file_atomically(paths_.guard, *wanted, 0600, true);
}

void NodeActor::write_files(const std::string& directory) {
  const std::string conf = wanted_conf();
  place_guard();
  const AsNodeUser rights(user_);
  const bool follows = manifest_.role && manifest_.role->role == NodeRole::standby;
  link_upstream_key(follows);
  // Not forced to disk: what a crash of the machine leaves of them is compared before they are
  // used.
  const AccessFiles access = access_files();
  write_file_atomically(directory + "/pg_hba.conf", access.hba, 0600, false);
  write_file_atomically(directory + "/pg_hba_closed.conf", access.closed_hba, 0600, false);
  write_file_atomically(directory + "/pg_ident.conf", access.ident, 0600, false);
  write_file_atomically(directory + "/postgresql.conf", conf, 0600, false);
  conf_on_disk_ = conf;
}

void NodeActor::start_postmaster(pid_t adopt) {
  if (adopt == 0) {
    if (seen_.data == DataState::standby) drop_borrowed_timelines();
    if (ran_) ++restarts_;  // keeper and postmaster died together
    ran_ = false;
    start_span_.reset();
    start_span_.emplace("postmaster started", telemetry::SpanKind::internal,
                        progress_[TaskKind::role].traceparent);
    start_span_->set(telemetry::kNodeId, manifest_.node_id);
    start_span_->set(telemetry::kDbSystem, "postgresql");
  }
  place_guard();
  KeeperStart start;
  start.keeper = context_.keeper;
  start.postgres = context_.templates->program(manifest_.ensure->image, "postgres");
  start.data_directory = paths_.data;
  start.log = paths_.log;
  start.control = paths_.control;
  start.pid_file = paths_.keeper_pid;
  start.door = paths_.door;
  start.hidden = context_.hidden;
  // The libraries that a server loads are beside the keeper.
  start.kept = {paths_.dir, paths_.socket_dir,
                context_.keeper.substr(0, context_.keeper.rfind('/'))};
  start.cgroup_procs = cgroup_procs_;
  start.adopt = adopt;
  start.restarts = restarts_;
  const Guard guard = wanted_guard().value_or(Guard{});
  if (guard.on()) start.guard = guard_words(guard);
  start_keeper(start, user_);
  facts_at_ = {};
}

void NodeActor::reload() {
  if (ask_keeper(paths_.control, "reload", nullptr) != KeeperAnswer::ok) {
    throw std::runtime_error("the keeper does not answer");
  }
  facts_at_ = {};
  wait(milliseconds(2));
}

void NodeActor::restart_postmaster() {
  std::vector<pid_t> sessions;
  try {
    if (facts_) sessions = tenant_sessions("");
  } catch (const PgError& e) {
    spdlog::warn("node {}: its sessions: {}", manifest_.node_id, e.what());
  }
  if (ask_keeper(paths_.control, "restart", nullptr) != KeeperAnswer::ok) {
    throw std::runtime_error("the keeper does not answer");
  }
  // The old postmaster goes first; until then everything still looks pending.
  const pid_t before = postmaster_pid_;
  const auto begun = Clock::now();
  const auto deadline = begun + seconds(40);
  drop_facts();
  bool frozen = false;
  while (Clock::now() < deadline && !stopping_) {
    if (Clock::now() - begun > kRestartPatience && signal_children(sessions, SIGKILL) > 0) {
      spdlog::warn("node {}: sessions in the way of its restart were ended by SIGKILL",
                   manifest_.node_id);
      sessions.clear();
    }
    const auto status = keeper_status(paths_.control, &frozen);
    if (!status || (status->postmaster_pid != before && status->postmaster_pid > 0)) return;
    ::usleep(5000);
  }
}

// Ends the keeper and the postmaster, whichever of them is there: asked, told, killed.
void NodeActor::stop_postmaster(milliseconds fast, milliseconds immediate) {
  drop_facts();
  start_span_.reset();
  ran_ = false;
  const auto begun = Clock::now();
  const auto gone = [&](milliseconds patience) {
    const auto deadline = Clock::now() + patience;
    for (int pause_ms = kEndPollMs;; pause_ms = std::min(pause_ms * 2, kLongestEndPollMs)) {
      // One that ends leaves a question unanswered.
      const bool keeper = keeper_pidfd_.valid()
                              ? !process_ended(keeper_pidfd_)
                              : ask_keeper(paths_.control, "status", nullptr) == KeeperAnswer::ok;
      if (!keeper && postgres_processes_in(paths_.data).empty()) return true;
      if (Clock::now() >= deadline) return false;
      end_late_senders(std::chrono::duration_cast<milliseconds>(Clock::now() - begun));
      pollfd ended{keeper ? keeper_pidfd_.get() : -1, POLLIN, 0};
      ::poll(&ended, 1, pause_ms);
    }
  };
  const auto tell = [&](const char* request, int signal) {
    if (ask_keeper(paths_.control, request, nullptr) == KeeperAnswer::ok) return;
    signal_process(postmaster_pid_, user_, signal);
  };
  if (fast.count() > 0) {
    tell("stop fast", SIGINT);
    if (gone(fast)) return;
  }
  senders_.clear();
  laggards_.clear();
  tell("stop immediate", SIGQUIT);
  if (gone(immediate)) return;
  if (keeper_pidfd_.valid() && keeper_) {
    signal_process(keeper_->keeper_pid, user_, SIGKILL);
  }
  for (const pid_t pid : postgres_processes_in(paths_.data)) {
    signal_process(pid, user_, SIGKILL);
  }
  if (!gone(seconds(5))) throw std::runtime_error("processes of the node do not end");
}

// Its standby connects again at once, so ending the sender and dropping the slot are tried together
// until the standby is too late. Slot names are words of ours.
void NodeActor::drop_slot(const std::string& name) {
  sql().exec(
      "do $$ begin for i in 1 .. 100 loop begin"
      " perform pg_terminate_backend(active_pid, 1000) from pg_replication_slots"
      "  where slot_name = '" +
      name +
      "' and active_pid is not null;"
      " perform pg_drop_replication_slot(slot_name) from pg_replication_slots"
      "  where slot_name = '" +
      name +
      "'; return;"
      " exception when object_in_use then if i = 100 then raise; end if; end;"
      " end loop; end $$");
}

void NodeActor::apply_slots() {
  const auto& wanted = manifest_.role->standby_node_ids;
  for (const auto& slot : facts_->slots) {
    const bool keep =
        !slot.lost && std::find(wanted.begin(), wanted.end(), slot.node_id) != wanted.end();
    if (keep) continue;
    drop_slot(slot.name);
  }
  for (const auto& id : wanted) {
    sql().exec(
        "select pg_create_physical_replication_slot($1, true)"
        " where not exists (select from pg_replication_slots where slot_name = $1)",
        {slot_name(id)});
  }
  facts_at_ = {};
}

// Sessions wait for standbys only once the checkpointer has told them to; a checkpoint that begins
// after the reload ends after that. Needed only when waiting begins at all.
void NodeActor::confirm_sync_set() {
  const std::string wanted = synchronous_standby_names(*manifest_.role);
  if (facts_->sync_names != wanted) {
    reload();
    return;
  }
  if (manifest_.confirmed_sync == wanted) {  // a sender has not read it yet
    facts_at_ = {};
    wait(milliseconds(4));
    return;
  }
  const bool waiting_begins = manifest_.confirmed_sync.empty() && !wanted.empty();
  if (waiting_begins) {
    if (!barrier_ || barrier_for_ != wanted) {
      barrier_.emplace(paths_.socket_dir, user_.uid, manifest_.ensure->address.port,
                       "postgres", seconds(2));
      barrier_->exec("set statement_timeout = 0");
      barrier_->send("checkpoint");
      barrier_for_ = wanted;
    }
    if (!barrier_->finished()) {
      wait(milliseconds(4));
      return;
    }
    barrier_.reset();
  }
  manifest_.confirmed_sync = wanted;
  save_manifest();
  // The first report that says so must not carry a flush position from before.
  facts_at_ = {};
}

// A server that starts from a base backup writes all of it to disk before it recovers
// (SyncDataDirectory in PostgreSQL's xlog.c), and this one accepts connections.
void NodeActor::sync_data() {
  {
    const AsNodeUser rights(user_);
    fsync_path(paths_.dir);
  }
  mark_unsynced(false);
}

void NodeActor::run_objects(bool check) {
  std::optional<telemetry::Span> span;
  if (!check) {
    span.emplace("apply objects", telemetry::SpanKind::internal,
                 progress_[TaskKind::objects].traceparent);
    span->set(telemetry::kNodeId, manifest_.node_id);
  }
  objects_check_at_ = Clock::now() + kObjectsCheck;
  const ObjectsResult result = apply_objects(
      {paths_.socket_dir, user_.uid, manifest_.ensure->address.port}, *manifest_.objects);
  object_failures_ = in_bounds(result.failures);
  // A note stays in the report until whoever records it must have seen it.
  object_notes_ = notes_to_report(std::move(object_notes_), result.notes,
                                  to_unix_us(runtime::now() - kNoteKept), random_turn());
  // What is large goes on after a look at the node. The first time the order is not done meanwhile;
  // later it was done but for what failed, and that has failed until it is done.
  if (result.more) objects_check_at_ = Clock::now();
  if (!result.more || check) objects_applied_ = manifest_.objects->version;
  if (result.changes > 0) slow_check_at_ = Clock::now() + seconds(1);
  if (check && result.changes > 0) {
    spdlog::warn("node {}: {} changes by hand to users and databases put right", manifest_.node_id,
                 result.changes);
  }
}

}  // namespace trunkline::agent
