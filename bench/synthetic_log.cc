#include "synthetic_log.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "eventlog/recorded_event.h"
#include "lookup/tests/events.h"

namespace trunkline::bench {

const char kEventColumns[] =
    "position,stream,version,type,schema_version,payload,command_id,causation_id,correlation_id,"
    "actor,traceparent,recorded_us,previous_hash,hash";

namespace {

using namespace trunkline::lookup::testing;
using eventlog::RecordedEvent;

struct Step {
  const char* aggregate;
  std::string type;
  std::string payload;
};

template <class Event>
Step step(const char* aggregate, const Event& event) {
  return {aggregate, type_of(event), event.SerializeAsString()};
}

// The life of one instance of three nodes, with a user, a database and a resize.
std::vector<Step> life(const std::string& name) {
  const std::string a = name + " a", b = name + " b", c = name + " c";
  std::vector<Step> steps = {step("instance", created(name)),
                             step("instance", placed(a, "host-a", "127.0.0.11")),
                             step("instance", placed(b, "host-b", "127.0.0.12")),
                             step("instance", placed(c, "host-c", "127.0.0.13")),
                             step("group", primary_assigned(a, 1)),
                             step("group", standby_assigned(b)),
                             step("group", standby_assigned(c)),
                             step("group", primary_opened(a, 1)),
                             step("group", standby_streaming(b)),
                             step("group", standby_streaming(c)),
                             step("instance", activated()),
                             step("instance", user_created("ann")),
                             step("instance", user_activated("ann")),
                             step("instance", database_created("orders", "ann")),
                             step("instance", resized(4)),
                             step("instance", activated()),
                             step("group", standby_lost(b)),
                             step("group", standby_streaming(b)),
                             step("instance", renamed(name + " renamed")),
                             step("instance", user_created("bob"))};
  return steps;
}

std::string bytea(const std::string& data) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\\\\x";
  for (const unsigned char c : data) {
    out += kDigits[c >> 4];
    out += kDigits[c & 15];
  }
  return out;
}

std::string copy_row(const RecordedEvent& event) {
  return std::to_string(event.position) + '\t' + event.stream + '\t' +
         std::to_string(event.version) + '\t' + event.type + "\t1\t" + bytea(event.payload) + '\t' +
         event.metadata.command_id + '\t' + event.metadata.causation_id + '\t' +
         event.metadata.correlation_id + '\t' + event.metadata.actor + '\t' +
         event.metadata.traceparent + '\t' + std::to_string(to_unix_us(event.recorded_at)) + '\t' +
         bytea(event.previous_hash) + '\t' + bytea(event.hash) + '\n';
}

}  // namespace

Connection::Connection(const std::string& dsn)
    : connection_(PQconnectdb(dsn.c_str()), PQfinish) {}

void Connection::execute(const std::string& sql, ExecStatusType wanted) {
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(
      PQexec(connection_.get(), sql.c_str()), PQclear);
  if (PQresultStatus(result.get()) != wanted) fail();
}

void Connection::put(const std::string& rows) {
  if (PQputCopyData(connection_.get(), rows.data(), static_cast<int>(rows.size())) != 1) fail();
}

void Connection::end() {
  if (PQputCopyEnd(connection_.get(), nullptr) != 1) fail();
  while (PGresult* result = PQgetResult(connection_.get())) PQclear(result);
}

int64_t Connection::drain() {
  int64_t rows = 0;
  char* buffer = nullptr;
  while (PQgetCopyData(connection_.get(), &buffer, 0) > 0) {
    PQfreemem(buffer);
    ++rows;
  }
  while (PGresult* result = PQgetResult(connection_.get())) PQclear(result);
  return rows;
}

void Connection::fail() {
  std::fprintf(stderr, "%s\n", PQerrorMessage(connection_.get()));
  std::exit(1);
}

void fill_log(const std::string& dsn, int64_t events) {
  constexpr int64_t kWave = 500;
  Connection connection(dsn);
  connection.execute(std::string("COPY log.event (") + kEventColumns + ") FROM STDIN",
                     PGRES_COPY_IN);
  int64_t position = 0, instances = 0;
  std::string rows;
  while (position < events) {
    std::vector<std::vector<Step>> wave;
    std::vector<std::string> ids;
    std::vector<std::array<RecordedEvent, 2>> last(kWave);
    for (int64_t i = 0; i < kWave; ++i) {
      const std::string name = "instance " + std::to_string(instances++);
      wave.push_back(life(name));
      ids.push_back(id(name));
    }
    for (size_t s = 0; s < wave.front().size(); ++s) {
      for (size_t i = 0; i < wave.size() && position < events; ++i) {
        const Step& now = wave[i][s];
        RecordedEvent& before = last[i][std::string_view(now.aggregate) == "group" ? 1 : 0];
        RecordedEvent event;
        event.position = ++position;
        event.stream = std::string(now.aggregate) + "-" + ids[i];
        event.version = before.version + 1;
        event.type = now.type;
        event.payload = now.payload;
        event.metadata = {uuid_from_name(std::to_string(position)), ids[i], ids[i],
                          "service:bench",
                          "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
        event.recorded_at = from_unix_us(1'768'000'000'000'000 + position * 100);
        event.previous_hash = before.version == 0 ? std::string(32, '\0') : before.hash;
        event.hash = eventlog::compute_hash(event);
        rows += copy_row(event);
        before = std::move(event);
      }
    }
    connection.put(rows);
    rows.clear();
  }
  connection.end();
  connection.execute("ANALYZE log.event", PGRES_COMMAND_OK);
}

}  // namespace trunkline::bench
