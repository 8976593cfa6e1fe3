// Statements that tenants' locks do not hold up: who stands in their way for longer than a moment
// is ended. For one thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/io/pg_connection.h"

namespace trunkline::agent {

class LockBreaker {
 public:
  // `open` makes one more platform session, when one is needed first.
  explicit LockBreaker(std::function<PgConnection()> open) : open_(std::move(open)) {}

  // Runs `sql`, several statements are one transaction. Throws PgError as exec(); after one with a
  // SQLSTATE no transaction is open. The session's lock_timeout bounds what even this cannot end.
  void run(PgConnection& connection, const std::string& sql);

  // The role and those who can become it by SET ROLE, which no view shows; oids.
  std::vector<std::string> who_can_be(const std::string& role);
  // Ends all sessions of the roles, in any database or in one. False: some are left.
  bool end_sessions(const std::vector<std::string>& role_oids, const std::string& database = "");
  bool end_sessions_of_database(const std::string& database);
  // What runs in this database in a transaction that has begun already gets a moment to end, and is
  // ended. False: some is left.
  bool end_older_transactions(const std::string& database);

 private:
  void end_blockers_of(int pid);
  bool end_sessions_where(const std::string& which, const std::vector<std::string>& values);
  PgConnection& session();

  std::function<PgConnection()> open_;
  std::optional<PgConnection> session_;
};

}  // namespace trunkline::agent
