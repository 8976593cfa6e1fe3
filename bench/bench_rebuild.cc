// Rebuild of the read model from synthetic events, beside the raw speed of reading the same table:
// bench_rebuild [events, default 1,000,000] [rounds, default 3]. Medians; needs no platform, it
// starts a PostgreSQL of its own.
#include <libpq-fe.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "eventlog/recorded_event.h"
#include "lookup/io/log_access.h"
#include "lookup/io/rebuild.h"
#include "lookup/tests/events.h"
#include "testing/temp_servers.h"

namespace {

using namespace trunkline;
using namespace trunkline::lookup::testing;
using eventlog::RecordedEvent;

constexpr char kColumns[] =
    "position,stream,version,type,schema_version,payload,command_id,causation_id,correlation_id,"
    "actor,traceparent,recorded_us,previous_hash,hash";

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

class Connection {
 public:
  explicit Connection(const std::string& dsn) : connection_(PQconnectdb(dsn.c_str()), PQfinish) {}
  void execute(const std::string& sql, ExecStatusType wanted) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(
        PQexec(connection_.get(), sql.c_str()), PQclear);
    if (PQresultStatus(result.get()) != wanted) fail();
  }
  void put(const std::string& rows) {
    if (PQputCopyData(connection_.get(), rows.data(), static_cast<int>(rows.size())) != 1) fail();
  }
  void end() {
    if (PQputCopyEnd(connection_.get(), nullptr) != 1) fail();
    while (PGresult* result = PQgetResult(connection_.get())) PQclear(result);
  }
  int64_t drain() {
    int64_t rows = 0;
    char* buffer = nullptr;
    while (PQgetCopyData(connection_.get(), &buffer, 0) > 0) {
      PQfreemem(buffer);
      ++rows;
    }
    while (PGresult* result = PQgetResult(connection_.get())) PQclear(result);
    return rows;
  }

 private:
  [[noreturn]] void fail() {
    std::fprintf(stderr, "%s\n", PQerrorMessage(connection_.get()));
    std::exit(1);
  }
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

// Instances live side by side in waves, so that neighbours in the log are of different streams.
void fill(const std::string& dsn, int64_t events) {
  constexpr int64_t kWave = 500;
  Connection connection(dsn);
  connection.execute(std::string("COPY log.event (") + kColumns + ") FROM STDIN", PGRES_COPY_IN);
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

double seconds_of(const std::function<void()>& work) {
  const auto started = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t events = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 3;
  testing::TempPostgres postgres;
  postgres.create_platform_databases();
  fill(postgres.dsn("trunkline_log"), events);
  const std::string log_dsn = postgres.dsn("trunkline_log", "tl_lookup");
  const std::string model_dsn = postgres.dsn("trunkline_lookup", "tl_lookup");
  std::vector<double> raw, fold, whole, fold_cpu, whole_cpu;
  int64_t documents = 0;
  for (int round = 0; round < rounds; ++round) {
    raw.push_back(seconds_of([&] {
      Connection connection(log_dsn);
      connection.execute(std::string("COPY (SELECT ") + kColumns +
                             " FROM log.event ORDER BY position) TO STDOUT (FORMAT binary)",
                         PGRES_COPY_OUT);
      if (connection.drain() < events) std::exit(1);
    }));
    double folded = 0;
    const double cpu_before = cpu_seconds();
    whole.push_back(seconds_of([&] {
      lookup::Rebuild rebuild(log_dsn, model_dsn);
      lookup::LogAccess log(log_dsn);
      folded = seconds_of([&] { rebuild.fold_to(log.settled().position); });
      fold_cpu.push_back(cpu_seconds() - cpu_before);
      rebuild.write();
      rebuild.swap();
      documents = rebuild.documents();
      if (rebuild.events() != events || !rebuild.blocked().empty()) std::exit(1);
    }));
    fold.push_back(folded);
    whole_cpu.push_back(cpu_seconds() - cpu_before);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto rate = [&](const std::vector<double>& times) {
    return static_cast<double>(events) / median(times);
  };
  std::printf("rebuild of the read model: %lld events, %lld documents, median of %d\n",
              static_cast<long long>(events), static_cast<long long>(documents), rounds);
  std::printf("  raw COPY of the table      %10.0f events/s  %6.2f s\n", rate(raw), median(raw));
  std::printf("  read and fold              %10.0f events/s  %6.2f s  (%.2f s of our CPU)\n",
              rate(fold), median(fold), median(fold_cpu));
  std::printf("  whole rebuild              %10.0f events/s  %6.2f s  (%.2f s of our CPU, "
              "%.2f of raw COPY)\n",
              rate(whole), median(whole), median(whole_cpu), median(raw) / median(whole));
  std::printf("  memory at most             %10.0f MB\n",
              static_cast<double>(usage.ru_maxrss) / 1024);
}
