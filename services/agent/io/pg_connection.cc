#include "agent/io/pg_connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>

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

PgConnection::PgConnection(const std::string& socket_dir, const std::string& server_user,
                           uint32_t port, const std::string& database,
                           std::chrono::milliseconds deadline) {
  const auto until = Clock::now() + deadline;
  const std::string port_text = std::to_string(port);
  const char* names[] = {
      "host",    "port",     "dbname",      "user", "application_name", "client_encoding",
      "options", "passfile", "requirepeer", nullptr};
  const char* values[] = {socket_dir.c_str(),
                          port_text.c_str(),
                          database.c_str(),
                          "postgres",
                          "trunkline-agent",
                          "UTF8",
                          "-c statement_timeout=60s -c default_transaction_read_only=off"
                          " -c search_path=pg_catalog",
                          "/nonexistent",
                          server_user.c_str(),
                          nullptr};
  connection_.reset(PQconnectStartParams(names, values, 0));
  if (!connection_) throw PgError("out of memory", "");
  PostgresPollingStatusType status = PGRES_POLLING_WRITING;
  while (status != PGRES_POLLING_OK) {
    if (PQstatus(connection_.get()) == CONNECTION_BAD || status == PGRES_POLLING_FAILED) {
      throw PgError(trimmed(PQerrorMessage(connection_.get())), "");
    }
    await_socket(status == PGRES_POLLING_WRITING, until);
    status = PQconnectPoll(connection_.get());
  }
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
  if (PQisBusy(connection_.get())) return false;
  collect(Clock::now() + std::chrono::seconds(1));
  return true;
}

}  // namespace trunkline::agent
