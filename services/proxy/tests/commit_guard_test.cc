#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {
namespace {

// A server whose only standby is away: every commit waits.
class CommitInDoubt : public ProxyFixture {
 protected:
  void SetUp() override {
    add_node({"shared_preload_libraries=" TRUNKLINE_GUARD});
    nodes_[0].server->execute(
        "app",
        "CREATE TABLE t (a int); GRANT ALL ON t TO app;"
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql SET client_min_messages = error"
        " AS 'INSERT INTO t VALUES (1)';"
        "CREATE PROCEDURE quiet() LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM set_config('client_min_messages', 'error', false);"
        " INSERT INTO t VALUES (1); COMMIT; END $$");
    // Set now: making the role would have waited too.
    nodes_[0].server->execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'away'");
    nodes_[0].server->execute("postgres", "SELECT pg_reload_conf()");
    start_proxy();
    proxy_->endpoints().take(route(v1::ROUTE_STATE_OPEN, 1));
    direct_ = Client(PQconnectdb(nodes_[0].server->dsn().c_str()));
    ASSERT_TRUE(await([&] { return value(direct_, "SHOW synchronous_standby_names") == "away"; }));
  }
  bool cancel_the_wait() {
    return await([&] {
      return value(direct_, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                            " WHERE wait_event = 'SyncRep'") == "t";
    });
  }
  static std::string first_error(PGconn* connection) {
    std::string error;
    while (PGresult* result = PQgetResult(connection)) {
      if (error.empty()) error = PQresultErrorMessage(result);
      PQclear(result);
    }
    return error;
  }
  void expect_in_doubt(PGconn* connection) {
    EXPECT_THAT(first_error(connection), ::testing::HasSubstr("wait for its standbys"));
    EXPECT_EQ(PQstatus(connection), CONNECTION_BAD);
    EXPECT_EQ(proxy_->context().commits_in_doubt.load(), 1u);
  }
  Client direct_;
};

TEST_F(CommitInDoubt, a_cancelled_wait_of_a_simple_insert_is_no_success) {
  const Client client = connect();
  ASSERT_EQ(PQsendQuery(client.get(), "INSERT INTO t VALUES (1)"), 1);
  ASSERT_TRUE(cancel_the_wait());
  expect_in_doubt(client.get());
}

TEST_F(CommitInDoubt, nor_that_of_a_commit) {
  const Client client = connect();
  value(client, "BEGIN");
  value(client, "INSERT INTO t VALUES (1)");
  ASSERT_EQ(PQsendQuery(client.get(), "COMMIT"), 1);
  ASSERT_TRUE(cancel_the_wait());
  expect_in_doubt(client.get());
}

TEST_F(CommitInDoubt, nor_that_of_the_extended_protocol) {
  const Client client = connect();
  ASSERT_EQ(PQsendQueryParams(client.get(), "INSERT INTO t VALUES (1)", 0, nullptr, nullptr,
                              nullptr, nullptr, 0),
            1);
  ASSERT_TRUE(cancel_the_wait());
  expect_in_doubt(client.get());
}

// A client that wants to hear of errors alone is told no success either.
TEST_F(CommitInDoubt, nor_any_for_a_client_that_hears_no_warnings) {
  const std::string insert = "INSERT INTO t VALUES (1)";
  struct Row {
    std::string by_the_server;
    std::string options;
    std::vector<std::string> before;
    std::string waits;
  };
  const std::string set = "SET client_min_messages = error";
  const std::vector<Row> rows = {
      {"", "", {set}, insert},
      {"", "", {"BEGIN", "SET LOCAL client_min_messages = error", insert}, "COMMIT"},
      {"", "", {"SELECT set_config('client_min_messages', 'error', false)"}, insert},
      {"", " -c client_min_messages=error", {}, insert},
      {"ALTER ROLE app SET client_min_messages = error", "", {}, insert},
      {"ALTER DATABASE app SET client_min_messages = error", "", {}, insert},
      {"ALTER ROLE app IN DATABASE app SET client_min_messages = error", "", {}, insert},
      {"", "", {}, "SELECT f()"},
      {"", "", {}, "CALL quiet()"},
      {"", "", {}, set + "; " + insert},
  };
  for (const auto& row : rows) {
    value(direct_, "SET synchronous_commit = local");
    value(direct_, "ALTER ROLE app RESET ALL");
    value(direct_, "ALTER ROLE app IN DATABASE app RESET ALL");
    value(direct_, "ALTER DATABASE app RESET ALL");
    if (!row.by_the_server.empty()) {
      ASSERT_EQ(value(direct_, row.by_the_server), "");
    }
    const Client client = connect(std::string("options='-c trunkline.endpoint=") + kInstance +
                                  row.options + "'");
    for (const auto& sql : row.before) value(client, sql);
    ASSERT_EQ(PQsendQuery(client.get(), row.waits.c_str()), 1);
    ASSERT_TRUE(cancel_the_wait()) << row.waits;
    EXPECT_THAT(first_error(client.get()), ::testing::HasSubstr("wait for its standbys"))
        << row.by_the_server << row.options << row.waits;
    EXPECT_EQ(PQstatus(client.get()), CONNECTION_BAD);
  }
  EXPECT_EQ(proxy_->context().commits_in_doubt.load(), rows.size());
}

// Within a procedure a timeout ends the wait of each of its commits.
TEST_F(CommitInDoubt, nor_that_of_a_procedure_that_a_timeout_ends) {
  const Client client = connect();
  value(client, "SET client_min_messages = error");
  value(client, "SET statement_timeout = '200ms'");
  ASSERT_EQ(PQsendQuery(client.get(), "CALL quiet()"), 1);
  expect_in_doubt(client.get());
}

// As drivers do when a query takes too long for them.
TEST_F(CommitInDoubt, nor_that_of_a_client_that_cancels_itself) {
  const Client client = connect();
  value(client, "SET client_min_messages = error");
  std::unique_ptr<PGcancel, void (*)(PGcancel*)> cancel(PQgetCancel(client.get()), PQfreeCancel);
  ASSERT_EQ(PQsendQuery(client.get(), "INSERT INTO t VALUES (1)"), 1);
  ASSERT_TRUE(await([&] {
    return value(direct_, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") ==
           "1";
  }));
  char error[256];
  ASSERT_EQ(PQcancel(cancel.get(), error, sizeof error), 1) << error;
  expect_in_doubt(client.get());
}

TEST_F(CommitInDoubt, a_session_that_is_ended_hears_of_no_success) {
  const Client client = connect();
  value(client, "SET client_min_messages = error");
  ASSERT_EQ(PQsendQuery(client.get(), "INSERT INTO t VALUES (1)"), 1);
  ASSERT_TRUE(await([&] {
    return value(direct_, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                          " WHERE wait_event = 'SyncRep'") == "t";
  }));
  EXPECT_NE(first_error(client.get()), "");
  EXPECT_EQ(PQstatus(client.get()), CONNECTION_BAD);
}

TEST_F(CommitInDoubt, other_warnings_pass) {
  const Client client = connect();
  EXPECT_EQ(value(client, "DO $$ BEGIN RAISE WARNING 'SyncRepWaitForLSN'; END $$"), "");
  EXPECT_EQ(value(client, "SELECT 1"), "1");
  EXPECT_EQ(proxy_->context().commits_in_doubt.load(), 0u);
}

}  // namespace
}  // namespace trunkline::proxy
