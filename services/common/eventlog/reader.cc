#include "eventlog/reader.h"

#include <libpq-fe.h>

#include <cstring>
#include <pqxx/pqxx>

#include "base/digest.h"
#include "eventlog/row.h"

namespace trunkline::eventlog {
namespace {

// One statement is one snapshot: the rows and the oldest running transaction belong together.
constexpr char kNext[] =
    "SELECT pg_snapshot_xmin(s)::text, e.* FROM pg_current_snapshot() s LEFT JOIN LATERAL ("
    "SELECT position,stream,version,type,schema_version,payload,command_id,causation_id,"
    "correlation_id,actor,traceparent,recorded_us,previous_hash,hash "
    "FROM log.event WHERE position > $1 ORDER BY position LIMIT $2) e ON true ORDER BY e.position";

}  // namespace

struct Reader::Impl {
  std::string dsn;
  int64_t position = 0;
  // Set while a hole in front is waited for: the transaction id that was new when it was seen.
  uint64_t hole_horizon = 0;
  std::unique_ptr<pqxx::connection> connection;

  std::vector<RecordedEvent> next(size_t limit) {
    if (!connection) {
      connection = std::make_unique<pqxx::connection>(dsn);
      connection->prepare("next", kNext);
    }
    pqxx::nontransaction session(*connection);
    const pqxx::result rows =
        session.exec_prepared("next", position, static_cast<int64_t>(limit));
    std::vector<RecordedEvent> events;
    if (rows.empty() || rows[0][1].is_null()) return events;
    const uint64_t oldest_running = std::stoull(rows[0][0].c_str());
    for (const pqxx::row& row : rows) {
      const int64_t found = row[1].as<int64_t>();
      if (found != position + 1) {
        if (hole_horizon == 0 || oldest_running <= hole_horizon) break;
      }
      hole_horizon = 0;
      events.push_back(event_of(row, 1));
      position = found;
    }
    if (events.empty() && hole_horizon == 0) {
      hole_horizon = std::stoull(session.exec1("SELECT pg_current_xact_id()::text")[0].c_str());
    }
    return events;
  }
};

Reader::Reader(std::string dsn, int64_t after_position) : impl_(std::make_unique<Impl>()) {
  impl_->dsn = std::move(dsn);
  impl_->position = after_position;
}
Reader::~Reader() = default;

std::vector<RecordedEvent> Reader::next(size_t limit) {
  try {
    std::vector<RecordedEvent> events = impl_->next(limit);
    // A hole was seen first now: most often nothing runs any more and it can be passed at once.
    if (events.empty() && impl_->hole_horizon != 0) events = impl_->next(limit);
    return events;
  } catch (const std::exception& error) {
    impl_->connection.reset();
    throw LogUnavailable(error.what());
  }
}

int64_t Reader::position() const { return impl_->position; }

void Reader::seek(int64_t after_position) {
  impl_->position = after_position;
  impl_->hole_horizon = 0;
}

namespace {

// PostgreSQL's binary COPY format: 11-byte signature, flags and extension length; then tuples of
// (int16 fields, (int32 size, bytes)*), ended by field count -1. All big-endian.
// https://www.postgresql.org/docs/15/sql-copy.html
class CopyRow {
 public:
  CopyRow(const char* data, size_t size) : at_(data), end_(data + size) {}
  template <class Int>
  Int number() {
    need(sizeof(Int));
    std::make_unsigned_t<Int> value = 0;
    for (size_t i = 0; i < sizeof(Int); ++i) {
      value =
          static_cast<std::make_unsigned_t<Int>>(value << 8 | static_cast<unsigned char>(*at_++));
    }
    return static_cast<Int>(value);
  }
  void skip(size_t size) {
    need(size);
    at_ += size;
  }
  std::string bytes() {
    const auto size = number<int32_t>();
    if (size < 0) throw LogUnavailable("binary COPY holds an unexpected null");
    need(static_cast<size_t>(size));
    std::string out(at_, static_cast<size_t>(size));
    at_ += size;
    return out;
  }
  int64_t bigint() {
    skip(4);
    return number<int64_t>();
  }

 private:
  void need(size_t size) const {
    if (static_cast<size_t>(end_ - at_) < size) throw LogUnavailable("binary COPY is cut short");
  }
  const char* at_;
  const char* end_;
};

RecordedEvent event_of_copy(CopyRow& row) {
  RecordedEvent event;
  event.position = row.bigint();
  event.stream = row.bytes();
  event.version = row.bigint();
  event.type = row.bytes();
  row.skip(4);
  event.schema_version = static_cast<uint32_t>(row.number<int32_t>());
  event.payload = row.bytes();
  const std::string uuid = hex(row.bytes());
  event.metadata.command_id = uuid.substr(0, 8) + "-" + uuid.substr(8, 4) + "-" +
                              uuid.substr(12, 4) + "-" + uuid.substr(16, 4) + "-" + uuid.substr(20);
  event.metadata.causation_id = row.bytes();
  event.metadata.correlation_id = row.bytes();
  event.metadata.actor = row.bytes();
  event.metadata.traceparent = row.bytes();
  event.recorded_at = from_unix_us(row.bigint());
  event.previous_hash = row.bytes();
  event.hash = row.bytes();
  return event;
}

}  // namespace

void read_bulk(const std::string& dsn, int64_t after_position, int64_t up_to,
               const std::function<void(RecordedEvent&&)>& sink) {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(dsn.c_str()), PQfinish);
  const auto fail = [&] { throw LogUnavailable(PQerrorMessage(connection.get())); };
  if (PQstatus(connection.get()) != CONNECTION_OK) fail();
  const std::string copy =
      "COPY (SELECT position,stream,version,type,schema_version,payload,command_id,causation_id,"
      "correlation_id,actor,traceparent,recorded_us,previous_hash,hash FROM log.event "
      "WHERE position > " + std::to_string(after_position) + " AND position <= " +
      std::to_string(up_to) + " ORDER BY position) TO STDOUT (FORMAT binary)";
  const std::unique_ptr<PGresult, decltype(&PQclear)> started(
      PQexec(connection.get(), copy.c_str()), PQclear);
  if (PQresultStatus(started.get()) != PGRES_COPY_OUT) fail();
  bool header = true;
  char* buffer = nullptr;
  int size = 0;
  while ((size = PQgetCopyData(connection.get(), &buffer, 0)) > 0) {
    const std::unique_ptr<char, decltype(&PQfreemem)> owned(buffer, PQfreemem);
    CopyRow row(buffer, static_cast<size_t>(size));
    if (header) {
      row.skip(19);
      header = false;
      if (size == 19) continue;
    }
    if (row.number<int16_t>() < 0) continue;
    sink(event_of_copy(row));
  }
  if (size == -2) fail();
  const std::unique_ptr<PGresult, decltype(&PQclear)> ended(PQgetResult(connection.get()), PQclear);
  if (PQresultStatus(ended.get()) != PGRES_COMMAND_OK) fail();
}

}  // namespace trunkline::eventlog
