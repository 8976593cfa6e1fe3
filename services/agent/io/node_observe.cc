// Looking at a node: files, keeper, postmaster, and what PostgreSQL says.
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>

#include "agent/domain/control_file.h"
#include "agent/domain/sign_of_life.h"
#include "agent/domain/sql_text.h"
#include "agent/io/node_actor.h"
#include "agent/io/node_log.h"
#include "agent/io/upstream_facts.h"
#include "agent/io/upstream_probe.h"
#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kFactsAge{300};
constexpr milliseconds kUnsettledFactsAge{8};
constexpr milliseconds kFactsDeadline{2000};
constexpr int kLateAnswers = 2;
constexpr seconds kSlowCheck{10};
constexpr seconds kFollowPatience{3};
constexpr seconds kFollowCheck{1};
constexpr milliseconds kAskUpstream{1500};
constexpr size_t kLogLimit = 16 * 1024 * 1024;
constexpr size_t kLogKept = 4 * 1024 * 1024;
constexpr char kOutOfMemory[] = "53200";

// What is so for one keeper of a host is so for all: said once.
void tell_of_priority(const KeeperStatus& keeper) {
  static std::atomic<bool> told{false};
  if ((keeper.memory_locked && keeper.realtime) || told.exchange(true)) return;
  spdlog::warn("keepers run{}{}: this machine does not let them have more",
               keeper.memory_locked ? "" : " in memory that may be swapped out",
               keeper.realtime ? "" : " as ordinary processes");
}

}  // namespace

void NodeActor::observe() {
  seen_.image_here = manifest_.ensure && context_.templates->has_image(manifest_.ensure->image);
  seen_.box_ready = manifest_.ensure && box_made_for_ == manifest_.ensure && exists(paths_.dir) &&
                    exists(paths_.socket_dir);
  seen_.data = data_state();
  seen_.data_unsynced = !manifest_.unsynced_boot_id.empty();
  if (seen_.data != DataState::absent && !manifest_.formed) {
    manifest_.formed = true;
    manifest_.formed_as = seen_.data == DataState::standby ? NodeRole::standby : NodeRole::primary;
    save_manifest();
  }
  observe_process();
  take_own_user();
  observe_certificate();
  observe_door();
  observe_lease();
  observe_disk();
  observe_floor();
  if (!conf_loaded_ && seen_.data != DataState::absent) load_files();
  observe_slow();
  seen_.files_differ = manifest_.ensure && manifest_.role && seen_.data != DataState::absent &&
                       wanted_conf() != conf_on_disk_;
  observe_facts();
  observe_promotion();
  observe_replay();
  observe_health();
  observe_preparation();
  observe_fence();
  observe_lineage();
  observe_history();
  observe_following();
  observe_port();
  observe_size();
  observe_restart();
  observe_writes();
  seen_.objects_differ = manifest_.objects && objects_applied_ < manifest_.objects->version;
  seen_.objects_check_due = manifest_.objects && Clock::now() >= objects_check_at_;
}

void NodeActor::load_files() {
  const AsNodeUser rights(user_);
  const auto text = [&](const char* name) {
    return read_file(paths_.data + "/" + name).value_or("");
  };
  conf_on_disk_ = text("postgresql.conf");
  // All are written together, so one that is wrong makes all of them wrong.
  const AccessFiles access = access_files();
  if (text("pg_hba.conf") != access.hba || text("pg_hba_closed.conf") != access.closed_hba ||
      text("pg_ident.conf") != access.ident) {
    conf_on_disk_.clear();
  }
  conf_loaded_ = true;
}

DataState NodeActor::data_state() const {
  if (!exists(paths_.data + "/PG_VERSION")) return DataState::absent;
  if (!manifest_.unsynced_boot_id.empty() && manifest_.unsynced_boot_id != boot_id()) {
    return DataState::unsynced;
  }
  if (manifest_.rewinding) return DataState::unsynced;
  return exists(paths_.data + "/standby.signal") ? DataState::standby : DataState::primary;
}

void NodeActor::observe_process() {
  bool frozen = false;
  keeper_ = keeper_status(paths_.control, &frozen);
  seen_.keeper_alive = keeper_.has_value() || frozen;
  pid_t pid = 0;
  if (keeper_) {
    pid = keeper_->postmaster_pid;
    restarts_ = std::max(restarts_, keeper_->restarts);
    seen_.quick_deaths = keeper_->quick_deaths;
    if (!keeper_pidfd_.valid()) keeper_pidfd_ = open_process(keeper_->keeper_pid);
    tell_of_priority(*keeper_);
  } else {
    if (!frozen) seen_.quick_deaths = 0;
    pid = running_postmaster(paths_.data);
    // Its directory, and postmaster.pid with it, can have been taken from under it.
    if (pid == 0 && postmaster_pid_ > 0 && process_start_ticks(postmaster_pid_) != 0 &&
        !process_ended(postmaster_pidfd_) && postmaster_pidfd_.valid()) {
      pid = postmaster_pid_;
    }
  }
  if (pid != postmaster_pid_) {
    drop_facts();
    if (pid == 0) floor_loaded_ = false;
    postmaster_pidfd_.reset();
    postmaster_pid_ = pid;
    unsettled_since_ = Clock::now();
  }
  if (pid > 0 && !postmaster_pidfd_.valid()) postmaster_pidfd_ = open_process(pid);
  seen_.postmaster_alive = pid > 0 && process_start_ticks(pid) != 0;
  seen_.data_gone_under_postmaster = seen_.postmaster_alive && !exists(paths_.data + "/PG_VERSION");
}

void NodeActor::observe_facts() {
  seen_.files_in_force = true;
  seen_.restart_pending = false;
  seen_.slots_differ = false;
  seen_.sync_confirmed = true;
  answers_ = false;
  recovers_ = false;
  if (!seen_.postmaster_alive) {
    drop_facts();
    seen_.postgres = PostgresState::stopped;
    return;
  }
  const std::string status = postmaster_status(paths_.data);
  if (seen_.keeper_closed || (status != "ready" && status != "standby")) {
    drop_facts();
    seen_.postgres = PostgresState::starting;
    return;
  }
  const bool settled = facts_ && seen_.files_in_force && !barrier_ &&
                       (standbys_streaming() || fence_holds_ || !is_unsettled());
  const auto age = Clock::now() - facts_at_;
  try {
    if (!facts_ || age >= (settled ? kFactsAge : paced(kUnsettledFactsAge))) {
      refresh_facts();
    }
    const std::string mark = config_mark(conf_on_disk_);
    seen_.files_in_force = facts_->config_mark == mark;
    const std::string start = mark + "/" + std::to_string(facts_->started_unix_us);
    if (seen_.files_in_force && restart_checked_ != start) {
      seen_.restart_pending = read_restart_pending(sql());
      if (!facts_->in_recovery) ensure_rewind_grants(sql());
      if (!seen_.restart_pending) restart_checked_ = start;
    }
    if (seen_.files_in_force && !seen_.restart_pending) mark_in_force_ = mark;
  } catch (const PgError& e) {
    if (seen_.postgres == PostgresState::open || seen_.postgres == PostgresState::recovering) {
      spdlog::warn("node {}: {}", manifest_.node_id, e.what());
    }
    answers_ = is_sign_of_life(e.sqlstate());
    recovers_ = is_sign_of_recovery(e.sqlstate()) && postmaster_pid_ == open_pid_;
    if (e.sqlstate() == kOutOfMemory) relieve_lock_table();
    // What was known last is what is known, unless somebody has declared it out of date.
    if (!answers_ || !facts_ || facts_at_ == Clock::time_point{}) {
      drop_facts();
      seen_.postgres = PostgresState::starting;
      return;
    }
  }
  seen_.postgres = facts_->in_recovery ? PostgresState::recovering : PostgresState::open;
  open_pid_ = seen_.postgres == PostgresState::open ? postmaster_pid_ : 0;
  start_span_.reset();
  ran_ = true;
  seen_.slots_differ = slots_differ();
  seen_.sync_confirmed = sync_confirmed();
  if (!manifest_.role) return;
  if (!facts_->in_recovery && manifest_.role->role == NodeRole::primary) observe_checkpoint();
  if (seen_.sync_confirmed && seen_.files_in_force && !seen_.files_differ && !facts_->in_recovery &&
      !seen_.guard_differs) {
    sync_in_force_ = std::max(sync_in_force_, manifest_.role->sync_version);
  }
  const bool in_role = (manifest_.role->role == NodeRole::standby) == facts_->in_recovery;
  if (manifest_.role->role == NodeRole::fenced) return;
  if (in_role && manifest_.opened_term < manifest_.role->term) {
    manifest_.opened_term = manifest_.role->term;
    save_later();
  }
}

// An answer that is late is no sign of a server that is down: a machine with much to do is late.
// What somebody has declared out of date is not used any longer, though.
void NodeActor::refresh_facts() {
  try {
    facts_ = read_facts(sql(), kFactsDeadline);
  } catch (const PgTimeout&) {
    sql_.reset();
    const bool is_current = facts_ && facts_at_ != Clock::time_point{};
    if (!is_current || ++late_answers_ > kLateAnswers) throw;
    return;
  }
  late_answers_ = 0;
  facts_at_ = Clock::now();
  if (facts_->flush_lsn != received_lsn_) received_seen_ms_ = boot_ms();
  received_lsn_ = facts_->flush_lsn;
}

void NodeActor::drop_facts() {
  late_answers_ = 0;
  sql_.reset();
  facts_.reset();
  barrier_.reset();
}

// A promotion does not wait for a slot that cannot be made before it.
bool NodeActor::slots_differ() const {
  if (!facts_ || !manifest_.role) return false;
  const auto role = progress_.find(TaskKind::role);
  if (facts_->in_recovery && role != progress_.end() && role->second.tries > 0) return false;
  std::set<std::string> wanted(manifest_.role->standby_node_ids.begin(),
                               manifest_.role->standby_node_ids.end());
  std::set<std::string> there;
  for (const auto& slot : facts_->slots) {
    if (slot.lost) return true;
    there.insert(slot.node_id);
  }
  return wanted != there;
}

// In force everywhere: sessions have it, each standby's sender has it, and the checkpointer, which
// tells sessions whether to wait at all, has read it (see confirm_sync_set()).
bool NodeActor::sync_confirmed() const {
  if (!facts_ || !manifest_.role || manifest_.role->role == NodeRole::fenced) return true;
  const std::string wanted = synchronous_standby_names(*manifest_.role);
  if (facts_->sync_names != wanted) return false;
  if (manifest_.role->role == NodeRole::standby) return !manifest_.confirmed_sync.empty();
  const auto& candidates = manifest_.role->sync_candidates;
  for (const auto& standby : facts_->standbys) {
    if (standby.state != "streaming") continue;
    const bool candidate = !wanted.empty() && std::find(candidates.begin(), candidates.end(),
                                                        standby.node_id) != candidates.end();
    if (candidate != (standby.sync_state != "async")) return false;
  }
  return manifest_.confirmed_sync == wanted;
}

bool NodeActor::standbys_streaming() const {
  if (!facts_ || !manifest_.role) return false;
  if (manifest_.role->role == NodeRole::standby) return facts_->wal_receiver_streaming;
  for (const auto& id : manifest_.role->standby_node_ids) {
    const bool streaming = std::any_of(
        facts_->standbys.begin(), facts_->standbys.end(),
        [&](const auto& standby) { return standby.node_id == id && standby.state == "streaming"; });
    if (!streaming) return false;
  }
  return true;
}

// A standby that does not stream for a while: what it is and what its upstream is say whether it
// ever can. Looked at twice, since the two are not read at one moment.
void NodeActor::observe_following() {
  const auto now = Clock::now();
  const bool following = facts_ && facts_->wal_receiver_streaming;
  if (seen_.data != DataState::standby || !seen_.postmaster_alive || following || new_upstream_) {
    seen_.cannot_follow.clear();
    suspected_.clear();
    not_streaming_since_ = now;
    new_upstream_ = false;
    return;
  }
  const bool follows = manifest_.role && manifest_.role->role == NodeRole::standby;
  if (!follows || now - not_streaming_since_ < kFollowPatience || now < following_checked_) return;
  const OwnEnd own = own_end();
  std::optional<UpstreamState> upstream;
  {
    const AsNodeUser rights(user_);  // as whom it is expected at its peers'
    if (listens(manifest_.role->upstream, milliseconds(500))) {
      upstream = ask_upstream(upstream_conninfo(*manifest_.role), user_, kAskUpstream);
    }
  }
  following_checked_ = Clock::now() + kFollowCheck;
  if (!upstream) return;
  const std::string reason = cannot_follow_reason(own, *upstream, segment_bytes());
  if (!reason.empty() && reason == suspected_) seen_.cannot_follow = reason;
  suspected_ = reason;
}

// Of a server that does not accept sessions: as far as its files reach, which may be further than
// what is in them.
OwnEnd NodeActor::own_end() {
  OwnEnd out;
  {
    const AsNodeUser rights(user_);
    const auto control = read_file(paths_.data + "/global/pg_control");
    if (control) out.system_identifier = control_system_identifier(*control).value_or(0);
  }
  if (facts_) {
    out.timeline = facts_->timeline;
    out.lsn = facts_->flush_lsn;
    return out;
  }
  uint64_t newest = 0;
  const uint64_t in_a_row = (uint64_t{1} << 32) / segment_bytes();
  for (const auto& name : wal_names()) {
    if (!is_segment_name(name)) continue;
    const uint64_t log = std::strtoull(name.substr(8, 8).c_str(), nullptr, 16);
    const uint64_t segment = std::strtoull(name.substr(16).c_str(), nullptr, 16);
    newest = std::max(newest, log * in_a_row + segment + 1);
  }
  out.lsn = newest * segment_bytes();
  return out;
}

// Only asked of a server that does not come up.
void NodeActor::observe_port() {
  const bool troubled = seen_.quick_deaths >= 2 && seen_.postgres != PostgresState::open &&
                        seen_.postgres != PostgresState::recovering;
  if (!troubled || !manifest_.ensure) {
    seen_.port_in_use = false;
    return;
  }
  if (seen_.postmaster_alive) return;
  seen_.port_in_use = is_taken(manifest_.ensure->address);
}

// What costs more than a glance: every ten seconds, and not while a role is being taken.
void NodeActor::observe_slow() {
  const auto now = Clock::now();
  const bool log_grows = disk_.long_log && file_bytes(paths_.log) > kLogLimit;
  if (now < slow_check_at_ && !log_grows) return;
  if (!manifest_.ensure || seen_.data == DataState::absent) return;
  const auto role = progress_.find(TaskKind::role);
  const bool busy = role != progress_.end() && role->second.state == v1::TASK_STATE_IN_PROGRESS;
  if (busy && is_unsettled() && disk_.known) return;
  slow_check_at_ = now + kSlowCheck;
  empty_node_log(paths_.log, user_, kLogLimit, kLogKept);
  if (!facts_) return;
  try {
    database_sizes_ = read_database_sizes(sql());
  } catch (const PgError& e) {
    spdlog::warn("node {}: sizes: {}", manifest_.node_id, e.what());
    if (e.sqlstate() == kOutOfMemory) relieve_lock_table();
    if (!is_sign_of_life(e.sqlstate())) drop_facts();
  }
}

std::string NodeActor::guard_source() const {
  const std::string& image = manifest_.ensure->image;
  const std::string& keeper = context_.keeper;
  const std::string path = keeper.substr(0, keeper.rfind('/') + 1) + "trunkline-guard-" +
                           image.substr(image.rfind('-') + 1) + ".so";
  return exists(path) ? path : std::string();
}

std::string NodeActor::wanted_conf() const {
  ConfigInput input;
  input.node_id = manifest_.node_id;
  input.ensure = *manifest_.ensure;
  if (manifest_.role) input.role = *manifest_.role;
  input.size = size_in_use(manifest_);
  input.host_ram_mb = context_.host_ram_mb;
  input.keeps_floor = keeps_floor();
  input.floor = floor_;
  const AccessFiles access = access_files();
  input.access = access.hba + access.closed_hba + access.ident + certificate_;
  input.socket_dir = paths_.socket_dir;
  input.socket_for_group = user_.own;
  input.tls_dir = paths_.tls;
  input.upstream_key = paths_.upstream_key;
  input.read_only = disk_.state.level() >= DiskLevel::near_full;
  input.closed = disk_.state.level() >= DiskLevel::closed;
  input.disk_unit_mb = context_.disk_unit_mb;
  input.statements = context_.templates->counts_statements(input.ensure.image);
  if (!guard_source().empty()) input.guard = paths_.guard;
  return postgresql_conf(input);
}

PgConnection& NodeActor::sql() {
  if (!sql_) {
    sql_.emplace(paths_.socket_dir, user_.uid, manifest_.ensure->address.port, "postgres",
                 kFactsDeadline);
  }
  return *sql_;
}

}  // namespace trunkline::agent
