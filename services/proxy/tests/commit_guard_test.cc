#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {
namespace {

// A server whose only standby is away: every commit waits.
class CommitInDoubt : public ProxyFixture {
 protected:
  void SetUp() override {
    add_node();
    nodes_[0].server->execute("app", "CREATE TABLE t (a int); GRANT ALL ON t TO app");
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

TEST_F(CommitInDoubt, other_warnings_pass) {
  const Client client = connect();
  EXPECT_EQ(value(client, "DO $$ BEGIN RAISE WARNING 'SyncRepWaitForLSN'; END $$"), "");
  EXPECT_EQ(value(client, "SELECT 1"), "1");
  EXPECT_EQ(proxy_->context().commits_in_doubt.load(), 0u);
}

}  // namespace
}  // namespace trunkline::proxy
