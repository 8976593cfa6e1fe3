// Counters and statistics of real servers, over kills of server and agent.
#include <gtest/gtest.h>
#include <signal.h>

#include "agent/io/counter_store.h"
#include "agent/io/process_usage.h"
#include "agent/keeper/proc_scan.h"
#include "agent/tests/test_host.h"
#include "base/digest.h"
#include "runtime/random.h"

namespace trunkline::agent::testing {
namespace {

class StatsTest : public ::testing::Test {
 protected:
  // Once a round, so that what a test does in between is seen by the next one.
  static constexpr milliseconds kEvery{100};

  void start_stats() {
    a_.agent().start_stats(
        [this](const v1::HostStats& stats) {
          const std::lock_guard lock(mutex_);
          stats_ = stats;
          changed_.notify_all();
        },
        kEvery);
  }
  bool await_stats(const TestNode& node, const std::function<bool(const v1::NodeStats&)>& fits) {
    std::unique_lock lock(mutex_);
    const bool fine = changed_.wait_for(lock, seconds(30), [&] {
      for (const auto& n : stats_.nodes()) {
        if (n.node_id() == node.id && fits(n)) return true;
      }
      return false;
    });
    if (!fine) ADD_FAILURE() << stats_.DebugString();
    return fine;
  }
  v1::NodeStats newest(const TestNode& node) {
    v1::NodeStats out;
    const uint64_t sequence = newest_sequence();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, seconds(30), [&] { return stats_.sequence() > sequence + 1; });
    for (const auto& n : stats_.nodes()) {
      if (n.node_id() == node.id) out = n;
    }
    return out;
  }
  uint64_t newest_sequence() {
    const std::lock_guard lock(mutex_);
    return stats_.sequence();
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    stats_.Clear();
  }
  uint64_t flushed(const TestNode& node) {
    return std::stoull(value(a_, node, "select pg_current_wal_flush_lsn() - '0/0'::pg_lsn"));
  }
  uint64_t write_some(const TestNode& node) {
    query(a_, node, "insert into public.t select repeat('x', 200) from generate_series(1, 2000)");
    return flushed(node);
  }

  TestPlatform platform_;
  TestHost a_{platform_, "host-a", "127.31.78.11"};
  std::mutex mutex_;
  std::condition_variable changed_;
  v1::HostStats stats_;
};

TEST_F(StatsTest, WalBytesAreExactOverKillsOfServerAndAgent) {
  const TestNode node = make_node(a_);
  order_box(a_, node);
  order_primary(a_, node);
  ASSERT_TRUE(a_.await_node(node.id, is_open));
  start_stats();
  query(a_, node, "create table public.t (x text)");
  // Where it begins to count: everything after this is exact.
  ASSERT_TRUE(await_stats(node, [](const auto& n) { return n.has_server(); }));
  const CounterStore store(a_.paths().counters_dir);
  const auto begin = [&] { return store.read(node.id); };
  const CounterState first = begin();
  ASSERT_GT(first.wal_lsn, 0u);
  const std::string epoch = first.epoch;

  for (int round = 0; round < 3; ++round) {
    write_some(node);
    const pid_t postmaster = running_postmaster(a_.node(node.id).data);
    ASSERT_GT(postmaster, 0);
    if (round == 1) a_.stop_agent();
    write_some(node);
    ASSERT_EQ(::kill(postmaster, SIGKILL), 0);
    if (round == 1) {
      forget();
      a_.start_agent();
      start_stats();
    }
    ASSERT_TRUE(a_.await_node(node.id, [&](const auto& n) {
      const pid_t now = running_postmaster(a_.node(node.id).data);
      return is_open(n) && now != 0 && now != postmaster;
    }));
    ASSERT_TRUE(await_stats(node, [&](const auto& n) { return n.has_server(); }));
    const uint64_t end = write_some(node);
    ASSERT_TRUE(await_stats(node, [&](const auto& n) {
      return n.counters().epoch() == epoch &&
             n.counters().wal_bytes() >= end - first.wal_lsn + first.wal_bytes;
    }));
    const CounterState now = begin();
    EXPECT_EQ(now.wal_bytes - first.wal_bytes, now.wal_lsn - first.wal_lsn) << "round " << round;
  }
}

TEST_F(StatsTest, TransactionsOfTenantsAreCountedOnceOverACrash) {
  const TestNode node = make_node(a_);
  order_box(a_, node);
  order_primary(a_, node);
  ASSERT_TRUE(a_.await_node(node.id, is_open));
  query(a_, node, "create database shop");
  start_stats();
  ASSERT_TRUE(await_stats(node, [](const auto& n) { return n.has_server(); }));
  const auto work = [&](int transactions) {
    auto session = superuser_session(a_, node, "shop");
    for (int i = 0; i < transactions; ++i) session.exec("select 1");
  };
  const uint64_t before = newest(node).counters().transactions();
  work(50);
  ASSERT_TRUE(await_stats(
      node, [&](const auto& n) { return n.counters().transactions() >= before + 50; }));
  const uint64_t counted = newest(node).counters().transactions();

  const pid_t postmaster = running_postmaster(a_.node(node.id).data);
  ASSERT_EQ(::kill(postmaster, SIGKILL), 0);
  ASSERT_TRUE(await_stats(node, [](const auto& n) { return !n.has_server(); }));
  ASSERT_TRUE(await_stats(node, [](const auto& n) { return n.has_server(); }));
  work(30);
  ASSERT_TRUE(await_stats(
      node, [&](const auto& n) { return n.counters().transactions() >= counted + 30; }));
  // Autovacuum and the sessions themselves may add a few, but not what had been there before.
  EXPECT_LT(newest(node).counters().transactions(), counted + 50);
}

TEST_F(StatsTest, APromotedStandbyCountsFromTheSwitch) {
  const TestNode primary = make_node(a_);
  const TestNode standby = make_node(a_);
  order_box(a_, standby);
  order_standby(a_, standby, primary);
  order_box(a_, primary);
  order_primary(a_, primary, 1, {standby.id});
  ASSERT_TRUE(a_.await_node(standby.id, is_streaming));
  start_stats();
  ASSERT_TRUE(await_stats(standby, [](const auto& n) {
    return n.has_server() && !n.server().primary() && n.counters().wal_bytes() == 0;
  }));
  order_fenced(a_, primary, 2, 2);
  order_fenced(a_, standby, 2, 2);
  ASSERT_TRUE(a_.await_node(
      standby.id, [](const auto& n) { return n.reported_role() == v1::ROLE_FENCED; }));
  order_remove(a_, primary);
  v1::AssignRole role;
  role.set_generation(3);
  role.set_term(2);
  role.set_role(v1::ROLE_PRIMARY);
  role.set_sync_version(1);
  role.set_opened_before(true);
  order_role(a_, standby, role);
  ASSERT_TRUE(a_.await_node(standby.id, is_open));
  ASSERT_TRUE(await_stats(standby, [](const auto& n) {
    return n.has_server() && n.server().primary() && n.counters().wal_bytes() > 0;
  }));
  const auto report = a_.newest_node(standby.id);
  ASSERT_EQ(report.history_size(), 1);
  const CounterState now = CounterStore(a_.paths().counters_dir).read(standby.id);
  EXPECT_EQ(now.wal_bytes, now.wal_lsn - report.history(0).begin_lsn());
  // A node that is gone leaves no counters behind.
  ASSERT_TRUE(a_.await([](const auto& r) { return r.nodes_size() == 1; }));
  newest(standby);
  EXPECT_FALSE(exists(a_.paths().counters_dir + "/" + primary.id + ".json"));
}

TEST_F(StatsTest, AServerTellsHowItFares) {
  const TestNode node = make_node(a_);
  order_box(a_, node);
  order_primary(a_, node);
  v1::ApplyObjects objects;
  objects.set_objects_version(1);
  auto& user = *objects.add_users();
  user.set_user_id("aaaaaaaa-1111-4111-8111-111111111111");
  user.set_name("app");
  user.set_scram_verifier(scram_sha256_verifier("secret", runtime::random_bytes(16), 4096));
  auto& database = *objects.add_databases();
  database.set_database_id("bbbbbbbb-1111-4111-8111-111111111111");
  database.set_name("shop");
  database.set_owner_id(user.user_id());
  order_objects(a_, node, objects);
  ASSERT_TRUE(await_value(
      a_, node, "select count(*) from pg_database where datname = 'shop'", "1"));
  start_stats();
  ASSERT_TRUE(await_value(
      a_, node, "select count(*) from pg_extension where extname = 'pg_stat_statements'", "1"));
  query(a_, node, "grant create on schema public to app", "shop");
  auto session = superuser_session(a_, node, "shop");
  session.exec("set session authorization app");
  session.exec("create table public.t as select 1 as secret");
  session.exec("select * from public.t where secret = 4711");
  session.exec("begin; lock table public.t");
  auto waiting = superuser_session(a_, node, "shop");
  waiting.exec("set session authorization app");
  waiting.send("select * from public.t");
  ASSERT_TRUE(await_stats(node, [&](const auto& n) {
    return n.server().locks_not_granted() == 1 && n.server().statements_size() > 0;
  }));
  const v1::NodeStats stats = newest(node);
  const auto& server = stats.server();
  EXPECT_TRUE(server.primary());
  EXPECT_GT(server.connections_max(), 0u);
  EXPECT_GT(server.rss_mb(), 0u);
  EXPECT_GT(server.wal_dir_mb(), 0u);
  EXPECT_GT(server.xid_age(), 0u);
  EXPECT_EQ(server.replication_lag_bytes(), 0u);
  ASSERT_EQ(server.databases_size(), 1);
  EXPECT_EQ(server.databases(0).database_id(), database.database_id());
  EXPECT_GT(server.databases(0).size_bytes(), 1'000'000u);
  bool found = false;
  for (const auto& statement : server.statements()) {
    EXPECT_EQ(statement.database(), "shop");
    EXPECT_EQ(statement.query().find("4711"), std::string::npos) << statement.query();
    EXPECT_EQ(statement.query().find("lock table"), std::string::npos) << "a utility statement";
    found |= statement.query().find("from public.t where secret = $1") != std::string::npos;
  }
  EXPECT_TRUE(found) << stats.DebugString();
  // Texts of a tenant that are long are not read.
  session.exec("rollback");
  const std::string comment = "/* " + std::string(5'000'000, 'x') + " */ ";
  std::string columns = "1";
  const auto run_long_ones = [&](int count) {
    for (int i = 0; i < count; ++i, columns += ", 1") {
      session.exec(comment + "select " + columns, {}, seconds(20));
    }
  };
  run_long_ones(2);
  EXPECT_TRUE(await_stats(node, [&](const auto& n) {
    return n.server().statements_size() > 1 && n.server().statements(0).query().empty() &&
           n.server().statements(0).calls() > 0;
  }));
  // And nobody's can make the file of them all large: beyond 32 MB they are forgotten.
  const auto bytes_of_texts = [&] {
    return std::stoull(value(a_, node, "select size from pg_stat_file("
                                       "'pg_stat_tmp/pgss_query_texts.stat')"));
  };
  run_long_ones(12);
  EXPECT_TRUE(await_stats(node, [&](const auto&) { return bytes_of_texts() < 34'000'000; }));
  EXPECT_GT(stats.counters().cpu_ms() + stats.counters().transactions(), 0u);
  EXPECT_GT(machine_usage().memory_mb, 0u);
}

// Texts of a database of another encoding may have no UTF-8, and the server reads all or none.
TEST_F(StatsTest, WhatCannotBeReadCostsNothingElse) {
  const TestNode node = make_node(a_);
  order_box(a_, node);
  order_primary(a_, node);
  ASSERT_TRUE(a_.await_node(node.id, is_open));
  query(a_, node, "create role app login");
  query(a_, node, "create database jp encoding 'EUC_JP' template template0 locale 'C'");
  start_stats();
  ASSERT_TRUE(await_value(
      a_, node, "select count(*) from pg_extension where extname = 'pg_stat_statements'", "1"));
  auto holder = superuser_session(a_, node, "jp");
  holder.exec("begin; lock table pg_class in access share mode");
  auto session = superuser_session(a_, node, "jp");
  session.exec("set session authorization app");
  session.exec("select 1 as plain");
  const auto has_text = [](const v1::NodeStats& n, const std::string& text) {
    for (const auto& statement : n.server().statements()) {
      if (statement.query().find(text) != std::string::npos) return true;
    }
    return false;
  };
  ASSERT_TRUE(await_stats(node, [&](const auto& n) { return has_text(n, "as plain"); }));
  session.exec("set client_encoding = 'EUC_JP'");
  session.exec("select 1, 2 as \"\xa9\xa1\"");
  ASSERT_TRUE(await_stats(node, [](const auto& n) {
    return n.server().statements_size() > 1 && n.server().statements(0).query().empty();
  }));
  for (int round = 0; round < 3; ++round) {
    const auto stats = newest(node);
    EXPECT_GT(stats.server().connections_max(), 0u);
    EXPECT_EQ(stats.server().databases_size(), 1);
    EXPECT_GT(stats.server().locks_size(), 0);
    EXPECT_GT(stats.server().wal_dir_mb(), 0u);
    EXPECT_GT(stats.server().statements_size(), 1);
  }
  query(a_, node, "select trunkline.pg_stat_statements_reset()");
  session.exec("select 2 as again");
  EXPECT_TRUE(await_stats(node, [&](const auto& n) { return has_text(n, "as again"); }));
}

TEST_F(StatsTest, AFrozenServerHoldsUpNobodyElse) {
  const TestNode node = make_node(a_);
  const TestNode frozen = make_node(a_);
  for (const TestNode& n : {node, frozen}) {
    order_box(a_, n);
    order_primary(a_, n);
    ASSERT_TRUE(a_.await_node(n.id, is_open));
  }
  start_stats();
  ASSERT_TRUE(await_stats(node, [](const auto& n) { return n.has_server(); }));
  ASSERT_TRUE(await_stats(frozen, [](const auto& n) { return n.has_server(); }));
  const auto pids = postgres_processes_in(a_.node(frozen.id).data);
  ASSERT_FALSE(pids.empty());
  for (const pid_t pid : pids) ::kill(pid, SIGSTOP);
  EXPECT_TRUE(await_stats(frozen, [](const auto& n) { return !n.has_server(); }));
  EXPECT_TRUE(await_stats(node, [](const auto& n) { return n.has_server(); }));
  for (const pid_t pid : pids) ::kill(pid, SIGCONT);
  EXPECT_TRUE(await_stats(frozen, [](const auto& n) { return n.has_server(); }));
}

TEST(StatsParts, AreWellBelowWhatTheBusTakes) {
  std::vector<v1::NodeStats> nodes(3);
  for (auto& node : nodes) {
    for (int i = 0; i < 20; ++i) {
      node.mutable_server()->add_statements()->set_query(std::string(10'000, 'x'));
    }
  }
  v1::HostStats head;
  head.set_host("host-a");
  const auto parts = in_parts(head, nodes);
  ASSERT_EQ(parts.size(), 2u);
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].part(), i);
    EXPECT_EQ(parts[i].parts(), 2u);
    EXPECT_LT(parts[i].ByteSizeLong(), 512u * 1024);
  }
  EXPECT_EQ(parts[0].nodes_size(), 2);
  EXPECT_EQ(parts[1].nodes_size(), 1);
  EXPECT_EQ(in_parts(head, {}).size(), 1u);
}

TEST(CounterFiles, AreReadAsWrittenAndBeginAnewWhenDamaged) {
  CounterState state;
  state.epoch = "aaaaaaaa-1111-4111-8111-111111111111";
  state.transactions = 1;
  state.wal_bytes = ~0ull;
  state.cpu_ms = 3;
  state.read_bytes = 4;
  state.write_bytes = 5;
  state.server_seen = true;
  state.wal_timeline = 6;
  state.wal_lsn = 7;
  state.bgwriter_reset = "8";
  state.archiver_reset = "9";
  state.databases[16384] = {"-", 10};
  state.cpu_mark = {"a", 11};
  state.read_mark = {"b", 12};
  state.write_mark = {"c", 13};
  EXPECT_EQ(counters_from_json(counters_to_json(state)), state);
  char name[] = "/tmp/counters-test-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  const CounterStore store(name);
  const std::string node = "bbbbbbbb-1111-4111-8111-111111111111";
  store.write(node, state);
  EXPECT_EQ(store.read(node), state);
  write_file_atomically(std::string(name) + "/" + node + ".json", "{\"format\": 1}", 0600, false);
  EXPECT_NE(store.read(node).epoch, state.epoch);
  EXPECT_EQ(store.read(node).wal_bytes, 0u);
  remove_tree(name);
}

}  // namespace
}  // namespace trunkline::agent::testing
