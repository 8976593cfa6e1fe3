#include "agent/io/lock_breaker.h"

#include <spdlog/spdlog.h>

#include "agent/domain/sql_text.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kGrace{300};   // so long a lock may be waited for
constexpr milliseconds kAgain{100};
constexpr milliseconds kLongest{70'000};  // beyond the statement's own time-out
constexpr milliseconds kSessionsEnd{3'000};
constexpr milliseconds kTransactionsEnd{1'000};

// Of whoever is not the platform; vacuum is nobody.
std::string of_others(const std::string& which) {
  return " from pg_stat_activity a where " + which + " and a.usename is distinct from 'postgres'";
}

}  // namespace

void LockBreaker::run(PgConnection& connection, const std::string& sql) {
  const auto until = Clock::now() + kLongest;
  try {
    connection.send(sql);
    milliseconds patience = kGrace;
    while (!connection.finished_within(patience)) {
      if (Clock::now() >= until) throw PgTimeout();
      end_blockers_of(connection.backend_pid());
      patience = kAgain;
    }
  } catch (const PgError& e) {
    if (!e.sqlstate().empty()) connection.exec("rollback");
    throw;
  }
}

void LockBreaker::end_blockers_of(int pid) {
  try {
    const PgRows ended = session().exec(
        "select a.usename, pg_terminate_backend(a.pid) from pg_stat_activity a where a.pid in"
        " (select b from unnest(pg_blocking_pids($1::int)) b)"
        " and a.usename is distinct from 'postgres'"
        " and a.backend_type in ('client backend', 'parallel worker', 'autovacuum worker')",
        {std::to_string(pid)});
    for (const PgRow& row : ended) {
      spdlog::warn("a session of {} held a lock that a change of the platform's waited for: ended",
                   row.at(0).value_or("the system"));
    }
  } catch (const PgError& e) {
    session_.reset();
    spdlog::warn("who holds the lock is not known: {}", e.what());
  }
}

std::vector<std::string> LockBreaker::who_can_be(const std::string& role) {
  std::vector<std::string> out;
  for (const PgRow& row : session().exec(
           "with recursive m(oid) as (select oid from pg_authid where rolname = $1 union"
           " select x.member from pg_auth_members x join m on m.oid = x.roleid)"
           " select m.oid from m join pg_authid a using (oid) where not a.rolsuper",
           {role})) {
    out.push_back(*row.at(0));
  }
  return out;
}

bool LockBreaker::end_sessions(const std::vector<std::string>& role_oids,
                               const std::string& database) {
  std::string list = "{";
  for (const auto& oid : role_oids) list += (list.size() > 1 ? "," : "") + oid;
  return end_sessions_where("a.usesysid = any ($1::oid[]) and ($2 = '' or a.datname = $2)",
                            {list + "}", database});
}

bool LockBreaker::end_sessions_of_database(const std::string& database) {
  return end_sessions_where("a.datname = $1", {database});
}

bool LockBreaker::end_older_transactions(const std::string& database) {
  const std::string which = "a.datname = $1 and a.xact_start < $2::timestamptz";
  const std::vector<std::string> values = {
      database, session().exec("select clock_timestamp()").at(0).at(0).value()};
  const auto until = Clock::now() + kTransactionsEnd;
  while (!session().exec("select a.pid" + of_others(which), values).empty()) {
    if (Clock::now() >= until) return end_sessions_where(which, values);
    session().exec("select pg_sleep(0.02)");
  }
  return true;
}

bool LockBreaker::end_sessions_where(const std::string& which,
                                     const std::vector<std::string>& values) {
  const std::string sql = "select pg_terminate_backend(a.pid)" + of_others(which);
  const auto until = Clock::now() + kSessionsEnd;
  while (!session().exec(sql, values).empty()) {
    if (Clock::now() >= until) return false;
    session().exec("select pg_sleep(0.02)");
  }
  return true;
}

PgConnection& LockBreaker::session() {
  if (!session_) session_.emplace(open_());
  return *session_;
}

}  // namespace trunkline::agent
