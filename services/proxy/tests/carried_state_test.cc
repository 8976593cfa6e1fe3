// What a session has is, after it was carried, what it was.
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>

#include "proxy/domain/wire.h"
#include "proxy/tests/carry_fixture.h"

namespace trunkline::proxy {
namespace {

using CarriedSession = CarryFixture;

TEST_F(CarriedSession, no_statement_of_the_clients_is_executed_again) {
  on_both("CREATE TABLE r (a int); GRANT ALL ON r TO app");
  start();
  const Client client = connect();
  value(client, "INSERT INTO r VALUES (1); PREPARE p (int) AS SELECT $1 + 1");
  switch_over();
  EXPECT_EQ(value(client, "EXECUTE p(41)"), "42");
  EXPECT_EQ(at(1, "SELECT count(*) FROM r"), "0");
  EXPECT_EQ(carried(), 1u);
}

TEST_F(CarriedSession, the_client_is_in_no_transaction_that_it_does_not_know_of) {
  on_both("CREATE TABLE r (a int); GRANT ALL ON r TO app");
  start();
  const Client client = connect();
  value(client, "BEGIN; PREPARE p AS SELECT 1");
  value(client, "COMMIT");
  switch_over();
  EXPECT_EQ(value(client, "INSERT INTO r VALUES (1)"), "");
  EXPECT_EQ(PQtransactionStatus(client.get()), PQTRANS_IDLE);
  EXPECT_EQ(at(1, "SELECT count(*) FROM r"), "1");
  EXPECT_EQ(value(client, "EXECUTE p"), "1");
}

TEST_F(CarriedSession, statements_of_one_message_are_all_there) {
  start();
  const Client client = connect();
  value(client, "PREPARE m1 AS SELECT 1; PREPARE m2 AS SELECT ';' || $1::text");
  switch_over();
  EXPECT_EQ(value(client, "EXECUTE m1"), "1");
  EXPECT_EQ(value(client, "EXECUTE m2('x')"), ";x");
  EXPECT_EQ(value(client, "DEALLOCATE m1"), "");
  EXPECT_EQ(value(client, "EXECUTE m1"), "!26000");
}

TEST_F(CarriedSession, a_statement_whose_table_has_gone_harms_itself_alone) {
  on_both("CREATE TABLE r (a int); GRANT ALL ON r TO app");
  start();
  const Client client = connect();
  value(client, "PREPARE gone AS SELECT a FROM r");
  value(client, "PREPARE stays AS SELECT 1");
  PQclear(PQprepare(client.get(), "gone too", "INSERT INTO r VALUES ($1)", 0, nullptr));
  nodes_[1].server->execute("app", "DROP TABLE r");
  switch_over();
  EXPECT_EQ(value(client, "EXECUTE gone"), "!26000");
  EXPECT_EQ(value(client, "EXECUTE \"gone too\"(1)"), "!26000");
  EXPECT_EQ(value(client, "EXECUTE stays"), "1");
}

TEST_F(CarriedSession, settings_of_a_clients_own_go_along_however_they_were_made) {
  on_both(
      "CREATE FUNCTION put(name text, value text) RETURNS text LANGUAGE plpgsql AS"
      " $$ BEGIN RETURN set_config('fn.' || name, value, false); END $$");
  start();
  const Client client = connect();
  for (const std::string& sql :
       {std::string("BEGIN; SELECT set_config('app.local', 'x', true); COMMIT"),
        std::string("SET /* c */ app.tenant = 'x'"), std::string("SELECT put('a', 'it''s')"),
        std::string("DO $$ BEGIN EXECUTE 'SET ma' || 'de.x = 1'; END $$"),
        "SELECT " + std::string(10'000, ' ') + "set_config('late.x', 'y', false)"}) {
    EXPECT_NE(value(client, sql).substr(0, 1), "!") << sql;
  }
  switch_over();
  EXPECT_EQ(port_seen(client), port_of(1));
  EXPECT_EQ(value(client, "SELECT current_setting('app.local')"), "");
  EXPECT_EQ(value(client, "SELECT current_setting('app.tenant')"), "x");
  EXPECT_EQ(value(client, "SELECT current_setting('fn.a')"), "it's");
  EXPECT_EQ(value(client, "SELECT current_setting('made.x')"), "1");
  EXPECT_EQ(value(client, "SELECT current_setting('late.x')"), "y");
  // And once more.
  hold(2, 1);
  ASSERT_TRUE(await([&] { return sessions_at(1) == "0"; }));
  open(3, 0);
  EXPECT_EQ(value(client, "SELECT current_setting('app.tenant')"), "x");
  EXPECT_EQ(carried(), 2u);
}

// A server that runs since before there was a guard lists no settings of a client's own.
class WithoutGuard : public CarryFixture {
 protected:
  void SetUp() override {
    add_node();
    add_node();
  }
};

TEST_F(WithoutGuard, who_may_have_settings_of_its_own_ends_with_the_reason) {
  start();
  std::vector<Client> clients;
  for (const std::string& sql :
       {std::string("SET /* c */ app.tenant = 'x'"), std::string("SET app.tenant = 'x'"),
        "SELECT " + std::string(10'000, ' ') + "set_config('late.x', 'y', false)"}) {
    clients.push_back(connect());
    EXPECT_NE(value(clients.back(), sql).substr(0, 1), "!") << sql;
  }
  const Client other = connect();
  value(other, "SET work_mem = '7MB'");
  switch_over();
  for (const auto& client : clients) {
    EXPECT_THAT(farewell(client), ::testing::HasSubstr("prefix of its own"));
  }
  EXPECT_EQ(value(other, "SHOW work_mem"), "7MB");
}

TEST_F(CarriedSession, the_unnamed_statement_goes_along) {
  start();
  const Client failed = connect();
  PQclear(PQprepare(failed.get(), "", "SELECT nothing FROM nowhere", 0, nullptr));
  const Client waits = connect();
  PQclear(PQprepare(waits.get(), "", "SELECT $1::int + 1", 0, nullptr));
  PQclear(PQdescribePrepared(waits.get(), ""));
  const Client stays = connect();
  value(stays, "LISTEN x");
  switch_over();
  EXPECT_EQ(port_seen(failed), port_of(1));
  const char* values[] = {"41"};
  PGresult* result = PQexecPrepared(waits.get(), "", 1, values, nullptr, nullptr, 0);
  EXPECT_STREQ(PQgetvalue(result, 0, 0), "42") << PQerrorMessage(waits.get());
  PQclear(result);
  EXPECT_EQ(carried(), 2u);
}

TEST_F(CarriedSession, the_capture_runs_under_no_timeout_of_the_clients) {
  start();
  const Client client = connect();
  value(client, "SET lock_timeout = '1ms'");
  value(client, "SET default_transaction_isolation = 'serializable'");
  value(client, "SET default_transaction_read_only = on");
  value(client, "SET default_transaction_deferrable = on");
  value(client, "SET enable_seqscan = off");
  value(client, "SET statement_timeout = '3ms'");
  switch_over();
  EXPECT_TRUE(await([&] { return port_seen(client) == port_of(1); }));
  EXPECT_TRUE(await([&] { return value(client, "SHOW statement_timeout") == "3ms"; }));
  EXPECT_TRUE(await([&] { return value(client, "SHOW lock_timeout") == "1ms"; }));
  EXPECT_TRUE(await([&] { return value(client, "SHOW transaction_isolation") == "serializable"; }));
  EXPECT_TRUE(await([&] { return value(client, "SHOW transaction_deferrable") == "on"; }));
  EXPECT_EQ(carried(), 1u);
}

TEST_F(CarriedSession, no_function_of_the_clients_stands_in_the_way) {
  on_both(
      "CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO app;"
      "CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS"
      " $$ BEGIN RAISE 'called'; END $$;"
      "CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS"
      " $$ BEGIN RAISE 'called'; END $$;"
      "CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);"
      "CREATE VIEW evil.pg_settings AS SELECT 1/0 AS name");
  start();
  const Client client = connect();
  value(client, "SET search_path = evil, pg_catalog");
  value(client, "SET standard_conforming_strings = off");
  value(client, "PREPARE p AS SELECT 1");
  switch_over();
  EXPECT_EQ(value(client, "SHOW search_path"), "evil, pg_catalog");
  EXPECT_EQ(value(client, "SHOW standard_conforming_strings"), "off");
  EXPECT_EQ(value(client, "EXECUTE p"), "1");
  EXPECT_EQ(carried(), 1u);
}

TEST_F(CarriedSession, encodings_are_no_obstacle) {
  for (const auto& node : nodes_) {
    node.server->execute("postgres",
                         "CREATE DATABASE utf OWNER app ENCODING 'UTF8' LOCALE 'C'"
                         " TEMPLATE template0");
  }
  start();
  const Client client = connect("dbname=utf client_encoding=LATIN1");
  value(client, "SET app.name = 'M\xfcller'");
  value(client, "SET search_path = \"M\xfcller\"");
  value(client, "PREPARE \"\xfc\" AS SELECT 'M\xfcller'");
  PQclear(PQprepare(client.get(), "", "SELECT 'M\xfcller'", 0, nullptr));
  switch_over();
  PGresult* result = PQexecPrepared(client.get(), "", 0, nullptr, nullptr, nullptr, 0);
  EXPECT_STREQ(PQgetvalue(result, 0, 0), "M\xfcller") << PQerrorMessage(client.get());
  PQclear(result);
  EXPECT_STREQ(PQparameterStatus(client.get(), "client_encoding"), "LATIN1");
  EXPECT_EQ(value(client, "SHOW client_encoding"), "LATIN1");
  EXPECT_EQ(value(client, "SHOW search_path"), "\"M\xfcller\"");
  EXPECT_EQ(value(client, "SELECT current_setting('app.name')"), "M\xfcller");
  EXPECT_EQ(value(client, "EXECUTE \"\xfc\""), "M\xfcller");
  EXPECT_EQ(carried(), 1u);
}

TEST_F(CarriedSession, two_flights_behind_a_copy_are_both_answered) {
  on_both("CREATE TABLE r (a int); GRANT ALL ON r TO app");
  start();
  const Client client = connect();
  const auto run = [](const std::string& sql) {
    return parse_message("", sql, {}) + message('B', std::string(8, '\0')) + execute_message();
  };
  const std::string sent = run("COPY r FROM STDIN") + message('d', "1\n") + message('c', {}) +
                           sync_message() + run("INSERT INTO r SELECT 2 FROM pg_sleep(0.5)") +
                           sync_message();
  const int fd = PQsocket(client.get());
  ASSERT_EQ(send(fd, sent.data(), sent.size(), 0), static_cast<ssize_t>(sent.size()));
  ASSERT_TRUE(await([&] {
    return at(0, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
  }));
  hold();
  std::string got;
  size_t ready = 0;
  for (size_t next = 0; ready < 2;) {
    char bytes[4096];
    pollfd waiting{fd, POLLIN, 0};
    ASSERT_EQ(poll(&waiting, 1, 30'000), 1);
    const ssize_t size = recv(fd, bytes, sizeof bytes, 0);
    ASSERT_GT(size, 0);
    got.append(bytes, static_cast<size_t>(size));
    while (next + kHeader <= got.size()) {
      const size_t end = next + 1 + get_uint32(got.data() + next + 1);
      if (end > got.size()) break;
      EXPECT_NE(got[next], 'E');
      if (got[next] == 'Z') ++ready;
      next = end;
    }
  }
  ASSERT_TRUE(await([&] { return sessions_at(0) == "0"; }));
  EXPECT_EQ(at(0, "SELECT count(*) FROM r"), "2");
  open(2, 1);
  EXPECT_EQ(port_seen(client), port_of(1));
}

// --- who reads ---

class Readers : public CarryFixture {
 protected:
  Client reader(const std::string& extra = {}) const {
    return connect(std::string("options='-c trunkline.endpoint=") + kInstance + "-ro' " + extra);
  }
  void open_alone(uint64_t term, size_t primary) {
    v1::Route alone = route(v1::ROUTE_STATE_OPEN, term, primary);
    for (auto& node : *alone.mutable_nodes()) node.set_serves(node.primary());
    proxy_->endpoints().take(alone);
  }
};

TEST_F(Readers, can_never_write_and_go_where_there_is_a_standby) {
  start();
  const Client client = reader();
  ASSERT_EQ(port_seen(client), port_of(1));
  EXPECT_EQ(value(client, "CREATE TABLE x (a int)"), "!25006");
  value(client, "PREPARE p AS SELECT 1");
  hold();
  open_alone(2, 1);  // its standby is the primary now, and there is no other yet
  EXPECT_EQ(port_seen(client), port_of(1));
  EXPECT_EQ(value(client, "CREATE TABLE x (a int)"), "!25006");
  open(2, 1);
  ASSERT_TRUE(await([&] { return sessions_at(1) == "0"; }));
  EXPECT_EQ(port_seen(client), port_of(0));
  EXPECT_EQ(value(client, "EXECUTE p"), "1");
  // The next switchover makes no difference to it either.
  hold(2, 1);
  EXPECT_EQ(port_seen(client), port_of(0));
  open(3, 0);
  ASSERT_TRUE(await([&] { return sessions_at(0) == "0"; }));
  EXPECT_EQ(port_seen(client), port_of(1));
  EXPECT_EQ(value(client, "CREATE TABLE x (a int)"), "!25006");
}

TEST_F(Readers, that_came_while_there_was_no_standby_leave_the_primary_too) {
  start();
  open_alone(1, 0);
  const Client client = reader("options='-c trunkline.endpoint=11111111-2222-4333-8444-555555555555"
                               "-ro -c default_transaction_read_only=off'");
  EXPECT_EQ(port_seen(client), port_of(0));
  EXPECT_EQ(value(client, "CREATE TABLE x (a int)"), "!25006");
  open(1, 0);
  ASSERT_TRUE(await([&] { return sessions_at(0) == "0"; }));
  EXPECT_EQ(port_seen(client), port_of(1));
}

// What ties a reader to a server does not end it, since it need not go.
TEST_F(Readers, with_a_tie_stay) {
  start();
  const Client client = reader();
  value(client, "SELECT pg_advisory_lock(1)");
  hold();
  open(2, 1);
  EXPECT_EQ(port_seen(client), port_of(1));
  EXPECT_EQ(value(client, "CREATE TABLE x (a int)"), "!25006");
}

TEST_F(Readers, of_one_dump_are_at_one_standby) {
  add_node(guarded());
  start();
  std::vector<Client> busy;
  for (int i = 0; i < 3; ++i) busy.push_back(reader());
  std::vector<Client> workers;
  for (int i = 0; i < 4; ++i) workers.push_back(reader("application_name=pg_dump"));
  for (const auto& worker : workers) EXPECT_EQ(port_seen(worker), port_seen(workers[0]));
  const testing::TempDirectory folder;
  on_both("CREATE TABLE a (a int); CREATE TABLE b (a int); ALTER TABLE a OWNER TO app;"
          " ALTER TABLE b OWNER TO app");
  const std::string command =
      "PGPASSWORD=secret PGOPTIONS='-c trunkline.endpoint=" + std::string(kInstance) +
      "-ro' PGSSLMODE=disable /usr/lib/postgresql/15/bin/pg_dump -h 127.0.0.1 -p " +
      std::to_string(proxy_->port()) + " -U app -Fd -j2 -f " + folder.path() + "/dump app";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace trunkline::proxy
