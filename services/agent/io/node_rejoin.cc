// A node whose group went on without it: what of its data can stay, and how it comes back.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "agent/domain/sql_text.h"
#include "agent/io/node_actor.h"
#include "agent/io/upstream_facts.h"
#include "agent/io/upstream_probe.h"

namespace trunkline::agent {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kFastStop{3000};
constexpr milliseconds kImmediateStop{500};
constexpr milliseconds kRetry{50};
constexpr size_t kForksKept = 3;
constexpr seconds kHistoryPatience{10};
constexpr milliseconds kAskUpstream{3000};

std::string last_line(const std::string& output) {
  const size_t at = output.rfind("error: ");
  std::string text = at == std::string::npos ? output : output.substr(at + 7);
  return text.substr(0, std::min<size_t>(text.find('\n'), 300));
}

}  // namespace

// While it streams, its lineage is that of its upstream.
void NodeActor::observe_lineage() {
  seen_.lineage = Lineage::follows;
  if (!manifest_.role || manifest_.role->role != NodeRole::standby) return;
  const auto& assigned = manifest_.role->history;
  const bool begun_in_vain =
      manifest_.promoted_term > 0 && manifest_.promoted_term > manifest_.opened_term;
  if (seen_.data == DataState::primary) {
    if (seen_.postmaster_alive || seen_.keeper_alive) return;
    read_stopped_end();
    if (!stopped_end_ || begun_in_vain) {
      seen_.lineage = Lineage::replace;
      return;
    }
    seen_.lineage = compare_lineage(own_history(stopped_end_->timeline), stopped_end_->timeline,
                                    stopped_end_->lsn, stopped_end_->exact, assigned);
  } else if (seen_.data == DataState::standby && !(facts_ && facts_->wal_receiver_streaming)) {
    const uint32_t timeline = own_timeline();
    seen_.lineage = compare_lineage(own_history(timeline), timeline,
                                    facts_ ? facts_->replay_lsn : 0, true, assigned);
  }
  // A primary's timeline is in the log a moment after it has opened.
  auto since = progress_[TaskKind::role].since;
  if (seen_.data == DataState::standby) since = std::max(since, not_streaming_since_);
  if (seen_.lineage == Lineage::newer && Clock::now() - since > kHistoryPatience) {
    seen_.lineage = Lineage::replace;
  }
}

// What makes the data in place a standby's, in an order in which it is never a primary's again.
void NodeActor::make_standby_of_data() {
  load_floor(paths_.data);
  const AsNodeUser rights(user_);
  write_file_atomically(paths_.data + "/standby.signal", "", 0600, true);
  write_file_atomically(paths_.data + "/postgresql.auto.conf", "", 0600, false);
  // Slots of the time as a primary would keep WAL for ever.
  std::error_code error;
  for (fs::directory_iterator it(paths_.data + "/pg_replslot", error), end; !error && it != end;
       it.increment(error)) {
    remove_tree(it->path());
  }
  conf_on_disk_.clear();
  history_timeline_ = 0;
  seen_.data = DataState::standby;
  write_files(paths_.data);
}

void NodeActor::become_standby() {
  make_standby_of_data();
  manifest_.promoted_term = 0;
  save_manifest();
}

// Of the segments that hold what the group does not have. A hard link would be written to by
// pg_rewind.
void NodeActor::keep_forked_wal() {
  const uint32_t timeline = own_timeline();
  uint64_t from = 0;
  const auto& history = manifest_.role->history;
  const auto next = std::find_if(history.begin(), history.end(),
                                 [&](const auto& step) { return step.timeline > timeline; });
  if (next != history.end()) from = next->begin_lsn;
  const std::string first = segment_name(timeline, from, segment_bytes());
  const uint64_t term = std::max(manifest_.opened_term, manifest_.promoted_term);
  const std::string target = paths_.forked + "/term-" + std::to_string(term);
  const auto names = wal_names();
  const AsNodeUser rights(user_);
  make_directory(paths_.forked, 0700);
  if (exists(target)) return;
  const std::string making = target + ".new";
  remove_tree(making);
  make_directory(making, 0700);
  for (const auto& name : names) {
    const bool forked =
        name.size() == first.size() && name.starts_with(first.substr(0, 8)) && name >= first;
    if (!forked && name != history_file_name(timeline)) continue;
    fs::copy_file(paths_.data + "/pg_wal/" + name, making + "/" + name);
  }
  fsync_tree(making);
  rename_path(making, target);
  std::vector<std::pair<uint64_t, std::string>> kept;
  for (const auto& entry : fs::directory_iterator(paths_.forked)) {
    const std::string name = entry.path().filename();
    kept.emplace_back(std::strtoull(name.c_str() + std::min<size_t>(name.size(), 5), nullptr, 10),
                      entry.path());
  }
  std::sort(kept.begin(), kept.end());
  for (size_t i = 0; i + kForksKept < kept.size(); ++i) remove_tree(kept[i].second);
}

// pg_rewind believes the control file, which is on the new timeline only after a checkpoint.
bool NodeActor::upstream_ready_for_rewind(const RoleSpec& role) const {
  {
    const AsNodeUser rights(user_);  // as whom it is expected at its peers'
    if (!listens(role.upstream, milliseconds(500))) return false;
  }
  const auto timeline = ask_checkpointed_timeline(upstream_conninfo(role), user_, kAskUpstream);
  return timeline && *timeline >= (role.history.empty() ? 1 : role.history.back().timeline);
}

// Of database postgres, as the replication role.
std::string NodeActor::upstream_conninfo(const RoleSpec& role) const {
  return primary_conninfo(kCopyName, role, paths_.tls, paths_.tls + "/node.key") +
         " dbname=postgres";
}

bool NodeActor::run_rewind(const RoleSpec& role, std::string* complaint) {
  ChildProcess child({context_.templates->program(manifest_.ensure->image, "pg_rewind"),
                      "--target-pgdata=" + paths_.data,
                      "--source-server=" + upstream_conninfo(role), "--no-sync"},
                     user_, true);
  while (!child.wait(milliseconds(500), wake_fd_.get())) {
    if (stopping_) return false;
    if (take_inbox() && (manifest_.remove || *manifest_.role != role)) {
      *complaint = "given up: assigned anew";
      return false;
    }
    publish();
  }
  *complaint = last_line(child.output());
  return child.exit_code() == 0;
}

// Interrupted, it leaves data that nobody may start: a base backup follows.
void NodeActor::rewind() {
  const RoleSpec role = *manifest_.role;
  Progress& progress = progress_[TaskKind::role];
  if (!upstream_ready_for_rewind(role)) {
    if (Clock::now() - progress.since > seconds(15)) {
      set_failed(TaskKind::role, "upstream_unreachable",
                 "the upstream node does not answer, or has not checkpointed its timeline");
    } else {
      progress.next_try = Clock::now() + kRetry;
      wait(kRetry);
    }
    return;
  }
  telemetry::Span span("rewind", telemetry::SpanKind::internal, progress.traceparent);
  span.set(telemetry::kNodeId, manifest_.node_id);
  stop_postmaster(kFastStop, kImmediateStop);
  keep_forked_wal();
  manifest_.rewinding = true;
  mark_unsynced(true);
  save_manifest();
  {
    const AsNodeUser rights(user_);
    ::unlink((paths_.data + "/standby.signal").c_str());  // single-user recovery refuses it
  }
  const auto begun = Clock::now();
  std::string complaint;
  if (!run_rewind(role, &complaint)) {
    spdlog::warn("node {}: pg_rewind: {}", manifest_.node_id, complaint);
    span.fail("pg_rewind", complaint);
    return;
  }
  make_standby_of_data();
  manifest_.rewinding = false;
  manifest_.promoted_term = 0;
  save_manifest();
  spdlog::info("node {}: rewound within {} ms", manifest_.node_id,
               std::chrono::duration_cast<milliseconds>(Clock::now() - begun).count());
}

}  // namespace trunkline::agent
