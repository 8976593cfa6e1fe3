// A standby becomes the primary. Nothing here waits for long: what a promotion takes is waited for
// between looks, with an ear for the inbox.
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "agent/io/node_actor.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kImmediateStop{300};
constexpr milliseconds kAnswer{1000};
constexpr milliseconds kLookAfter{50};  // at everything else, too
constexpr int kPollMs = 2;
constexpr char kBorrowed[] = "# not of this node\n";

uint32_t timeline_of(const std::string& name) {
  return static_cast<uint32_t>(std::strtoul(name.substr(0, 8).c_str(), nullptr, 16));
}
bool is_history(const std::string& name) {
  return name.size() == 16 && name.ends_with(".history");
}

}  // namespace

// PostgreSQL begins the first timeline that it knows no history of. A history that names nobody's
// data holds a number; once there is a real one above it, it stays, for the standbys that ask for
// all in a row.
void NodeActor::take_timelines(uint32_t own) const {
  const AsNodeUser rights(user_);
  for (uint32_t taken = own + 1; taken < manifest_.role->timeline; ++taken) {
    const std::string path = paths_.data + "/pg_wal/" + history_file_name(taken);
    if (!exists(path)) write_file_atomically(path, kBorrowed, 0600, true);
  }
}

// A server that starts as a standby goes for the newest timeline that it finds, and could follow no
// such history: those above all real ones are for a promotion alone.
void NodeActor::drop_borrowed_timelines() const {
  const auto names = wal_names();
  const AsNodeUser rights(user_);
  uint32_t newest = 0;
  std::map<uint32_t, std::string> borrowed;
  for (const auto& name : names) {
    if (is_segment_name(name)) newest = std::max(newest, timeline_of(name));
    if (!is_history(name)) continue;
    const std::string path = paths_.data + "/pg_wal/" + name;
    if (read_at(path, 0, sizeof kBorrowed) == kBorrowed) {
      borrowed[timeline_of(name)] = path;
    } else {
      newest = std::max(newest, timeline_of(name));
    }
  }
  for (const auto& [timeline, path] : borrowed) {
    if (timeline > newest) ::unlink(path.c_str());
  }
}

void NodeActor::promote() {
  const uint64_t term = manifest_.role->term;
  // A try that was cut off can have left segments of the timeline that it was about to begin.
  const uint32_t own =
      manifest_.promoted_term == term ? manifest_.fenced_timeline : own_timeline();
  const bool moved = manifest_.fenced_term == term &&
                     own != std::max<uint32_t>(manifest_.fenced_timeline, 1);
  if (moved || (manifest_.role->timeline > 0 && own >= manifest_.role->timeline)) {
    set_failed(TaskKind::role, "promotion_moved",
               "the node's timeline is not one that the assigned one can begin from");
    return;
  }
  const auto begun = Clock::now();
  manifest_.promoted_term = term;
  manifest_.fenced_timeline = own;
  save_manifest();
  take_timelines(own);
  if (ask_keeper(paths_.control, "hold", nullptr) != KeeperAnswer::ok) {
    throw std::runtime_error("the keeper does not answer");
  }
  promotion_span_.emplace("promote", telemetry::SpanKind::client,
                          progress_[TaskKind::role].traceparent);
  promotion_span_->set(telemetry::kNodeId, manifest_.node_id);
  promotion_span_->set(telemetry::kDbSystem, "postgresql");
  promotion_span_->set(telemetry::kDbOperation, "pg_promote");
  promotion_span_->set(telemetry::kTerm, static_cast<int64_t>(term));
  sql().exec("select pg_promote(false)");
  promoting_since_ = begun;
  promotion_unsure_ = false;
  await_promotion();
}

// What ends the server ends its promotion, too: it is asked for again, or not.
void NodeActor::observe_promotion() {
  seen_.promoting = false;
  if (!promoting_since_) return;
  const auto took =
      std::chrono::duration_cast<milliseconds>(Clock::now() - *promoting_since_).count();
  if (!facts_ && seen_.postmaster_alive) {
    promotion_unsure_ = true;  // late, or starting anew
    return;
  }
  if (facts_ && facts_->in_recovery && !promotion_unsure_) {
    seen_.promoting = true;
    return;
  }
  promoting_since_.reset();
  if (facts_ && !facts_->in_recovery) {
    closing_checkpoint_.reset();
    promoted_at_ = Clock::now();
    promotion_span_.reset();
    spdlog::info("node {}: promoted in term {} within {} ms", manifest_.node_id,
                 manifest_.promoted_term, took);
    return;
  }
  if (promotion_span_) promotion_span_->fail("cut_off");
  promotion_span_.reset();
  spdlog::warn("node {}: its promotion in term {} did not come to its end in {} ms",
               manifest_.node_id, manifest_.promoted_term, took);
}

void NodeActor::await_promotion() {
  facts_at_ = {};
  const auto until = Clock::now() + kLookAfter;
  try {
    while (Clock::now() < until && !stopping_) {
      const auto rows = sql().exec("select pg_is_in_recovery()", {}, kAnswer);
      if (rows.at(0).at(0).value_or("") == "f") return;
      pollfd woken{wake_fd_.get(), POLLIN, 0};
      if (::poll(&woken, 1, kPollMs) > 0) return;
    }
  } catch (const PgTimeout&) {
    sql_.reset();  // late, like any other answer
  }
}

// It could still take effect, in a term that is over: whatever waits for it ends with the server.
void NodeActor::withdraw_promotion() {
  spdlog::warn("node {}: its promotion in term {} is withdrawn", manifest_.node_id,
               manifest_.promoted_term);
  promoting_since_.reset();
  if (promotion_span_) promotion_span_->fail("withdrawn");
  promotion_span_.reset();
  stop_postmaster(milliseconds(0), kImmediateStop);
  drop_borrowed_timelines();
}

// The signal file went before the new timeline was on disk: started like this it would go on as a
// primary of the old timeline. Nobody has written to the new one, so it is begun again.
void NodeActor::resume_promotion() {
  stop_postmaster(milliseconds(0), kImmediateStop);
  {
    const auto names = wal_names();
    const AsNodeUser rights(user_);
    for (const auto& name : names) {
      const bool begun = name == history_file_name(manifest_.role->timeline) || name.size() == 24;
      if (begun && timeline_of(name) > manifest_.fenced_timeline) {
        ::unlink((paths_.data + "/pg_wal/" + name).c_str());
      }
    }
  }
  drop_borrowed_timelines();
  const AsNodeUser rights(user_);
  write_file_atomically(paths_.data + "/standby.signal", "", 0600, true);
}

}  // namespace trunkline::agent
