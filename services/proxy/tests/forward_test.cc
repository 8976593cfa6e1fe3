#include <fstream>
#include <thread>

#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {
namespace {

class Forwarding : public ProxyFixture {
 protected:
  void SetUp() override {
    add_node();
    start_proxy();
    proxy_->endpoints().take(route(v1::ROUTE_STATE_OPEN, 1));
  }
};

TEST_F(Forwarding, queries_and_parameters_reach_the_server) {
  const Client client = connect("application_name=here");
  ASSERT_EQ(PQstatus(client.get()), CONNECTION_OK) << PQerrorMessage(client.get());
  EXPECT_EQ(value(client, "SELECT 40 + 2"), "42");
  EXPECT_EQ(value(client, "SELECT current_user || current_setting('application_name')"), "apphere");
  EXPECT_STREQ(PQparameterStatus(client.get(), "application_name"), "here");
  EXPECT_EQ(value(client, "SELECT 1/0"), "!22012");
  EXPECT_EQ(value(client, "SELECT 'still there'"), "still there");
}

TEST_F(Forwarding, extended_protocol_and_prepared_statements) {
  const Client client = connect();
  PQclear(PQprepare(client.get(), "add", "SELECT $1::int + $2::int", 0, nullptr));
  const char* values[] = {"40", "2"};
  PGresult* result =
      PQexecPrepared(client.get(), "add", 2, values, nullptr, nullptr, 0);
  EXPECT_STREQ(PQgetvalue(result, 0, 0), "42");
  PQclear(result);
}

TEST_F(Forwarding, pipelines_answer_in_order) {
  const Client client = connect();
  ASSERT_EQ(PQenterPipelineMode(client.get()), 1);
  for (int i = 0; i < 1000; ++i) {
    const std::string text = std::to_string(i);
    const char* values[] = {text.c_str()};
    ASSERT_EQ(PQsendQueryParams(client.get(), "SELECT $1::text", 1, nullptr, values, nullptr,
                                nullptr, 0),
              1);
    if (i % 100 == 99) {
      ASSERT_EQ(PQpipelineSync(client.get()), 1);
    }
  }
  for (int i = 0; i < 1000; ++i) {
    PGresult* result = PQgetResult(client.get());
    ASSERT_EQ(PQresultStatus(result), PGRES_TUPLES_OK) << PQerrorMessage(client.get());
    EXPECT_EQ(PQgetvalue(result, 0, 0), std::to_string(i));
    PQclear(result);
    ASSERT_EQ(PQgetResult(client.get()), nullptr);
    if (i % 100 == 99) PQclear(PQgetResult(client.get()));
  }
}

TEST_F(Forwarding, copy_in_and_out) {
  const Client client = connect();
  value(client, "CREATE TABLE t (a int, b text)");
  PQclear(PQexec(client.get(), "COPY t FROM STDIN"));
  constexpr int kRows = 200'000;
  for (int i = 0; i < kRows; ++i) {
    const std::string row = std::to_string(i) + "\tsome text that makes the row longer\n";
    ASSERT_EQ(PQputCopyData(client.get(), row.data(), static_cast<int>(row.size())), 1);
  }
  ASSERT_EQ(PQputCopyEnd(client.get(), nullptr), 1);
  while (PGresult* result = PQgetResult(client.get())) PQclear(result);
  EXPECT_EQ(value(client, "SELECT count(*) FROM t"), std::to_string(kRows));
  PQclear(PQexec(client.get(), "COPY t TO STDOUT"));
  int rows = 0;
  char* row = nullptr;
  while (PQgetCopyData(client.get(), &row, 0) > 0) {
    ++rows;
    PQfreemem(row);
  }
  EXPECT_EQ(rows, kRows);
}

TEST_F(Forwarding, a_row_of_100_megabytes_passes_both_ways) {
  const Client client = connect();
  constexpr size_t kSize = 100'000'000;
  const std::string big(kSize, 'x');
  const char* values[] = {big.c_str()};
  PGresult* result = PQexecParams(client.get(), "SELECT $1::text", 1, nullptr, values, nullptr,
                                  nullptr, 0);
  ASSERT_EQ(PQresultStatus(result), PGRES_TUPLES_OK) << PQerrorMessage(client.get());
  EXPECT_EQ(static_cast<size_t>(PQgetlength(result, 0, 0)), kSize);
  EXPECT_EQ(big, PQgetvalue(result, 0, 0));
  PQclear(result);
}

TEST_F(Forwarding, cancel_reaches_the_statement) {
  const Client client = connect();
  std::unique_ptr<PGcancel, void (*)(PGcancel*)> cancel(PQgetCancel(client.get()), PQfreeCancel);
  const Client watcher = connect();
  std::thread canceller([&] {
    await([&] {
      return value(watcher, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sl%'"
                            " AND wait_event = 'PgSleep'") == "1";
    });
    char error[256];
    EXPECT_EQ(PQcancel(cancel.get(), error, sizeof error), 1) << error;
  });
  EXPECT_EQ(value(client, "SELECT pg_sleep(600)"), "!57014");
  canceller.join();
  EXPECT_EQ(value(client, "SELECT 1"), "1");
}

TEST_F(Forwarding, the_session_at_the_server_ends_with_its_client) {
  const Client watcher = connect();
  const std::string count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
  {
    const Client client = connect();
    EXPECT_EQ(value(watcher, count), "2");
  }
  EXPECT_TRUE(await([&] { return value(watcher, count) == "1"; }));
}

TEST_F(Forwarding, what_the_server_says_last_reaches_the_client) {
  const Client client = connect();
  const Client other = connect();
  const std::string pid = value(client, "SELECT pg_backend_pid()");
  EXPECT_EQ(value(other, "SELECT pg_terminate_backend(" + pid + ")"), "t");
  EXPECT_THAT(value(client, "SELECT 1"), ::testing::HasSubstr("administrator command"));
  EXPECT_EQ(PQstatus(client.get()), CONNECTION_BAD);
}

TEST_F(Forwarding, an_endpoints_own_port_opens_and_closes_with_its_route) {
  const int port = testing::free_port();
  v1::Route with_port = route(v1::ROUTE_STATE_OPEN, 1);
  with_port.set_read_write_port(static_cast<uint32_t>(port));
  proxy_->endpoints().take(with_port);
  const std::string own = "port=" + std::to_string(port);
  ASSERT_TRUE(await([&] { return PQstatus(connect(own).get()) == CONNECTION_OK; }));
  EXPECT_EQ(value(connect(own), "SELECT 1"), "1");
  proxy_->endpoints().take(route(v1::ROUTE_STATE_GONE, 1));
  EXPECT_TRUE(await([&] {
    return std::string(PQerrorMessage(connect(own).get())).find("refused") != std::string::npos;
  }));
}

// An instance that ended unheard, and the one that was given its port after it.
TEST_F(Forwarding, of_two_claims_to_a_port_the_newest_is_served) {
  const int port = testing::free_port();
  const auto claim = [&](v1::Route route) {
    route.set_read_write_port(static_cast<uint32_t>(port));
    proxy_->endpoints().take(route);
  };
  const std::string own = "port=" + std::to_string(port);
  const auto opens = [&] { return PQstatus(connect(own).get()) == CONNECTION_OK; };
  v1::Route ended = route(v1::ROUTE_STATE_OPEN, 1);
  ended.set_instance_id("99999999-2222-4333-8444-555555555555");
  ended.clear_users();
  claim(ended);
  ASSERT_TRUE(await([&] {
    return std::string(PQerrorMessage(connect(own).get())).find("password") != std::string::npos;
  }));
  claim(route(v1::ROUTE_STATE_OPEN, 1));
  EXPECT_TRUE(await(opens));

  // As a store may name them: the ended one last.
  proxy_->endpoints().take(route(v1::ROUTE_STATE_GONE, 1));
  claim(route(v1::ROUTE_STATE_OPEN, 2));
  ended.set_position(++position_);
  ended.set_state(v1::ROUTE_STATE_GONE);
  proxy_->endpoints().take(ended);
  ended.set_position(++position_);
  ended.set_state(v1::ROUTE_STATE_OPEN);
  claim(ended);
  ASSERT_TRUE(await([&] { return !opens(); }));
  proxy_->endpoints().keep_listed({InstanceId(kInstance)}, proxy_->endpoints().positions(),
                                  position_);
  EXPECT_TRUE(await(opens));
}

TEST_F(Forwarding, counts_connections_and_bytes) {
  {
    const Client client = connect();
    EXPECT_EQ(value(client, "SELECT repeat('x', 100000)").size(), 100'000u);
    ASSERT_EQ(proxy_->context().traffic.totals().size(), 1u);
    EXPECT_EQ(proxy_->context().traffic.totals()[0].totals.connections_open, 1u);
  }
  ASSERT_TRUE(await(
      [&] { return proxy_->context().traffic.totals()[0].totals.connections_open == 0; }));
  const TrafficTotals totals = proxy_->context().traffic.totals()[0].totals;
  EXPECT_EQ(totals.connections_opened, 1u);
  EXPECT_GT(totals.connection_us, 0u);
  EXPECT_GT(totals.bytes_out, 100'000u);
  EXPECT_GT(totals.bytes_in, 20u);
  EXPECT_LT(totals.bytes_in, 1'000u);
}

TEST_F(Forwarding, connections_that_went_leave_nothing_behind) {
  const auto resident_kb = [] {
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word && word != "VmRSS:") continue;
    long kb = 0;
    status >> kb;
    return kb;
  };
  const auto reconnect = [this](int times) {
    for (int i = 0; i < times; ++i) ASSERT_EQ(PQstatus(connect().get()), CONNECTION_OK);
  };
  reconnect(100);
  [[maybe_unused]] const long before = resident_kb();
  reconnect(400);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they keep what is freed
  EXPECT_LT(resident_kb() - before, 1'000);
#endif
  EXPECT_TRUE(await([&] { return proxy_->context().connections.load() == 0; }));
}

TEST_F(Forwarding, more_connections_than_the_endpoint_may_have_are_refused) {
  v1::Route narrow = route(v1::ROUTE_STATE_OPEN, 1);
  narrow.set_connections(2);
  proxy_->endpoints().take(narrow);
  Client first = connect();
  const Client second = connect();
  EXPECT_EQ(PQstatus(second.get()), CONNECTION_OK);
  const Client third = connect();
  EXPECT_THAT(PQerrorMessage(third.get()), ::testing::HasSubstr("as many connections as it may"));
  first.reset();
  EXPECT_TRUE(await([&] { return PQstatus(connect().get()) == CONNECTION_OK; }));
}

}  // namespace
}  // namespace trunkline::proxy
