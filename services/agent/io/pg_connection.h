// One connection to a node's PostgreSQL with a deadline on everything: a postmaster that hangs
// costs its node's thread a bounded time. For one thread; made new after any error.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

struct pg_conn;

namespace trunkline::agent {

class PgError : public std::runtime_error {
 public:
  PgError(const std::string& what, std::string sqlstate)
      : std::runtime_error(what), sqlstate_(std::move(sqlstate)) {}
  // "" if the connection failed; the server's if it refused the session.
  const std::string& sqlstate() const { return sqlstate_; }

 private:
  std::string sqlstate_;
};

// The server is there, but has not answered within the deadline.
class PgTimeout : public PgError {
 public:
  PgTimeout() : PgError("the server did not answer in time", "") {}
};

using PgRow = std::vector<std::optional<std::string>>;
using PgRows = std::vector<PgRow>;

class PgConnection {
 public:
  // A session of the platform's own (domain/platform_session.h), which no setting of the database
  // reaches. As superuser over the socket in `socket_dir`, to a server that runs as the operating
  // system's user `server_user` and nobody else. Throws PgError.
  // `server_version` (150004) as a session in database `postgres` says: for a tenant's database.
  PgConnection(const std::string& socket_dir, uid_t server_user, uint32_t port,
               const std::string& database, std::chrono::milliseconds deadline,
               int server_version = 0);
  PgConnection(PgConnection&&) noexcept;
  PgConnection& operator=(PgConnection&&) noexcept;
  ~PgConnection();

  // Values go in as text parameters $1, $2, … Throws PgError; after one without sqlstate the
  // connection is of no more use. Messages never contain the statement.
  PgRows exec(const std::string& sql, const std::vector<std::string>& values = {},
              std::chrono::milliseconds deadline = std::chrono::seconds(5));
  // Runs a statement that was prepared on first use.
  PgRows exec_prepared(const std::string& name, const std::string& sql,
                       std::chrono::milliseconds deadline);

  // No statement is waited for beyond this moment, whatever its own deadline.
  void set_budget(std::chrono::steady_clock::time_point until) { budget_ = until; }

  // A statement to wait for later: finished() is false until it has ended, then throws or is true.
  void send(const std::string& sql);
  bool finished();
  // The same, but waits so long for the end.
  bool finished_within(std::chrono::milliseconds longest);
  int backend_pid() const;
  int server_version() const;
  std::string database() const;

 private:
  void enter_tenants_database(std::chrono::steady_clock::time_point until);
  void await_socket(bool for_write, std::chrono::steady_clock::time_point until);
  PgRows collect(std::chrono::steady_clock::time_point until);
  struct Closer {
    void operator()(pg_conn* connection) const;
  };
  std::unique_ptr<pg_conn, Closer> connection_;
  std::vector<std::string> prepared_;
  std::optional<PgError> sent_error_;  // of what send() began
  std::chrono::steady_clock::time_point budget_ = std::chrono::steady_clock::time_point::max();
};

}  // namespace trunkline::agent
