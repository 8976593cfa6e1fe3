// A standby's data directory, from its upstream.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "agent/domain/sql_text.h"
#include "agent/io/node_actor.h"
#include "agent/io/upstream_probe.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kRetry{20};
constexpr seconds kUpstreamPatience{15};

// The newest line of pg_basebackup's complaint.
std::string complaint(const std::string& output) {
  const size_t at = output.rfind("error: ");
  std::string text = at == std::string::npos ? output : output.substr(at + 7);
  text = text.substr(0, std::min<size_t>(text.find('\n'), 300));
  return text.empty() ? "base backup failed" : text;
}

}  // namespace

// One try. Not counted as a failure while the upstream can still be on its way up: primary and
// standbys of a new instance are set up at the same time.
void NodeActor::base_backup(bool replace) {
  const RoleSpec role = *manifest_.role;
  Progress& progress = progress_[TaskKind::role];
  const auto try_again = [&](const std::string& code, const std::string& message) {
    if (Clock::now() - progress.since > kUpstreamPatience) {
      set_failed(TaskKind::role, code, message);
    } else {
      progress.next_try = Clock::now() + paced(kRetry);
      wait(paced(kRetry));
    }
  };
  bool upstream_listens = false;
  {
    const AsNodeUser rights(user_);  // as whom it is expected at its peers'
    upstream_listens = listens(role.upstream, seconds(1));
  }
  if (!upstream_listens) {
    try_again("upstream_unreachable", "the upstream node does not answer");
    return;
  }
  await_room_for_copy();
  const std::string source = primary_conninfo(kCopyName, role, paths_.tls,
                                              paths_.tls + "/node.key");
  std::optional<RebuildTurn> turn;
  if (replace) {
    const AsNodeUser rights(user_);
    turn = RebuildTurn::take(source);
    if (!turn) {
      try_again("rebuild_waits", "the upstream has another standby to rebuild first");
      return;
    }
  }
  telemetry::Span span("base backup", telemetry::SpanKind::internal, progress.traceparent);
  span.set(telemetry::kNodeId, manifest_.node_id);
  {
    const AsNodeUser rights(user_);
    remove_tree(paths_.incoming);
  }
  ChildProcess child(
      {context_.templates->program(manifest_.ensure->image, "pg_basebackup"),
       "--pgdata=" + paths_.incoming,
       "--dbname=" + source,
       // The upstream keeps the WAL from here on (wal_keep_size, then the slot): the standby
       // streams it when it starts.
       "--wal-method=none", "--checkpoint=fast", "--no-sync", "--no-password", "--no-manifest"},
      user_, true);
  if (!replace) mark_unsynced(true);
  // Repeated tasks wake this thread too; only a change of mind ends the backup.
  while (!child.wait(milliseconds(500), wake_fd_.get())) {
    if (stopping_) return;
    await_room_for_copy();
    if (take_inbox() && (manifest_.remove || *manifest_.role != role)) {
      span.event("given up: assigned anew");
      return;
    }
    publish();
  }
  if (child.exit_code() != 0) {
    span.fail("pg_basebackup", complaint(child.output()));
    try_again("base_backup_failed", complaint(child.output()));
    return;
  }
  floor_ = {};
  load_floor(paths_.incoming);
  if (replace || seen_.postmaster_alive || seen_.keeper_alive) {
    spdlog::info("node {}: replacing its data by a new base backup", manifest_.node_id);
    stop_postmaster(seconds(5), seconds(2));
  }
  put_data_in_place(NodeRole::standby);
  seen_.cannot_follow.clear();
  suspected_.clear();
}

}  // namespace trunkline::agent
