// Clients of a pool that has one connection for all of them: whatever one leaves behind, the other
// would find.
#include <functional>
#include <thread>

#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {
namespace {

using ::testing::HasSubstr;

class PoolStatements : public ProxyFixture {
 protected:
  void SetUp() override {
    add_node();
    ProxyOptions options;
    options.pooled_port = 0;
    options.pools.folder = folder_.path() + "/p";
    start_proxy(std::move(options));
    v1::Route open = route(v1::ROUTE_STATE_OPEN, 1);
    open.set_connections(2);  // so that one user has one
    proxy_->endpoints().take(open);
  }
  Client pooled(const std::string& more_options = {}, const std::string& extra = {}) const {
    return connect("port=" + std::to_string(proxy_->pooled_port()) +
                   " options='-c trunkline.endpoint=" + kInstance + more_options + "' " + extra);
  }
  // The first value of a result, or "!sqlstate".
  static std::string value_of(PGresult* result) {
    std::string out;
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
      out = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
    } else if (PQresultStatus(result) != PGRES_COMMAND_OK) {
      const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
      out = std::string("!") + (state == nullptr ? PQresultErrorMessage(result) : state);
    }
    PQclear(result);
    return out;
  }
  static std::string prepare(const Client& client, const char* name, const std::string& sql) {
    return value_of(PQprepare(client.get(), name, sql.c_str(), 0, nullptr));
  }
  static std::string run(const Client& client, const char* name, const char* parameter = nullptr) {
    return value_of(PQexecPrepared(client.get(), name, parameter != nullptr ? 1 : 0, &parameter,
                                   nullptr, nullptr, 0));
  }
  void as_master(const std::string& sql) { nodes_[0].server->execute("app", sql); }

  trunkline::testing::TempDirectory folder_;
};

TEST(StatementStore, keeps_alike_texts_once_and_no_more_than_its_bound) {
  const auto store = make_statement_store(3 * kStatementOverhead + 20);
  auto one = store->keep("0123456789"), alike = store->keep("0123456789");
  EXPECT_EQ(one, alike);
  EXPECT_EQ(*one, "0123456789");
  EXPECT_EQ(store->keep("another text"), nullptr);
  const auto third = store->keep("9876543210");
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(store->keep("0123456789"), nullptr);
  one.reset();
  EXPECT_EQ(*alike, "0123456789");
  EXPECT_NE(store->keep("0123456789"), nullptr);
  alike.reset();
  EXPECT_NE(store->keep("abcdefghij"), nullptr);
}

TEST_F(PoolStatements, each_client_has_its_own_by_the_same_names) {
  const Client one = pooled(), other = pooled();
  ASSERT_EQ(prepare(one, "s", "SELECT 'one' || $1"), "") << PQerrorMessage(one.get());
  ASSERT_EQ(prepare(other, "s", "SELECT 'other' || $1"), "");
  ASSERT_EQ(prepare(one, "", "SELECT 'unnamed one'"), "");
  ASSERT_EQ(prepare(other, "", "SELECT 'unnamed other'"), "");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(run(one, "s", "1"), "one1");
    EXPECT_EQ(run(other, "s", "2"), "other2");
    EXPECT_EQ(run(one, ""), "unnamed one");
    EXPECT_EQ(run(other, ""), "unnamed other");
  }
  EXPECT_EQ(prepare(one, "s", "SELECT 1"), "!42P05");
  EXPECT_EQ(value(one, "DEALLOCATE s"), "");
  EXPECT_EQ(run(one, "s", "1"), "!26000");
  EXPECT_EQ(run(other, "s", "2"), "other2");
  EXPECT_EQ(value(other, "DISCARD ALL"), "");
  EXPECT_EQ(run(other, "s", "2"), "!26000");
  EXPECT_EQ(prepare(one, "s", "SELECT 'again' || $1"), "");
  EXPECT_EQ(run(one, "s", "1"), "again1");
}

TEST_F(PoolStatements, an_error_within_a_transaction_leaves_statements_and_state_right) {
  const Client client = pooled();
  ASSERT_EQ(prepare(client, "good", "SELECT 7"), "");
  EXPECT_EQ(value(client, "BEGIN"), "");
  EXPECT_EQ(run(client, "good"), "7");
  EXPECT_EQ(prepare(client, "bad", "SELECT 1 FROM nothing"), "!42P01");
  EXPECT_EQ(run(client, "good"), "!25P02");
  EXPECT_EQ(value(client, "LISTEN x"), "!0A000");
  EXPECT_EQ(PQtransactionStatus(client.get()), PQTRANS_INERROR);
  EXPECT_EQ(value(client, "ROLLBACK"), "");
  EXPECT_EQ(run(client, "bad"), "!26000");
  EXPECT_EQ(run(client, "good"), "7");
  EXPECT_EQ(prepare(client, "bad", "SELECT 8"), "");
  EXPECT_EQ(run(client, "bad"), "8");
}

// Every flight defines, uses, fails and closes; whatever comes back is compared.
std::string pipelined(const Client& client, const std::string& mine, int round) {
  PGconn* const raw = client.get();
  PQenterPipelineMode(raw);
  const std::string sql = "SELECT '" + mine + "' || " + std::to_string(round);
  const std::string closing = "DEALLOCATE a";
  PQsendPrepare(raw, "a", sql.c_str(), 0, nullptr);
  PQpipelineSync(raw);
  PQsendQueryPrepared(raw, "a", 0, nullptr, nullptr, nullptr, 0);
  PQsendQueryPrepared(raw, round % 2 == 0 ? "none" : "a", 0, nullptr, nullptr, nullptr, 0);
  PQsendPrepare(raw, "b", "SELECT 'not on even rounds'", 0, nullptr);
  PQpipelineSync(raw);
  PQsendQueryPrepared(raw, "b", 0, nullptr, nullptr, nullptr, 0);
  PQpipelineSync(raw);
  PQsendQueryPrepared(raw, "a", 0, nullptr, nullptr, nullptr, 0);
  PQsendQueryParams(raw, closing.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0);
  PQpipelineSync(raw);
  PQsendQueryParams(raw, "DEALLOCATE ALL", 0, nullptr, nullptr, nullptr, nullptr, 0);
  PQpipelineSync(raw);
  std::string out;
  for (int syncs = 0; syncs < 5;) {
    PGresult* const result = PQgetResult(raw);
    if (result == nullptr) {
      if (PQstatus(raw) == CONNECTION_BAD) return PQerrorMessage(raw);
      continue;
    }
    const ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_PIPELINE_SYNC) ++syncs;
    if (status == PGRES_TUPLES_OK) out += std::string(PQgetvalue(result, 0, 0)) + ";";
    if (status == PGRES_FATAL_ERROR) out += std::string(PQresultErrorField(result, 'C')) + ";";
    PQclear(result);
  }
  PQexitPipelineMode(raw);
  return out;
}

TEST_F(PoolStatements, no_pipelining_mixes_up_clients) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      const Client client = pooled();
      const std::string mine = "client " + std::to_string(i) + " ";
      for (int round = 0; round < 50; ++round) {
        const std::string own = mine + std::to_string(round) + ";";
        const std::string expected =
            round % 2 == 0 ? own + "26000;26000;" + own : own + own + "not on even rounds;" + own;
        const std::string got = pipelined(client, mine, round);
        ASSERT_EQ(got, expected);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_F(PoolStatements, changed_columns_are_never_read_as_the_old_ones) {
  as_master("CREATE TABLE t AS SELECT 1 AS a; GRANT ALL ON t TO app");
  const Client client = pooled();
  ASSERT_EQ(prepare(client, "s", "SELECT * FROM t"), "");
  PQclear(PQdescribePrepared(client.get(), "s"));
  EXPECT_EQ(run(client, "s"), "1");
  as_master("ALTER TABLE t ALTER a TYPE text USING 'changed'");
  EXPECT_EQ(run(client, "s"), "changed");  // libpq asks for them each time
}

TEST_F(PoolStatements, what_a_session_has_ends_with_its_transaction) {
  const Client one = pooled(), other = pooled();
  const std::string search_path = value(one, "SHOW search_path");
  value(one, "SET search_path = pg_temp; SET statement_timeout = '77s'; SET app.tenant = 'one';"
             "CREATE TEMP TABLE mine (a int); CREATE TEMP SEQUENCE its; SELECT nextval('its')");
  EXPECT_EQ(value(other, "SHOW search_path"), search_path);
  EXPECT_EQ(value(other, "SHOW statement_timeout"), "0");
  EXPECT_THAT(value(other, "SELECT current_setting('app.tenant', true)"), "");
  EXPECT_EQ(value(other, "SELECT to_regclass('pg_temp.mine')"), "");
  EXPECT_EQ(value(other, "SELECT lastval()"), "!55000");
  value(one, "DO $$ BEGIN PERFORM pg_advisory_lock(1); EXECUTE 'LISTEN a';"
             " EXECUTE 'PREPARE left_over AS SELECT 1';"
             " EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT 1'; END $$");
  EXPECT_EQ(value(other, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
  EXPECT_EQ(value(other, "SELECT count(*) FROM pg_listening_channels()"), "0");
  EXPECT_EQ(value(other, "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"), "0");
  EXPECT_EQ(value(other, "SELECT count(*) FROM pg_cursors WHERE is_holdable"), "0");
  // Who asked for a setting when it connected keeps it.
  const Client third = pooled("", "application_name=third");
  EXPECT_EQ(value(third, "SHOW application_name"), "third");
  EXPECT_EQ(value(other, "SHOW application_name"), "");
  EXPECT_EQ(value(third, "SHOW application_name"), "third");
}

// A client whose settings let the reset itself fail: the connection is not given to anybody else.
TEST_F(PoolStatements, a_connection_that_cannot_be_reset_is_closed) {
  const Client one = pooled(), other = pooled();
  const std::string first = value(other, "SELECT pg_backend_pid()");
  value(one, "BEGIN");
  value(one, "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TEMP TABLE mine%s (a text)',"
             " i); END LOOP; END $$; SET app.tenant = 'one'");
  value(one, "SET statement_timeout = 1");
  value(one, "COMMIT");
  EXPECT_THAT(value(other, "SELECT current_setting('app.tenant', true)"), "");
  EXPECT_EQ(value(other, "SHOW statement_timeout"), "0");
  EXPECT_NE(value(other, "SELECT pg_backend_pid()"), first);
}

TEST_F(PoolStatements, what_needs_a_session_is_refused_and_the_connection_goes_on) {
  const Client client = pooled();
  for (const char* sql : {"LISTEN x", "PREPARE p AS SELECT 1", "SELECT pg_advisory_lock(1)",
                          "DECLARE c CURSOR WITH HOLD FOR SELECT 1"}) {
    EXPECT_EQ(value(client, sql), "!0A000") << sql;
    EXPECT_THAT(PQerrorMessage(client.get()), HasSubstr("at the pooled port"));
    EXPECT_EQ(value_of(PQexecParams(client.get(), sql, 0, nullptr, nullptr, nullptr, nullptr, 0)),
              "!0A000");
    EXPECT_EQ(value(client, "SELECT 1"), "1");
  }
}

TEST_F(PoolStatements, start_up_options_are_honoured_or_refused) {
  const Client refused = pooled(" -c search_path=a");
  EXPECT_EQ(PQstatus(refused.get()), CONNECTION_BAD);
  EXPECT_THAT(PQerrorMessage(refused.get()), HasSubstr("search_path=a"));
  const Client long_one = pooled("", "application_name=" + std::string(8'000, 'x'));
  EXPECT_EQ(value(long_one, "SHOW application_name"), std::string(63, 'x'))
      << PQerrorMessage(long_one.get());
}

TEST_F(PoolStatements, a_server_that_ends_in_a_transaction_is_one_error) {
  const Client client = pooled();
  EXPECT_EQ(value(client, "BEGIN"), "");
  const std::string pid = value(client, "SELECT pg_backend_pid()");
  as_master("SELECT pg_terminate_backend(" + pid + ")");
  // libpq reads it between two statements, where it keeps no code.
  EXPECT_THAT(value(client, "SELECT 1"), HasSubstr("due to administrator command"));
  EXPECT_EQ(std::string(PQerrorMessage(client.get())).find("conn crashed"), std::string::npos);
}

TEST_F(PoolStatements, a_pooled_session_ends_with_its_user) {
  const Client client = pooled();
  EXPECT_EQ(value(client, "SELECT 1"), "1");
  v1::Route without = route(v1::ROUTE_STATE_OPEN, 1);
  without.set_connections(2);
  without.mutable_users(0)->set_name("another");
  proxy_->endpoints().take(without);
  EXPECT_THAT(value(client, "SELECT 1"), HasSubstr("not the one that serves any more"));
}

TEST_F(PoolStatements, a_statement_that_waits_for_a_server_can_be_cancelled) {
  const Client holder = pooled(), waiter = pooled();
  EXPECT_EQ(value(waiter, "SELECT 1"), "1");
  EXPECT_EQ(value(holder, "BEGIN"), "");
  ASSERT_EQ(PQsendQuery(waiter.get(), "SELECT pg_sleep(600)"), 1);
  PGcancel* cancel = PQgetCancel(waiter.get());
  char error[256];
  EXPECT_EQ(PQcancel(cancel, error, sizeof error), 1) << error;
  PQfreeCancel(cancel);
  EXPECT_EQ(value(holder, "COMMIT"), "");
  EXPECT_EQ(value_of(PQgetResult(waiter.get())), "!57014");
  EXPECT_EQ(PQgetResult(waiter.get()), nullptr);
  EXPECT_EQ(value(waiter, "SELECT 1"), "1");
}

TEST_F(PoolStatements, a_copy_goes_through_and_leaves_no_one_waiting) {
  as_master("CREATE TABLE c (a int); GRANT ALL ON c TO app");
  const Client client = pooled();
  for (int i = 0; i < 3; ++i) {
    PQclear(i % 2 == 0 ? PQexec(client.get(), "COPY c FROM STDIN")
                       : PQexecParams(client.get(), "COPY c FROM STDIN", 0, nullptr, nullptr,
                                      nullptr, nullptr, 0));
    EXPECT_EQ(PQputCopyData(client.get(), "1\n", 2), 1);
    EXPECT_EQ(PQputCopyEnd(client.get(), i == 2 ? "no" : nullptr), 1);
    EXPECT_EQ(value_of(PQgetResult(client.get())), i == 2 ? "!57014" : "");
    EXPECT_EQ(PQgetResult(client.get()), nullptr);
    EXPECT_EQ(value(client, "SELECT count(*) FROM c"), std::to_string(std::min(i + 1, 2)));
  }
}

}  // namespace
}  // namespace trunkline::proxy
