// A tenant that wants the whole disk, on real servers. A GB of an order is 64 MB here.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "agent/tests/disk_fixture.h"

namespace trunkline::agent::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kMb = 1ull << 20;
constexpr uint64_t kOrder = 512 * kMb;

using DiskFullTest = DiskTest;

// Every way to write that a tenant has, at once and again as soon as it ends.
TEST_F(DiskFullTest, NoSessionOutrunsTheWatch) {
  const TestNode hog = tenant();
  const TestNode neighbour = tenant();
  const std::string started = value(host_, hog, "select pg_postmaster_start_time()");
  const char* const ways[] = {
      "create table if not exists logged(t text); insert into logged"
      " select repeat(md5(g::text), 30) from generate_series(1, 100000000) g",
      "create unlogged table if not exists quick(t text); insert into quick"
      " select repeat(md5(g::text), 30) from generate_series(1, 100000000) g",
      "create temporary table mine as"
      " select repeat(md5(g::text), 30) t from generate_series(1, 100000000) g",
      "set work_mem = '64kB'; select count(*) from"
      " (select repeat(md5(g::text), 30) t from generate_series(1, 100000000) g order by 1) s",
      "do $$ begin for i in 1..100000 loop raise log '%', repeat('x', 200000); end loop; end $$",
      "select lo_from_bytea(0, repeat('x', 50000000)::bytea) from generate_series(1, 1000)"};
  std::atomic<bool> over{false};
  std::atomic<int> ended{0};
  std::vector<std::thread> sessions;
  for (const char* sql : ways) {
    sessions.emplace_back([&, sql] {
      while (!over) {
        run(hog, sql);
        ++ended;
      }
    });
  }
  uint64_t most = 0;
  double longest_s = 0;
  // Long enough for many rounds at the limit; a slow disk gets there later.
  const auto began = Clock::now();
  while (Clock::now() < began + (most > kOrder / 100 * 95 ? seconds(8) : seconds(60))) {
    most = std::max(most, used(hog).bytes);
    const auto asked = Clock::now();
    EXPECT_EQ(run(neighbour, "select 1"), "");
    longest_s = std::max(longest_s, std::chrono::duration<double>(Clock::now() - asked).count());
    ::usleep(5'000);
  }
  over = true;
  // What has just begun again would go on until the disk is full once more.
  std::atomic<bool> joined{false};
  std::thread ender([&] {
    while (!joined) {
      try {
        query(host_, hog, "select pg_terminate_backend(pid) from pg_stat_activity"
                          " where usename = 'hog'");
      } catch (const std::exception&) {
        ::usleep(100'000);  // it may be closed just now
      }
      ::usleep(50'000);
    }
  });
  for (auto& session : sessions) session.join();
  joined = true;
  ender.join();
  std::printf("most: %.0f MB of %.0f MB; %d statements; the neighbour waited %.3f s at most\n",
              static_cast<double>(most) / kMb, static_cast<double>(kOrder) / kMb, ended.load(),
              longest_s);
  EXPECT_GT(most, kOrder / 100 * 95) << "nobody came near the limit: this tests nothing";
  EXPECT_LT(most, kOrder + 128 * kMb);
  EXPECT_EQ(value(host_, hog, "select pg_postmaster_start_time()"), started);
  EXPECT_EQ(run(neighbour, "create table t as select 1"), "");
}

TEST_F(DiskFullTest, ATenantMakesRoomAndWritesAgain) {
  const TestNode node = tenant();
  ASSERT_EQ(run(node, "create unlogged table t(x text)"), "");
  EXPECT_TRUE(write_until_refused(
      node, "insert into t select repeat(md5(g::text), 30) from generate_series(1, 20000) g",
      kOrder));
  ASSERT_TRUE(host_.await_node(node.id, [](const auto& n) {
    return n.writes().why() == "disk_full" && n.writes().since_unix_us() > 0 &&
           n.ensure().failure().code() == "disk_full";
  }));
  EXPECT_EQ(run(node, "truncate t"), "");
  ASSERT_TRUE(host_.await_node(node.id, [](const auto& n) {
    return n.disk().level() == v1::DISK_LEVEL_ROOMY && !n.has_writes();
  }));
  const auto until = Clock::now() + seconds(5);
  std::string error = "not asked";
  while (!error.empty() && Clock::now() < until) {
    error = run(node, "insert into t values ('x')", "");
  }
  EXPECT_EQ(error, "");
}

TEST_F(DiskFullTest, AHostThatTouchesItsReserveClosesItsNodes) {
  const TestNode node = tenant();
  HostOptions options = host_.options();
  options.disk_reserve_mb = 1ull << 40;  // more than any disk has
  host_.start_agent(options);
  ASSERT_TRUE(await_level(node, v1::DISK_LEVEL_CLOSED));
  EXPECT_TRUE(host_.newest_node(node.id).disk().host());
  ASSERT_TRUE(host_.await_node(node.id, [](const auto& n) {
    return n.writes().why() == "host_disk_full" && is_open(n);
  }));
  EXPECT_NE(run(node, "select 1").find("pg_hba.conf rejects"), std::string::npos);
  options.disk_reserve_mb = 1;
  host_.start_agent(options);
  ASSERT_TRUE(await_level(node, v1::DISK_LEVEL_ROOMY));
  ASSERT_TRUE(host_.await_node(node.id, [](const auto& n) { return !n.has_writes(); }));
  const auto until = Clock::now() + seconds(5);
  std::string error = "not asked";
  while (!error.empty() && Clock::now() < until) error = run(node, "select 1");
  EXPECT_EQ(error, "");
}

}  // namespace
}  // namespace trunkline::agent::testing
