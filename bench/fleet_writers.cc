// A client an instance: writes a row through its endpoint every so often, connects again when its
// session ends, and finds out whether all that was acknowledged is there.
//
// fleet_writers PAUSE_MS     reads connection strings from standard input, one a line, and an empty
//                            line after the last; prints "ready" when each has written once
// Runs until standard input ends, then prints one JSON object:
//   writes  for each connection string [[sent, acknowledged], ...], in unix seconds
//   lost    acknowledged rows that are not there; null if somewhere the rows could not be read
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;
using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

constexpr int kRetryMs = 50;
constexpr auto kPatience = std::chrono::seconds(60);

struct Client {
  std::string dsn;
  std::vector<std::pair<double, double>> writes;
  std::vector<int> acknowledged;
  std::atomic<bool> wrote{false};
};

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Result run(const Connection& connection, const std::string& sql) {
  return {PQexec(connection.get(), sql.c_str()), PQclear};
}

// Less if the session ends meanwhile.
void pause(const Connection& connection, int ms) {
  pollfd end{PQsocket(connection.get()), POLLIN, 0};
  ::poll(&end, end.fd >= 0 ? 1 : 0, ms);
}

// A number is sent once: whether one without an answer is there nobody knows.
void write_rows(Client& client, int pause_ms, const std::atomic<bool>& stop) {
  Connection connection(nullptr, PQfinish);
  bool is_made = false;
  for (int n = 0; !stop;) {
    if (!connection || PQstatus(connection.get()) != CONNECTION_OK) {
      connection.reset(PQconnectdb(client.dsn.c_str()));
    }
    if (!is_made) {
      const Result made = run(connection, "SET client_min_messages = error;"
                                          "DROP TABLE IF EXISTS written;"
                                          "CREATE TABLE written (n int)");
      is_made = PQresultStatus(made.get()) == PGRES_COMMAND_OK;
    }
    const double sent = unix_now();
    bool done = false;
    if (is_made) {
      const Result row = run(connection, "INSERT INTO written VALUES (" + std::to_string(n) + ")");
      done = PQresultStatus(row.get()) == PGRES_COMMAND_OK;
      if (done) {
        client.writes.emplace_back(sent, unix_now());
        client.acknowledged.push_back(n);
        client.wrote = true;
        client.wrote.notify_one();
      }
      ++n;
    }
    if (!done) connection.reset();
    if (done) {
      pause(connection, pause_ms);
      PQconsumeInput(connection.get());
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(kRetryMs));
    }
  }
}

// Less than 0: the rows could not be read by then.
int lost_rows(const Client& client, std::chrono::steady_clock::time_point until) {
  while (std::chrono::steady_clock::now() < until) {
    const Connection connection(PQconnectdb(client.dsn.c_str()), PQfinish);
    const Result rows = run(connection, "SELECT n FROM written");
    if (PQresultStatus(rows.get()) != PGRES_TUPLES_OK) {
      std::this_thread::sleep_for(std::chrono::milliseconds(kRetryMs));
      continue;
    }
    std::set<int> there;
    for (int i = 0; i < PQntuples(rows.get()); ++i) {
      there.insert(std::atoi(PQgetvalue(rows.get(), i, 0)));
    }
    int lost = 0;
    for (const int n : client.acknowledged) lost += there.contains(n) ? 0 : 1;
    return lost;
  }
  return -1;
}

}  // namespace

int main(int argc, char** argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int pause_ms = argc > 1 ? std::atoi(argv[1]) : 1000;
  std::vector<std::unique_ptr<Client>> clients;
  for (std::string line; std::getline(std::cin, line) && !line.empty();) {
    clients.push_back(std::make_unique<Client>());
    clients.back()->dsn = line;
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (const auto& client : clients) {
    threads.emplace_back([&, c = client.get()] { write_rows(*c, pause_ms, stop); });
  }
  for (const auto& client : clients) client->wrote.wait(false);
  std::printf("ready\n");
  std::fflush(stdout);
  while (std::cin.get() != std::char_traits<char>::eof()) continue;
  stop = true;
  for (auto& thread : threads) thread.join();
  const auto until = std::chrono::steady_clock::now() + kPatience;
  nlohmann::json out = {{"writes", nlohmann::json::array()}, {"lost", 0}};
  for (const auto& client : clients) {
    out["writes"].push_back(client->writes);
    const int lost = lost_rows(*client, until);
    if (lost < 0) out["lost"] = nullptr;
    if (lost > 0 && !out["lost"].is_null()) out["lost"] = out["lost"].get<int>() + lost;
  }
  std::printf("%s\n", out.dump().c_str());
}
