#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// The processes whose command line names `text`.
std::vector<pid_t> processes_with(const std::string& text) {
  std::vector<pid_t> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    std::ifstream in(entry.path() / "cmdline", std::ios::binary);
    const std::string line((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (pid > 0 && line.find(text) != std::string::npos) out.push_back(pid);
  }
  return out;
}

class Pool : public ProxyFixture {
 protected:
  void start(ProxyOptions options = {}, uint32_t connections = 8) {
    connections_ = connections;
    options.pooled_port = 0;
    options.pools.folder = folder_.path() + "/p";
    start_proxy(std::move(options));
    proxy_->endpoints().take(open_route(1));
  }
  v1::Route open_route(uint64_t term, size_t primary = 0) {
    v1::Route out = route(v1::ROUTE_STATE_OPEN, term, primary);
    out.set_connections(connections_);
    return out;
  }
  Client pooled(const std::string& extra = {}) const {
    return connect("port=" + std::to_string(proxy_->pooled_port()) +
                   " options='-c trunkline.endpoint=" + kInstance + "' " + extra);
  }
  static std::string error_of(const Client& client) {
    EXPECT_EQ(PQstatus(client.get()), CONNECTION_BAD);
    return PQerrorMessage(client.get());
  }
  std::vector<pid_t> pools() const { return processes_with(folder_.path() + "/p/"); }
  std::string servers(size_t node = 0) const {
    const Client direct(PQconnectdb(nodes_[node].server->dsn().c_str()));
    return value(direct, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
  }

  uint32_t connections_ = 0;
  trunkline::testing::TempDirectory folder_;
};

TEST_F(Pool, many_clients_share_few_connections_and_transactions_stay_whole) {
  add_node();
  start();
  std::vector<Client> clients;
  for (int i = 0; i < 60; ++i) {
    clients.push_back(pooled());
    ASSERT_EQ(PQstatus(clients.back().get()), CONNECTION_OK)
        << PQerrorMessage(clients.back().get());
  }
  std::vector<std::thread> threads;
  std::atomic<int> whole = 0;
  for (auto& client : clients) {
    threads.emplace_back([&client, &whole] {
      value(client, "BEGIN");
      value(client, "CREATE TEMP TABLE mine (a int) ON COMMIT DROP");
      value(client, "INSERT INTO mine VALUES (7)");
      if (value(client, "SELECT sum(a) FROM mine") == "7") ++whole;
      value(client, "COMMIT");
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(whole.load(), 60);
  EXPECT_THAT(servers(), ::testing::AnyOf("1", "2", "3", "4"));
  EXPECT_EQ(pools().size(), 1u);
  EXPECT_EQ(value(connect(), "SELECT 1"), "1");  // a direct one finds room
}

TEST_F(Pool, who_is_not_authenticated_starts_nothing_and_learns_nothing) {
  add_node();
  start();
  const std::string expected = "FATAL:  password authentication failed for user \"app\"\n";
  EXPECT_THAT(error_of(pooled("password=wrong")), ::testing::EndsWith(expected));
  EXPECT_THAT(error_of(pooled("options='-c trunkline.endpoint=99999999-2222-4333-8444-5555555555"
                              "55'")),
              ::testing::EndsWith(expected));
  EXPECT_THAT(error_of(pooled("user=nobody")), HasSubstr("password authentication failed"));
  EXPECT_TRUE(pools().empty());
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/p"));
}

TEST_F(Pool, its_console_is_nobodys) {
  add_node();
  start();
  v1::Route with_namesake = open_route(1);
  *with_namesake.add_users() = with_namesake.users(0);
  with_namesake.mutable_users(1)->set_name("pgbouncer");
  proxy_->endpoints().take(with_namesake);
  EXPECT_THAT(error_of(pooled("user=pgbouncer dbname=pgbouncer")), HasSubstr("cannot be reached"));
  EXPECT_THAT(error_of(pooled("user=pgbouncer")), HasSubstr("pgbouncer"));  // no role of the server
}

TEST_F(Pool, errors_of_the_server_come_through) {
  add_node();
  start();
  EXPECT_THAT(error_of(pooled("dbname=none")), HasSubstr("database \"none\" does not exist"));
  const Client client = pooled();
  EXPECT_EQ(value(client, "SELECT 1 / 0"), "!22012");
  EXPECT_EQ(value(client, "SELECT 1"), "1");
}

TEST_F(Pool, a_killed_one_is_there_again_for_the_next_client) {
  add_node();
  start();
  for (int i = 0; i < 3; ++i) {
    const Client client = pooled();
    ASSERT_EQ(value(client, "SELECT 1"), "1") << PQerrorMessage(client.get());
    const auto pids = pools();
    ASSERT_EQ(pids.size(), 1u);
    kill(pids[0], SIGKILL);
    EXPECT_EQ(value(pooled(), "SELECT 1"), "1");
    EXPECT_NE(value(client, "SELECT 1"), "1");
    EXPECT_NE(pools(), pids);
  }
}

TEST_F(Pool, a_changed_password_is_taken_without_a_restart) {
  add_node();
  start();
  const Client before = pooled();
  ASSERT_EQ(value(before, "SELECT 1"), "1");
  const auto pids = pools();
  const std::string changed = scram_sha256_verifier("changed", "fedcba9876543210", 4096);
  nodes_[0].server->execute("postgres", "ALTER ROLE app PASSWORD '" + changed + "'");
  v1::Route news = open_route(1);
  news.mutable_users(0)->set_scram_verifier(changed);
  proxy_->endpoints().take(news);
  const Client after = pooled("password=changed");
  ASSERT_EQ(PQstatus(after.get()), CONNECTION_OK) << PQerrorMessage(after.get());
  // Two at once, so that a new connection to the server is needed.
  value(before, "BEGIN");
  value(after, "BEGIN");
  EXPECT_EQ(value(before, "SELECT 1") + value(after, "SELECT 1"), "11");
  EXPECT_THAT(error_of(pooled()), HasSubstr("password authentication failed"));
  EXPECT_EQ(pools(), pids);
}

// The route comes to the proxy before PgBouncer has read its file again.
TEST_F(Pool, a_changed_password_is_taken_at_once) {
  add_node();
  start();
  ASSERT_EQ(value(pooled(), "SELECT 1"), "1");
  for (int i = 0; i < 10; ++i) {
    const std::string password = "changed" + std::to_string(i);
    const std::string changed = scram_sha256_verifier(password, "fedcba987654321" +
                                                      std::to_string(i), 4096);
    nodes_[0].server->execute("postgres", "ALTER ROLE app PASSWORD '" + changed + "'");
    v1::Route news = open_route(1);
    news.mutable_users(0)->set_scram_verifier(changed);
    proxy_->endpoints().take(news);
    const Client client = pooled("password=" + password);
    EXPECT_EQ(value(client, "SELECT 1"), "1") << PQerrorMessage(client.get());
  }
}

TEST_F(Pool, a_statement_can_be_cancelled) {
  add_node();
  start();
  const Client client = pooled();
  ASSERT_EQ(PQsendQuery(client.get(), "SELECT pg_sleep(600)"), 1);
  const Client direct(PQconnectdb(nodes_[0].server->dsn().c_str()));
  ASSERT_TRUE(await([&] {
    return value(direct, "SELECT count(*) FROM pg_stat_activity"
                         " WHERE query = 'SELECT pg_sleep(600)'") == "1";
  }));
  PGcancel* cancel = PQgetCancel(client.get());
  char error[256];
  EXPECT_EQ(PQcancel(cancel, error, sizeof error), 1) << error;
  PQfreeCancel(cancel);
  PGresult* result = PQgetResult(client.get());
  EXPECT_STREQ(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
  PQclear(result);
}

TEST_F(Pool, it_ends_when_nobody_uses_it_and_comes_again) {
  add_node();
  ProxyOptions options;
  options.pools.idle_time = 50ms;
  start(std::move(options));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(value(pooled(), "SELECT 1"), "1");
    EXPECT_TRUE(await([&] { return pools().empty(); }));
  }
}

TEST_F(Pool, it_ends_with_the_proxy_and_with_its_instance) {
  add_node();
  start();
  const Client client = pooled();
  EXPECT_EQ(value(client, "SELECT 1"), "1");
  v1::Route gone = route(v1::ROUTE_STATE_GONE, 1);
  proxy_->endpoints().take(gone);
  EXPECT_TRUE(await([&] { return pools().empty(); }));
  EXPECT_TRUE(await([&] { return std::filesystem::is_empty(folder_.path() + "/p"); }));
  proxy_->endpoints().take(open_route(1));
  EXPECT_EQ(value(pooled(), "SELECT 1"), "1");
  EXPECT_EQ(pools().size(), 1u);
  proxy_.reset();
  EXPECT_TRUE(pools().empty());
}

TEST_F(Pool, where_there_is_no_pgbouncer_the_client_is_told) {
  add_node();
  ProxyOptions options;
  options.pools.program = folder_.path() + "/none";
  start(std::move(options));
  EXPECT_THAT(error_of(pooled()), HasSubstr("connection pools are not installed here"));
}

TEST_F(Pool, its_files_are_of_its_user_alone) {
  add_node();
  start();
  EXPECT_EQ(value(pooled(), "SELECT 1"), "1");
  const std::string at = folder_.path() + "/p/" + kInstance;
  struct stat status {};
  ASSERT_EQ(stat(at.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  EXPECT_NE(status.st_uid, 0u);
  for (const char* file : {"/users.txt", "/pgbouncer.ini", "/.s.PGSQL.5432"}) {
    ASSERT_EQ(stat((at + file).c_str(), &status), 0) << file;
    EXPECT_EQ(status.st_mode & 0777, 0600u) << file;
  }
}

// A client that retries nothing sees nothing of a planned switchover.
TEST_F(Pool, its_connections_are_carried_to_the_next_primary) {
  add_node();
  add_node();
  start();
  std::atomic<bool> stop = false;
  std::atomic<int> statements = 0;
  std::atomic<int> errors = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&] {
      const Client client = pooled();
      while (!stop) {
        value(client, "SELECT 1") == "1" ? ++statements : ++errors;
      }
    });
  }
  EXPECT_TRUE(await([&] { return statements > 100; }));
  v1::Route hold = route(v1::ROUTE_STATE_HOLD, 1, 0);
  hold.set_connections(connections_);
  proxy_->endpoints().take(hold);
  EXPECT_TRUE(await([&] { return servers(0) == "0"; }));
  proxy_->endpoints().take(open_route(2, 1));
  const int before = statements;
  EXPECT_TRUE(await([&] { return statements > before + 100; }));
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(errors.load(), 0);
  EXPECT_EQ(servers(0), "0");
  EXPECT_GT(proxy_->context().carried.load(), 0u);
}

// Without notice: clients between statements keep their connections.
TEST_F(Pool, a_primary_that_fails_costs_an_idle_client_nothing) {
  add_node();
  add_node();
  start();
  const Client client = pooled();
  EXPECT_EQ(value(client, "SELECT 1"), "1");
  nodes_[0].server->crash();
  proxy_->endpoints().take(route(v1::ROUTE_STATE_DOWN, 2, 1));
  proxy_->endpoints().take(open_route(2, 1));
  EXPECT_EQ(value(client, "SELECT 1"), "1") << PQerrorMessage(client.get());
}

}  // namespace
}  // namespace trunkline::proxy
