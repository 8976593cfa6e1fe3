#include <atomic>
#include <thread>

#include "proxy/tests/carry_fixture.h"

namespace trunkline::proxy {
namespace {

using namespace std::chrono_literals;

using Carry = CarryFixture;

TEST_F(Carry, an_idle_session_goes_on_at_the_new_primary) {
  start();
  const Client client = connect("application_name=tester");
  EXPECT_EQ(port_seen(client), port_of(0));
  const int our_pid = PQbackendPID(client.get());
  switch_over();
  EXPECT_EQ(port_seen(client), port_of(1));
  EXPECT_EQ(value(client, "SELECT current_setting('application_name')"), "tester");
  EXPECT_EQ(PQbackendPID(client.get()), our_pid);
  EXPECT_EQ(carried(), 1u);
}

TEST_F(Carry, settings_and_prepared_statements_go_along) {
  start();
  nodes_[0].server->execute("postgres", "CREATE ROLE helper; GRANT helper TO app");
  nodes_[1].server->execute("postgres", "CREATE ROLE helper; GRANT helper TO app");
  const Client client = connect();
  value(client, "SET work_mem = '7MB'");
  value(client, "SET search_path = 'it''s', \"back\\slash\", public");
  value(client, "SET DateStyle = 'SQL, DMY'");
  value(client, "SET statement_timeout = 45000");
  value(client, "SET random_page_cost = 1.25");
  const std::string path = value(client, "SHOW search_path");
  PQclear(PQprepare(client.get(), "typed", "SELECT $1 + $2", 2,
                    std::vector<Oid>{20, 20}.data()));
  PQclear(PQprepare(client.get(), "it's \"quoted\"", "SELECT 'a''b' || $1::text", 0, nullptr));
  value(client, "PREPARE from_sql (int) AS SELECT $1 * 2");
  value(client, "SET ROLE helper");
  switch_over();
  EXPECT_EQ(port_seen(client), port_of(1));
  EXPECT_EQ(value(client, "SELECT current_user"), "helper");
  EXPECT_EQ(value(client, "SHOW work_mem"), "7MB");
  EXPECT_EQ(value(client, "SHOW search_path"), path);
  EXPECT_EQ(value(client, "SHOW DateStyle"), "SQL, DMY");
  EXPECT_STREQ(PQparameterStatus(client.get(), "DateStyle"), "SQL, DMY");
  EXPECT_EQ(value(client, "SHOW statement_timeout"), "45s");
  EXPECT_EQ(value(client, "SHOW random_page_cost"), "1.25");
  EXPECT_EQ(value(client, "EXECUTE from_sql(21)"), "42");
  const char* values[] = {"40", "2"};
  PGresult* result = PQexecPrepared(client.get(), "typed", 2, values, nullptr, nullptr, 0);
  EXPECT_STREQ(PQgetvalue(result, 0, 0), "42") << PQerrorMessage(client.get());
  EXPECT_EQ(PQftype(result, 0), 20u);
  PQclear(result);
  result = PQexecPrepared(client.get(), "it's \"quoted\"", 1, values, nullptr, nullptr, 0);
  EXPECT_STREQ(PQgetvalue(result, 0, 0), "a'b40");
  PQclear(result);
}

TEST_F(Carry, a_transaction_ends_where_it_began) {
  start();
  const Client client = connect();
  value(client, "BEGIN");
  EXPECT_EQ(port_seen(client), port_of(0));
  hold();
  EXPECT_EQ(value(client, "SELECT 'on'"), "on");
  EXPECT_EQ(port_seen(client), port_of(0));
  EXPECT_EQ(value(client, "COMMIT"), "");
  ASSERT_TRUE(await([&] { return sessions_at(0) == "0"; }));
  open(2, 1);
  EXPECT_EQ(port_seen(client), port_of(1));
}

TEST_F(Carry, what_is_asked_during_the_hold_is_answered_after_it) {
  start();
  const Client client = connect();
  hold_until_it_is_empty();
  ASSERT_EQ(PQsendQuery(client.get(), "SELECT current_setting('port')"), 1);
  Client late;
  std::thread connecting([&] { late = connect(); });
  ASSERT_TRUE(await([&] { return proxy_->context().waiting.load() >= 1; }));
  open(2, 1);
  PGresult* result = PQgetResult(client.get());
  ASSERT_EQ(PQresultStatus(result), PGRES_TUPLES_OK) << PQerrorMessage(client.get());
  EXPECT_EQ(PQgetvalue(result, 0, 0), port_of(1));
  PQclear(result);
  connecting.join();
  EXPECT_EQ(port_seen(late), port_of(1));
}

TEST_F(Carry, cancel_still_reaches_the_session) {
  start();
  const Client client = connect();
  std::unique_ptr<PGcancel, void (*)(PGcancel*)> cancel(PQgetCancel(client.get()), PQfreeCancel);
  switch_over();
  EXPECT_EQ(port_seen(client), port_of(1));
  const Client watcher = connect();
  std::thread canceller([&] {
    await([&] {
      return value(watcher, "SELECT count(*) FROM pg_stat_activity WHERE"
                            " wait_event = 'PgSleep'") == "1";
    });
    char error[256];
    EXPECT_EQ(PQcancel(cancel.get(), error, sizeof error), 1) << error;
  });
  EXPECT_EQ(value(client, "SELECT pg_sleep(600)"), "!57014");
  canceller.join();
}

// At once, so that nobody else has to wait for them.
TEST_F(Carry, sessions_with_what_cannot_move_end_with_the_reason) {
  start();
  const std::vector<std::pair<const char*, const char*>> ties = {
      {"CREATE TEMP TABLE t (a int)", "temporary"},
      {"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "temporary"},
      {"LISTEN news", "LISTEN"},
      {"DO $$ BEGIN EXECUTE 'LIS' || 'TEN news'; END $$", "LISTEN"},
      {"SELECT pg_advisory_lock(1)", "advisory"},
      {"BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT", "WITH HOLD"},
      {"SELECT setseed(0.5)", "setseed"},
      {"CREATE SEQUENCE s; SELECT nextval('s'); SELECT currval('s')", "currval"},
      {"PREPARE p AS SELECT 1; DEALLOCATE p; PREPARE p AS SELECT 2", "PREPARE"},
  };
  std::vector<Client> clients;
  for (const auto& [sql, why] : ties) {
    clients.push_back(connect());
    EXPECT_NE(value(clients.back(), sql).substr(0, 1), "!") << sql;
  }
  const Client free = connect();
  hold_until_it_is_empty();
  for (size_t i = 0; i < clients.size(); ++i) {
    EXPECT_THAT(farewell(clients[i]), ::testing::HasSubstr(ties[i].second)) << ties[i].first;
  }
  open(2, 1);
  EXPECT_EQ(port_seen(free), port_of(1));
  EXPECT_EQ(carried(), 1u);
  EXPECT_EQ(proxy_->context().ended_tied.load(), clients.size());
}

TEST_F(Carry, what_is_over_ties_no_more) {
  start();
  const Client client = connect();
  for (const char* sql :
       {"CREATE TEMP TABLE t (a int)", "DROP TABLE t", "LISTEN news", "UNLISTEN *",
        "SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)", "CREATE SEQUENCE s",
        "SELECT nextval('s')", "SELECT currval('s')", "DISCARD ALL"}) {
    EXPECT_NE(value(client, sql).substr(0, 1), "!") << sql;
  }
  switch_over();
  EXPECT_EQ(port_seen(client), port_of(1));
}

TEST_F(Carry, ties_are_counted_while_their_sessions_are_open) {
  start();
  const auto totals = [&] { return proxy_->context().traffic.totals()[0].totals; };
  Client first = connect();
  const Client second = connect();
  value(first, "LISTEN news");
  value(first, "SELECT setseed(0.5)");
  value(second, "LISTEN news");
  EXPECT_EQ(totals().tied_sessions, 2u);
  EXPECT_EQ(totals().tied[static_cast<size_t>(Tie::listen)], 2u);
  EXPECT_EQ(totals().tied[static_cast<size_t>(Tie::random_seed)], 1u);
  first.reset();
  EXPECT_TRUE(await([&] { return totals().tied_sessions == 1; }));
  value(second, "DISCARD ALL");
  EXPECT_TRUE(await([&] { return totals().tied_sessions == 0; }));
}

TEST_F(Carry, an_older_term_is_cut_also_within_a_transaction) {
  start();
  const Client idle = connect();
  const Client busy = connect();
  value(busy, "BEGIN");
  open(2, 1);
  EXPECT_THAT(value(idle, "SELECT 1"), ::testing::HasSubstr("not the one that serves"));
  EXPECT_THAT(value(busy, "SELECT 1"), ::testing::HasSubstr("not the one that serves"));
  EXPECT_EQ(port_seen(connect()), port_of(1));
  EXPECT_TRUE(await([&] { return sessions_at(0) == "0"; }));
}

TEST_F(Carry, a_hold_that_ends_where_it_began_harms_nobody) {
  start();
  const Client client = connect();
  hold();
  open(1, 0);
  EXPECT_EQ(port_seen(client), port_of(0));
}

TEST_F(Carry, without_a_primary_new_sessions_wait_and_then_hear_57P03) {
  ProxyOptions options;
  options.wait_when_down = 300ms;
  start(std::move(options));
  proxy_->endpoints().take(route(v1::ROUTE_STATE_DOWN, 2, 0));
  const Client client = connect();
  EXPECT_THAT(PQerrorMessage(client.get()), ::testing::HasSubstr("takes connections now"));
  open(2, 1);
  EXPECT_EQ(port_seen(connect()), port_of(1));
}

TEST_F(Carry, a_hold_without_end_is_an_error) {
  ProxyOptions options;
  options.carry_time = 300ms;
  start(std::move(options));
  const Client client = connect();
  hold_until_it_is_empty();
  EXPECT_THAT(value(client, "SELECT 1"), ::testing::HasSubstr("takes connections now"));
}

TEST_F(Carry, a_server_that_starts_again_is_waited_for) {
  start();
  nodes_[0].server->crash();
  Client client;
  std::thread connecting([&] { client = connect(); });
  ASSERT_TRUE(await([&] { return proxy_->context().waiting.load() == 1; }));
  nodes_[0].server->restart();
  connecting.join();
  EXPECT_EQ(port_seen(client), port_of(0));
}

TEST_F(Carry, under_load_no_client_sees_a_switchover) {
  start();
  for (const auto& node : nodes_) {
    node.server->execute("app", "CREATE TABLE done (n int); GRANT ALL ON done TO app");
  }
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> errors = 0;
  std::atomic<uint64_t> rounds = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const Client client = connect();
      PQclear(PQprepare(client.get(), "add", "INSERT INTO done VALUES ($1::int)", 0, nullptr));
      const char* values[] = {"1"};
      while (!stop) {
        value(client, "BEGIN");
        PGresult* result = PQexecPrepared(client.get(), "add", 1, values, nullptr, nullptr, 0);
        if (PQresultStatus(result) != PGRES_COMMAND_OK) ++errors;
        PQclear(result);
        if (value(client, "COMMIT") != "") ++errors;
        ++rounds;
      }
    });
  }
  EXPECT_TRUE(await([&] { return rounds > 200 && sessions_at(0) == "8"; }));
  hold_until_it_is_empty();
  const uint64_t before = rounds;
  open(2, 1);
  EXPECT_TRUE(await([&] { return rounds > before + 200; }));
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(errors, 0u);
  EXPECT_EQ(carried(), 8u);
}

}  // namespace
}  // namespace trunkline::proxy
