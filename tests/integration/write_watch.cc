// Tries to write to every node itself, all the time, and says whether a node took a write of an
// older timeline after another had taken one of a newer: two primaries.
//
// write_watch DSN...     one a node
// Runs until its standard input ends, then prints one JSON object:
//   accepted    {"timeline": writes that were acknowledged}
//   violations  [{"timeline": …, "at": …, "newer": …, "since": …}], times in unix seconds
//   thawed      the same of writes that had been sent before: what lay in the socket of a server
//               that stood still, and ran in the moment between its thaw and its end
// A write is "at" the moment that its server executed it, by the server's clock, and counts if it
// was acknowledged; a timeline is open "since" its first acknowledgement came. Servers and watcher
// must share a clock. Writes do not wait for standbys: what is asked is whether a node serves.
// Exit code 1 if there was a violation.
#include <libpq-fe.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

using nlohmann::json;
using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

constexpr auto kPause = std::chrono::milliseconds(50);
constexpr char kPrepare[] =
    "SET synchronous_commit = local; CREATE TABLE IF NOT EXISTS watched (at timestamptz)";
constexpr char kWrite[] =
    "INSERT INTO watched VALUES (clock_timestamp()) RETURNING extract(epoch FROM at),"
    " ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int";

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

struct Write {
  int timeline;
  double sent, executed, acknowledged;
};

// What all threads saw.
class Record {
 public:
  void add(const Write& write) {
    const std::lock_guard lock(mutex_);
    writes_.push_back(write);
  }
  json judged() const {
    std::map<int, double> open_since;
    std::map<std::string, int> accepted;
    for (const Write& w : writes_) {
      const auto [at, is_new] = open_since.try_emplace(w.timeline, w.acknowledged);
      if (!is_new) at->second = std::min(at->second, w.acknowledged);
      ++accepted[std::to_string(w.timeline)];
    }
    json violations = json::array(), thawed = json::array();
    for (const Write& w : writes_) {
      for (auto newer = open_since.upper_bound(w.timeline); newer != open_since.end(); ++newer) {
        if (w.executed <= newer->second) continue;
        (w.sent > newer->second ? violations : thawed)
            .push_back({{"timeline", w.timeline}, {"at", w.executed},
                        {"newer", newer->first}, {"since", newer->second}});
        break;
      }
    }
    return {{"accepted", accepted}, {"violations", violations}, {"thawed", thawed}};
  }

 private:
  std::mutex mutex_;
  std::vector<Write> writes_;
};

bool is_connected(const Connection& connection) {
  return connection && PQstatus(connection.get()) == CONNECTION_OK;
}

void watch(const std::string& dsn, const std::atomic<bool>& stop, Record& record) {
  Connection connection(nullptr, PQfinish);
  bool is_prepared = false;
  for (; !stop; std::this_thread::sleep_for(kPause)) {
    if (!is_connected(connection)) {
      connection.reset(PQconnectdb(dsn.c_str()));
      is_prepared = false;
    }
    if (!is_prepared) {
      const Result ready(PQexec(connection.get(), kPrepare), PQclear);
      is_prepared = PQresultStatus(ready.get()) == PGRES_COMMAND_OK;
      if (!is_prepared) continue;  // a standby: it may become a primary
    }
    const double sent = unix_now();
    const Result result(PQexec(connection.get(), kWrite), PQclear);
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) continue;
    record.add({std::atoi(PQgetvalue(result.get(), 0, 1)), sent,
                std::atof(PQgetvalue(result.get(), 0, 0)), unix_now()});
  }
}

}  // namespace

int main(int argc, char** argv) {
  Record record;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 1; i < argc; ++i) {
    threads.emplace_back([&, dsn = std::string(argv[i])] { watch(dsn, stop, record); });
  }
  std::printf("ready\n");
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) continue;
  stop = true;
  for (auto& thread : threads) thread.join();
  const json out = record.judged();
  std::printf("%s\n", out.dump().c_str());
  return out["violations"].empty() ? 0 : 1;
}
