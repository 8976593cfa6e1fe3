#include "agent/io/pg_connection.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/domain/platform_session.h"

namespace trunkline::agent {
namespace {

using Clock = std::chrono::steady_clock;

std::string trimmed(const char* text) {
  std::string out = text == nullptr ? "" : text;
  while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
  return out;
}

struct ResultCloser {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ResultCloser>;

PgRows to_rows(const PGresult* result) {
  PgRows rows(static_cast<size_t>(PQntuples(result)));
  for (int r = 0; r < PQntuples(result); ++r) {
    for (int c = 0; c < PQnfields(result); ++c) {
      auto& row = rows[static_cast<size_t>(r)];
      if (PQgetisnull(result, r, c)) {
        row.emplace_back();
      } else {
        row.emplace_back(std::string(PQgetvalue(result, r, c)));
      }
    }
  }
  return rows;
}

// What a server that refuses the session said, or why there is none: "FATAL:  57P03: the database
// system is starting up", and a line about its source.
PgError refusal_of(const char* text) {
  std::string message = trimmed(text);
  message = message.substr(0, message.find("\nLOCATION:"));
  const size_t at = message.find(":  ");
  const size_t end = at + 3 + 5;
  if (at == std::string::npos || message.size() < end + 2 || message.compare(end, 2, ": ") != 0) {
    return PgError(message, "");
  }
  const std::string state = message.substr(at + 3, 5);
  if (state.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos) {
    return PgError(message, "");
  }
  return PgError(message.substr(end + 2), state);
}

// The primary message only: details can quote values.
PgError error_of(const PGresult* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  return PgError(trimmed(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)),
                 state == nullptr ? "" : state);
}

}  // namespace

void PgConnection::Closer::operator()(pg_conn* connection) const {
  PQfinish(connection);
}
PgConnection::PgConnection(PgConnection&&) noexcept = default;
PgConnection& PgConnection::operator=(PgConnection&&) noexcept = default;
PgConnection::~PgConnection() = default;

PgConnection::PgConnection(const std::string& socket_dir, uid_t server_user, uint32_t port,
                           const std::string& database, std::chrono::milliseconds deadline,
                           int server_version) {
  std::string options = kPlatformSessionOptions;
  if (server_version >= kHasIdleSessionTimeout) options += kNoIdleSessionTimeout;
  if (server_version >= kHasTransactionTimeout) options += kNoTransactionTimeout;
  const auto until = Clock::now() + deadline;
  const std::string port_text = std::to_string(port);
  const char* names[] = {
      "host",    "port",     "dbname",      "user", "application_name", "client_encoding",
      "options", "passfile", nullptr};
  const char* values[] = {socket_dir.c_str(),
                          port_text.c_str(),
                          database.c_str(),
                          "postgres",
                          "trunkline-agent",
                          "UTF8",
                          options.c_str(),
                          "/nonexistent",
                          nullptr};
  connection_.reset(PQconnectStartParams(names, values, 0));
  if (!connection_) throw PgError("out of memory", "");
  PQsetErrorVerbosity(connection_.get(), PQERRORS_VERBOSE);
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  while (status != PGRES_POLLING_OK) {
    if (PQstatus(connection_.get()) == CONNECTION_BAD || status == PGRES_POLLING_FAILED) {
      throw refusal_of(PQerrorMessage(connection_.get()));
    }
    await_socket(status == PGRES_POLLING_WRITING, until);
    status = PQconnectPoll(connection_.get());
  }
  // libpq's requirepeer wants a user that has a name.
  struct ucred server {};
  socklen_t size = sizeof server;
  if (::getsockopt(PQsocket(connection_.get()), SOL_SOCKET, SO_PEERCRED, &server, &size) != 0 ||
      server.uid != server_user) {
    throw PgError("the server runs as another user than the node's", "");
  }
  if (database != "postgres") enter_tenants_database(until);
}

// No setting of the database is left in force, and the rights are those of a superuser.
void PgConnection::enter_tenants_database(Clock::time_point until) {
  const auto left = [&] {
    return std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
  };
  exec("select pg_catalog.set_config(name, boot_val, false) from pg_catalog.pg_settings"
       " where source in ('database', 'user', 'database user')",
       {}, left());
  const PgRows rows = exec(
      "select current_user = 'postgres' and session_user = 'postgres'"
      " and pg_catalog.current_setting('is_superuser') = 'on'",
      {}, left());
  if (rows.at(0).at(0).value_or("") != "t") {
    throw PgError("the session does not have the platform's rights", "");
  }
}

int PgConnection::server_version() const {
  return PQserverVersion(connection_.get());
}
std::string PgConnection::database() const {
  return PQdb(connection_.get());
}
int PgConnection::backend_pid() const {
  return PQbackendPID(connection_.get());
}

void PgConnection::await_socket(bool for_write, Clock::time_point until) {
  pollfd fd{PQsocket(connection_.get()), static_cast<short>(for_write ? POLLOUT : POLLIN), 0};
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) throw PgTimeout();
    const int n = ::poll(&fd, 1, static_cast<int>(left));
    if (n > 0) return;
    if (n < 0 && errno != EINTR) throw PgError("poll failed", "");
  }
}

PgRows PgConnection::collect(Clock::time_point until) {
  until = std::min(until, budget_);
  PgRows rows;
  std::optional<PgError> error;
  while (true) {
    while (PQisBusy(connection_.get())) {
      await_socket(false, until);
      if (PQconsumeInput(connection_.get()) == 0) {
        throw PgError(trimmed(PQerrorMessage(connection_.get())), "");
      }
    }
    const Result result(PQgetResult(connection_.get()));
    if (!result) break;
    switch (PQresultStatus(result.get())) {
      case PGRES_TUPLES_OK:
        rows = to_rows(result.get());
        break;
      case PGRES_COMMAND_OK:
      case PGRES_EMPTY_QUERY:
        break;
      default:
        error = error_of(result.get());
    }
  }
  if (error) throw *error;
  return rows;
}

PgRows PgConnection::exec(const std::string& sql, const std::vector<std::string>& values,
                          std::chrono::milliseconds deadline) {
  std::vector<const char*> pointers;
  for (const auto& value : values) pointers.push_back(value.c_str());
  const int sent = values.empty() ? PQsendQuery(connection_.get(), sql.c_str())
                                  : PQsendQueryParams(connection_.get(), sql.c_str(),
                                                      static_cast<int>(values.size()), nullptr,
                                                      pointers.data(), nullptr, nullptr, 0);
  if (sent == 0) throw PgError(trimmed(PQerrorMessage(connection_.get())), "");
  return collect(Clock::now() + deadline);
}

PgRows PgConnection::exec_prepared(const std::string& name, const std::string& sql,
                                   std::chrono::milliseconds deadline) {
  const auto until = Clock::now() + deadline;
  if (std::find(prepared_.begin(), prepared_.end(), name) == prepared_.end()) {
    if (PQsendPrepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr) == 0) {
      throw PgError(trimmed(PQerrorMessage(connection_.get())), "");
    }
    collect(until);
    prepared_.push_back(name);
  }
  if (PQsendQueryPrepared(connection_.get(), name.c_str(), 0, nullptr, nullptr, nullptr, 0) == 0) {
    throw PgError(trimmed(PQerrorMessage(connection_.get())), "");
  }
  return collect(until);
}

void PgConnection::send(const std::string& sql) {
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) {
    throw PgError(trimmed(PQerrorMessage(connection_.get())), "");
  }
}

bool PgConnection::finished() {
  if (PQconsumeInput(connection_.get()) == 0) {
    throw PgError(trimmed(PQerrorMessage(connection_.get())), "");
  }
  while (!PQisBusy(connection_.get())) {
    const Result result(PQgetResult(connection_.get()));
    if (!result) {
      const auto error = std::exchange(sent_error_, std::nullopt);
      if (error) throw *error;
      return true;
    }
    const ExecStatusType status = PQresultStatus(result.get());
    const bool fine = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK ||
                      status == PGRES_EMPTY_QUERY;
    if (!fine) sent_error_ = error_of(result.get());
  }
  return false;
}

bool PgConnection::finished_within(std::chrono::milliseconds longest) {
  const auto until = Clock::now() + longest;
  while (true) {
    if (finished()) return true;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return false;
    pollfd fd{PQsocket(connection_.get()), POLLIN, 0};
    if (::poll(&fd, 1, static_cast<int>(left)) < 0 && errno != EINTR) {
      throw PgError("poll failed", "");
    }
  }
}

}  // namespace trunkline::agent
