// Clients that append rows of their own through one connection string, and the check that none of
// what was acknowledged is lost, doubled or out of order.
//
// append_workload DSN [clients, default 4]
// Runs until its standard input ends, then checks through the same DSN and prints one JSON object:
//   acknowledged, in_doubt  inserts that were answered; that ended with an error or no answer
//   lost, unexpected, reordered  acknowledged rows that are not there; rows that are there although
//       nobody sent them; rows of a client whose order in the table is not that of its inserts
//   longest_gap_ms  the longest time in which no client had an answer
//   gaps            every such time of 100 ms or more: [{"at": unix seconds, "ms": …}]
//   errors          what clients saw, by first line: {"text": count}
// Exit code 1 if lost, unexpected or reordered is not 0, 2 if the check could not be made.
#include <libpq-fe.h>
#include <poll.h>
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
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;
using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

Connection open(const std::string& dsn) {
  return {PQconnectdb(dsn.c_str()), PQfinish};
}
Result run(PGconn* connection, const std::string& sql) {
  return {PQexec(connection, sql.c_str()), PQclear};
}

// Answers of all clients on one line of time, and what went wrong.
class Ledger {
 public:
  void acknowledged() {
    const auto now = Clock::now();
    const std::lock_guard lock(mutex_);
    if (last_ != Clock::time_point()) note_gap(now);
    last_ = now;
  }
  void failed(const std::string& what) {
    const std::lock_guard lock(mutex_);
    ++errors_[first_line(what)];
  }
  void write_to(json& out) {
    const std::lock_guard lock(mutex_);
    if (last_ != Clock::time_point()) note_gap(Clock::now());
    out["longest_gap_ms"] = longest_ms_;
    out["gaps"] = gaps_;
    out["errors"] = errors_;
  }

 private:
  void note_gap(Clock::time_point now) {
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    longest_ms_ = std::max(longest_ms_, ms);
    if (ms < 100) return;
    const auto unix_now = std::chrono::system_clock::now().time_since_epoch();
    gaps_.push_back({{"at", std::chrono::duration<double>(unix_now).count() - ms / 1000},
                     {"ms", ms}});
  }

  std::mutex mutex_;
  Clock::time_point last_{};
  double longest_ms_ = 0;
  json gaps_ = json::array();
  std::map<std::string, int> errors_;
};

struct Client {
  std::vector<int64_t> acknowledged;
  std::set<int64_t> in_doubt;
};

// A number is sent once only: whether one without an answer is there nobody knows.
void append(const std::string& dsn, int number, Ledger& ledger, const std::atomic<bool>& stop,
            Client& client) {
  Connection connection(nullptr, PQfinish);
  for (int64_t n = 1; !stop;) {
    if (!connection || PQstatus(connection.get()) != CONNECTION_OK) {
      connection = open(dsn);
      if (PQstatus(connection.get()) != CONNECTION_OK) {
        ledger.failed(PQerrorMessage(connection.get()));
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        continue;
      }
    }
    const Result result = run(connection.get(), "INSERT INTO appended (client, n) VALUES (" +
                                                    std::to_string(number) + ", " +
                                                    std::to_string(n) + ")");
    if (PQresultStatus(result.get()) == PGRES_COMMAND_OK) {
      ledger.acknowledged();
      client.acknowledged.push_back(n);
    } else {
      ledger.failed(PQerrorMessage(connection.get()));
      client.in_doubt.insert(n);
      connection.reset();
    }
    ++n;
  }
}

// False if the rows could not be read within a minute.
bool check(const std::string& dsn, const std::vector<Client>& clients, json& out) {
  const auto until = Clock::now() + std::chrono::minutes(1);
  Result rows(nullptr, PQclear);
  while (PQresultStatus(rows.get()) != PGRES_TUPLES_OK) {
    if (Clock::now() > until) return false;
    const Connection connection = open(dsn);
    rows = run(connection.get(), "SELECT client, n FROM appended ORDER BY id");
  }
  std::vector<std::vector<int64_t>> found(clients.size());
  for (int i = 0; i < PQntuples(rows.get()); ++i) {
    found[static_cast<size_t>(std::atoi(PQgetvalue(rows.get(), i, 0)))].push_back(
        std::atoll(PQgetvalue(rows.get(), i, 1)));
  }
  int64_t acknowledged = 0, in_doubt = 0, lost = 0, unexpected = 0, reordered = 0;
  for (size_t i = 0; i < clients.size(); ++i) {
    const std::set<int64_t> there(found[i].begin(), found[i].end());
    const std::set<int64_t> known(clients[i].acknowledged.begin(), clients[i].acknowledged.end());
    for (const int64_t n : known) lost += there.contains(n) ? 0 : 1;
    for (const int64_t n : there) {
      unexpected += known.contains(n) || clients[i].in_doubt.contains(n) ? 0 : 1;
    }
    unexpected += static_cast<int64_t>(found[i].size() - there.size());
    reordered += std::is_sorted(found[i].begin(), found[i].end()) ? 0 : 1;
    acknowledged += static_cast<int64_t>(known.size());
    in_doubt += static_cast<int64_t>(clients[i].in_doubt.size());
  }
  out.update({{"acknowledged", acknowledged}, {"in_doubt", in_doubt}, {"lost", lost},
              {"unexpected", unexpected}, {"reordered", reordered}});
  return true;
}

bool prepare(const std::string& dsn) {
  const Connection connection = open(dsn);
  const Result made = run(connection.get(),
                          "DROP TABLE IF EXISTS appended;"
                          "CREATE TABLE appended (id bigserial, client int, n bigint)");
  if (PQresultStatus(made.get()) == PGRES_COMMAND_OK) return true;
  std::fprintf(stderr, "%s\n", PQerrorMessage(connection.get()));
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: append_workload DSN [clients]\n");
    return 2;
  }
  const std::string dsn = argv[1];
  std::vector<Client> clients(argc > 2 ? static_cast<size_t>(std::atoi(argv[2])) : 4);
  if (!prepare(dsn)) return 2;
  Ledger ledger;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (size_t i = 0; i < clients.size(); ++i) {
    threads.emplace_back(
        [&, i] { append(dsn, static_cast<int>(i), ledger, stop, clients[i]); });
  }
  std::printf("ready\n");
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) continue;
  stop = true;
  for (auto& thread : threads) thread.join();
  json out;
  ledger.write_to(out);
  if (!check(dsn, clients, out)) {
    std::printf("%s\n", out.dump().c_str());
    return 2;
  }
  std::printf("%s\n", out.dump().c_str());
  return out["lost"] == 0 && out["unexpected"] == 0 && out["reordered"] == 0 ? 0 : 1;
}
