#include "metering/io/pg_session.h"

#include <cstdlib>

namespace trunkline::metering {

int64_t PgRows::number(int row, int column) const {
  return std::strtoll(PQgetvalue(result_.get(), row, column), nullptr, 10);
}

std::string PgRows::bytes(int row, int column) const {
  size_t size = 0;
  const auto* text =
      reinterpret_cast<const unsigned char*>(PQgetvalue(result_.get(), row, column));
  unsigned char* data = PQunescapeBytea(text, &size);
  if (data == nullptr) throw StoreUnavailable("out of memory");
  std::string out(reinterpret_cast<const char*>(data), size);
  PQfreemem(data);
  return out;
}

int64_t PgRows::changed() const { return std::strtoll(PQcmdTuples(result_.get()), nullptr, 10); }

PgSession::PgSession(const std::string& dsn) : connection_(PQconnectdb(dsn.c_str()), PQfinish) {
  if (PQstatus(connection_.get()) != CONNECTION_OK) fail();
  execute("SET client_min_messages = warning; SET synchronous_commit = off");
}

void PgSession::fail() const { throw StoreUnavailable(PQerrorMessage(connection_.get())); }

void PgSession::execute(const std::string& sql) {
  PGresult* result = PQexec(connection_.get(), sql.c_str());
  const PgRows rows(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) fail();
}

PgRows PgSession::query(const std::string& sql, const std::vector<std::string>& arguments) {
  std::vector<const char*> values;
  for (const std::string& argument : arguments) values.push_back(argument.c_str());
  PGresult* result =
      PQexecParams(connection_.get(), sql.c_str(), static_cast<int>(values.size()), nullptr,
                   values.data(), nullptr, nullptr, 0);
  PgRows rows(result);
  const ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) fail();
  return rows;
}

void PgSession::copy(const std::string& table_and_columns, const std::string& rows) {
  {
    PGresult* result =
        PQexec(connection_.get(), ("COPY " + table_and_columns + " FROM STDIN").c_str());
    const PgRows begun(result);
    if (PQresultStatus(result) != PGRES_COPY_IN) fail();
  }
  if (PQputCopyData(connection_.get(), rows.data(), static_cast<int>(rows.size())) != 1 ||
      PQputCopyEnd(connection_.get(), nullptr) != 1) {
    fail();
  }
  bool is_done = true;
  while (PGresult* result = PQgetResult(connection_.get())) {
    is_done = is_done && PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
  }
  if (!is_done) fail();
}

std::string PgSession::quote(const std::string& text) const {
  char* quoted = PQescapeLiteral(connection_.get(), text.data(), text.size());
  if (quoted == nullptr) fail();
  std::string out = quoted;
  PQfreemem(quoted);
  return out;
}

}  // namespace trunkline::metering
