// Fencing and promotion of a node.
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "agent/io/node_actor.h"
#include "agent/keeper/proc_scan.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kFastStop{5000};
constexpr milliseconds kImmediateStop{300};
constexpr milliseconds kFirstCommits{500};
constexpr seconds kPreparedFor{10};

}  // namespace

// ---- what is seen -------------------------------------------------------------------------------

std::vector<std::string> NodeActor::wal_names() const {
  std::vector<std::string> names;
  const AsNodeUser rights(user_);
  std::error_code error;
  for (std::filesystem::directory_iterator it(paths_.data + "/pg_wal", error), end;
       !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename());
  }
  return names;
}

// Of the data's WAL; what is usual, before there is any.
uint64_t NodeActor::segment_bytes() {
  if (segment_bytes_ > 0) return segment_bytes_;
  for (const auto& name : wal_names()) {
    if (!is_segment_name(name)) continue;
    const AsNodeUser rights(user_);
    const uint64_t bytes = file_bytes(paths_.data + "/pg_wal/" + name);
    if (!std::has_single_bit(bytes) || bytes < (1u << 20) || bytes > (1u << 30)) continue;
    segment_bytes_ = bytes;
    return bytes;
  }
  return kUsualSegment;
}

// The newest that there is WAL of.
uint32_t NodeActor::own_timeline() const {
  uint32_t newest = 1;
  for (const auto& name : wal_names()) {
    if (!is_segment_name(name)) continue;
    newest = std::max(newest,
                      static_cast<uint32_t>(std::strtoul(name.substr(0, 8).c_str(), nullptr, 16)));
  }
  return newest;
}

std::vector<TimelineSwitch> NodeActor::own_history(uint32_t timeline) {
  if (timeline <= 1) return {};
  if (history_timeline_ == timeline) return history_;
  std::optional<std::string> text;
  {
    const AsNodeUser rights(user_);
    text = read_file(paths_.data + "/pg_wal/" + history_file_name(timeline));
  }
  if (!text) return {};
  history_ = parse_history(*text, timeline);
  history_timeline_ = timeline;
  return history_;
}

std::optional<ControlData> NodeActor::read_control() const {
  if (!manifest_.ensure || !context_.templates->has_image(manifest_.ensure->image)) return {};
  ChildProcess child(
      {context_.templates->program(manifest_.ensure->image, "pg_controldata"), paths_.data},
      user_, true);
  if (!child.wait(seconds(5)) || child.exit_code() != 0) return {};
  return parse_control_data("\n" + child.output());
}

// The end of the WAL of a primary that has stopped. Known exactly if it stopped cleanly; otherwise
// the newest position that it was seen at.
void NodeActor::read_stopped_end() {
  if (stopped_end_) return;
  const auto control = read_control();
  if (!control) return;
  StoppedEnd end;
  end.timeline = std::max({control->timeline, control->recovery_timeline, own_timeline()});
  end.lsn = std::max(control->checkpoint_lsn, last_flush_lsn_);
  if (control->shut_down) {
    // Its last record is the checkpoint of the shutdown; the record begins with its length.
    const uint64_t size = segment_bytes();
    const std::string name = segment_name(control->timeline, control->checkpoint_lsn, size);
    const AsNodeUser rights(user_);
    const auto bytes =
        read_at(paths_.data + "/pg_wal/" + name, control->checkpoint_lsn % size, 4);
    uint32_t length = 0;
    if (bytes.size() == 4) std::memcpy(&length, bytes.data(), 4);
    if (length >= 24 && length < 4096) {
      end.lsn = record_end(control->checkpoint_lsn, length, size);
      end.exact = true;
    }
  }
  stopped_end_ = end;
}

void NodeActor::observe_fence() {
  if (facts_) last_flush_lsn_ = facts_->flush_lsn;
  const bool stopped = !seen_.postmaster_alive && !seen_.keeper_alive;
  if (!stopped || seen_.data != DataState::primary) stopped_end_.reset();
  seen_.sync_armed = true;
  seen_.promotion_cut = false;
  seen_.receiver_ended = seen_.end_known = false;
  seen_.patience_over = true;
  if (!manifest_.role) return;
  const RoleSpec& role = *manifest_.role;
  const auto now = Clock::now();
  const bool patient = now - progress_[TaskKind::role].since < milliseconds(role.patience_ms);
  if (role.role == NodeRole::primary) {
    seen_.sync_armed =
        synchronous_standby_names(role).empty() || !manifest_.confirmed_sync.empty();
    // A keeper that holds says that the promotion had been begun, signal file or not.
    const bool cut = (seen_.data == DataState::primary || seen_.keeper_held) &&
                     !seen_.postmaster_alive && manifest_.promoted_term == role.term &&
                     manifest_.opened_term < role.term;
    if (cut) {
      const auto control = read_control();
      seen_.promotion_cut =
          control && std::max(control->timeline, control->recovery_timeline) <=
                         std::max<uint32_t>(manifest_.fenced_timeline, 1);
    }
    return;
  }
  if (role.role != NodeRole::fenced) return;
  if (seen_.data == DataState::primary) {
    if (stopped) read_stopped_end();
    if (!facts_) return;
    const bool parted = is_prepared() || (closing_checkpoint_ && checkpoint_closed());
    seen_.patience_over = !patient || (parted && facts_->connections == 0);
    return;
  }
  seen_.receiver_ended = facts_ && facts_->receiver_pid == 0 && seen_.files_in_force &&
                         !seen_.files_differ && !exists_link(paths_.upstream_key);
  if (!seen_.receiver_ended || !facts_->end_known) {
    end_seen_at_ = {};
    return;
  }
  // The position that goes with it is read after it was known to be the end.
  if (end_seen_at_ == Clock::time_point{}) {
    end_seen_at_ = facts_at_;
    facts_at_ = {};
  }
  seen_.end_known = facts_at_ > end_seen_at_;
}

// What a receiver says of its timeline goes with it.
void NodeActor::observe_history() {
  reported_timeline_ = 0;
  reported_history_.clear();
  const bool is_fenced = manifest_.role && manifest_.role->role == NodeRole::fenced;
  if (facts_ && !facts_->in_recovery) {
    reported_timeline_ = facts_->timeline;
  } else if (facts_ && !facts_->wal_receiver_streaming) {
    reported_timeline_ = timeline_of_segment(wal_names(), facts_->flush_lsn, segment_bytes());
  } else if (stopped_end_ && is_fenced) {
    reported_timeline_ = stopped_end_->timeline;
  }
  const uint32_t timeline =
      reported_timeline_ == 0 && facts_ ? facts_->timeline : reported_timeline_;
  reported_history_ = own_history(timeline);
}

bool NodeActor::is_prepared() const {
  return prepared_ > 0 && progress_.at(TaskKind::role).since - prepared_at_ < kPreparedFor;
}

bool NodeActor::checkpoint_closed() {
  try {
    return !closing_checkpoint_ || closing_checkpoint_->finished();
  } catch (const PgError& e) {
    spdlog::warn("node {}: checkpoint: {}", manifest_.node_id, e.what());
    return true;
  }
}

// ---- what is done -------------------------------------------------------------------------------

// A server that has yet to hear of its new configuration cannot connect without the key, whatever
// it tries.
void NodeActor::link_upstream_key(bool there) const {
  if (!there) {
    if (::unlink(paths_.upstream_key.c_str()) != 0 && errno != ENOENT) {
      throw std::system_error(errno, std::generic_category(), paths_.upstream_key);
    }
    return;
  }
  const std::string target = paths_.tls + "/node.key";
  // One of the release before leads elsewhere.
  std::error_code error;
  if (std::filesystem::read_symlink(paths_.upstream_key, error) == target) return;
  if (!error && ::unlink(paths_.upstream_key.c_str()) != 0) {
    throw std::system_error(errno, std::generic_category(), paths_.upstream_key);
  }
  if (::symlink(target.c_str(), paths_.upstream_key.c_str()) != 0 && errno != EEXIST) {
    throw std::system_error(errno, std::generic_category(), paths_.upstream_key);
  }
}

void NodeActor::end_receiver() {
  if (facts_ && facts_->receiver_pid > 0) {
    signal_process(facts_->receiver_pid, user_, SIGTERM);
  }
  facts_at_ = {};
  wait(milliseconds(2));
}

// Its dirty pages go first, so that the stop takes no time; then whoever is left is waited for.
void NodeActor::part() {
  if (!is_prepared() && !closing_checkpoint_) closing_checkpoint_ = checkpoint();
  facts_at_ = {};
  wait(milliseconds(4));
}

// A stop that is to be clean waits neither for sessions that hear nothing nor for standbys that are
// far behind: the next primary needs the end of its WAL.
void NodeActor::stop_primary() {
  const bool patient = manifest_.role->role == NodeRole::fenced && manifest_.role->patience_ms > 0;
  if (patient && !clear_of_sessions()) return;
  closing_checkpoint_.reset();
  if (patient && facts_) find_senders();
  forget_parting();
  stop_postmaster(patient ? kFastStop : milliseconds(0), kImmediateStop);
}

PgConnection NodeActor::checkpoint() {
  PgConnection out(paths_.socket_dir, user_.uid, manifest_.ensure->address.port,
                   "postgres", seconds(2));
  out.exec("set statement_timeout = 0");
  out.send("checkpoint");
  return out;
}

// One that fails is as good as none: nobody waits for it for long.
void NodeActor::observe_preparation() {
  if (!facts_) preparing_.reset();
  try {
    if (facts_ && prepare_wanted_ > prepare_begun_) {
      prepare_begun_ = prepare_wanted_;
      preparing_ = checkpoint();
    }
    if (!preparing_ || !preparing_->finished()) return;
    prepared_ = prepare_begun_;
    prepared_at_ = Clock::now();
  } catch (const PgError& e) {
    spdlog::warn("node {}: checkpoint: {}", manifest_.node_id, e.what());
  }
  preparing_.reset();
}

// A server that is rewound against one that was promoted must find its timeline in pg_control. The
// first commits, which wait for the same disk, go first.
void NodeActor::observe_checkpoint() {
  if (promoted_at_ && (standbys_streaming() || Clock::now() - *promoted_at_ > kFirstCommits)) {
    promoted_at_.reset();
    closing_checkpoint_ = checkpoint();
  }
  if (closing_checkpoint_ && checkpoint_closed()) closing_checkpoint_.reset();
}

}  // namespace trunkline::agent
