// One connection to PostgreSQL by libpq, for COPY and for session locks: it never reconnects behind
// the caller's back. Every error throws StoreUnavailable and the connection is not to be used any
// more. Not thread-safe.
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace trunkline::metering {

class StoreUnavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Values as PostgreSQL writes them; null is empty.
class PgRows {
 public:
  explicit PgRows(PGresult* result) : result_(result, PQclear) {}
  int size() const { return PQntuples(result_.get()); }
  bool is_null(int row, int column) const {
    return PQgetisnull(result_.get(), row, column) != 0;
  }
  std::string text(int row, int column) const {
    return {PQgetvalue(result_.get(), row, column),
            static_cast<size_t>(PQgetlength(result_.get(), row, column))};
  }
  int64_t number(int row, int column) const;
  std::string bytes(int row, int column) const;  // of bytea
  int64_t changed() const;                       // rows that a statement changed

 private:
  std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

class PgSession {
 public:
  explicit PgSession(const std::string& dsn);
  // One or several statements.
  void execute(const std::string& sql);
  PgRows query(const std::string& sql, const std::vector<std::string>& arguments = {});
  // `rows` in COPY's text format.
  void copy(const std::string& table_and_columns, const std::string& rows);
  std::string quote(const std::string& text) const;

 private:
  [[noreturn]] void fail() const;
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

}  // namespace trunkline::metering
