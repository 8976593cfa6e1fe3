#include "agent/io/upstream_facts.h"

#include <libpq-fe.h>
#include <poll.h>

#include <cstdlib>
#include <vector>

namespace trunkline::agent {
namespace {

using Clock = std::chrono::steady_clock;
using Row = std::vector<std::string>;

struct ConnectionCloser {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct ResultCloser {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, ConnectionCloser>;
using Result = std::unique_ptr<PGresult, ResultCloser>;

bool await(PGconn* connection, short events, Clock::time_point until) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
  pollfd one{PQsocket(connection), events, 0};
  return left > 0 && ::poll(&one, 1, static_cast<int>(left)) > 0;
}

Connection connect(const std::string& conninfo, const NodeUser& user, Clock::time_point until) {
  const AsNodeUser rights(user);
  Connection connection(PQconnectStart(conninfo.c_str()));
  if (!connection) return nullptr;
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  while (status != PGRES_POLLING_OK) {
    if (PQstatus(connection.get()) == CONNECTION_BAD || status == PGRES_POLLING_FAILED) {
      return nullptr;
    }
    if (!await(connection.get(), status == PGRES_POLLING_WRITING ? POLLOUT : POLLIN, until)) {
      return nullptr;
    }
    status = PQconnectPoll(connection.get());
  }
  return connection;
}

// The one row of the answer.
std::optional<Row> ask(const std::string& conninfo, const NodeUser& user, const char* sql,
                       std::chrono::milliseconds longest) {
  const auto until = Clock::now() + longest;
  const Connection connection = connect(conninfo, user, until);
  if (!connection || PQsendQuery(connection.get(), sql) == 0) return std::nullopt;
  std::optional<Row> out;
  while (true) {
    while (PQisBusy(connection.get())) {
      if (!await(connection.get(), POLLIN, until)) return std::nullopt;
      if (PQconsumeInput(connection.get()) == 0) return std::nullopt;
    }
    const Result result(PQgetResult(connection.get()));
    if (!result) return out;
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK || PQntuples(result.get()) != 1) continue;
    out.emplace();
    for (int c = 0; c < PQnfields(result.get()); ++c) {
      out->emplace_back(PQgetvalue(result.get(), 0, c));
    }
  }
}

}  // namespace

std::optional<UpstreamState> ask_upstream(const std::string& conninfo, const NodeUser& user,
                                          std::chrono::milliseconds longest) {
  const auto row = ask(
      conninfo, user,
      "select not r.recovery, (select system_identifier from pg_catalog.pg_control_system()),"
      " case when r.recovery then 0 else ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name("
      "   pg_catalog.pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int end,"
      " case when r.recovery then 0 else pg_catalog.pg_current_wal_flush_lsn() - '0/0' end,"
      " (select min(pg_catalog.substr(name, 9)) from pg_catalog.pg_ls_dir('pg_wal', false, false)"
      "   as name where name ~ '^[0-9A-F]{24}$')"
      " from (select pg_catalog.pg_is_in_recovery() as recovery) r",
      longest);
  if (!row || row->size() != 5) return std::nullopt;
  UpstreamState out;
  out.is_open = (*row)[0] == "t";
  out.system_identifier = std::strtoull((*row)[1].c_str(), nullptr, 10);
  out.timeline = static_cast<uint32_t>(std::strtoul((*row)[2].c_str(), nullptr, 10));
  out.flush_lsn = std::strtoull((*row)[3].c_str(), nullptr, 10);
  out.oldest_segment = (*row)[4];
  return out;
}

std::optional<uint32_t> ask_checkpointed_timeline(const std::string& conninfo,
                                                  const NodeUser& user,
                                                  std::chrono::milliseconds longest) {
  const auto row = ask(conninfo, user,
                       "select not pg_catalog.pg_is_in_recovery(), timeline_id"
                       " from pg_catalog.pg_control_checkpoint()",
                       longest);
  if (!row || row->size() != 2 || (*row)[0] != "t") return std::nullopt;
  return static_cast<uint32_t>(std::strtoul((*row)[1].c_str(), nullptr, 10));
}

}  // namespace trunkline::agent
