// What an open server does beside answering its agent: whether it takes new sessions, gets its WAL
// to disk, and has room for locks.
#include <signal.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "agent/io/node_actor.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Each asks for a process of the server.
constexpr milliseconds kAskEvery{2000};
constexpr milliseconds kAskEveryPerNode{20};
constexpr milliseconds kAnswer{1000};
constexpr seconds kRelieveEvery{5};

}  // namespace

// Only where somebody could take over.
void NodeActor::observe_health() {
  const bool is_watched = seen_.postgres == PostgresState::open && facts_ && manifest_.role &&
                          manifest_.role->role == NodeRole::primary &&
                          !manifest_.role->sync_candidates.empty();
  if (!is_watched) {
    stall_watch_.reset();
    session_probe_ = SessionProbe();
    return;
  }
  const auto now = Clock::now();
  const auto ms = [](Clock::time_point t) {
    return std::chrono::duration_cast<milliseconds>(t.time_since_epoch());
  };
  stall_watch_.look(ms(now));
  if (facts_at_ != wal_looked_at_) {
    stall_watch_.wal(ms(facts_at_), facts_->insert_lsn, facts_->flush_lsn, facts_->wal_waited_for);
  }
  wal_looked_at_ = facts_at_;
  if (session_probe_.is_waiting()) {
    if (session_probe_.answered()) stall_watch_.answered();
    return;
  }
  if (now < ask_session_at_) return;
  ask_session_at_ = now + std::max(kAskEvery, kAskEveryPerNode * context_.nodes.load());
  const std::string socket =
      paths_.socket_dir + "/.s.PGSQL." + std::to_string(manifest_.ensure->address.port);
  if (session_probe_.ask(socket) != SessionProbe::Ask::not_there) stall_watch_.asked();
}

// One session can take all locks that there are, and whoever wants one then gets an error. The one
// that has most of them is ended, unless those are few.
void NodeActor::relieve_lock_table() {
  const auto now = Clock::now();
  if (!sql_ || now - locks_relieved_at_ < kRelieveEvery) return;
  locks_relieved_at_ = now;
  try {
    const auto rows = sql_->exec(
        "select pid, held from ("
        "  select pid, count(*) as held from pg_lock_status()"
        "   join pg_stat_get_activity(null) a using (pid)"
        "   where a.backend_type = 'client backend' and a.usesysid <> 10 group by pid"
        "   order by 2 desc limit 1) most"
        " where held * 10 > current_setting('max_locks_per_transaction')::bigint"
        "   * (current_setting('max_connections')::bigint"
        "      + current_setting('max_prepared_transactions')::bigint)",
        {}, kAnswer);
    for (const auto& row : rows) {
      const auto pid = static_cast<pid_t>(std::strtol(row.at(0).value_or("").c_str(), nullptr, 10));
      // pg_terminate_backend() would need a lock.
      if (signal_children({pid}, SIGTERM) == 0) continue;
      spdlog::warn("node {}: a session held {} locks, and nobody else got one: it is ended",
                   manifest_.node_id, row.at(1).value_or(""));
    }
  } catch (const PgError& e) {
    spdlog::warn("node {}: its locks: {}", manifest_.node_id, e.what());
  }
}

}  // namespace trunkline::agent
