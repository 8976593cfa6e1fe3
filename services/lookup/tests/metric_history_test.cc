// The metrics' history in a real PostgreSQL: written, rolled up, dropped, and not lost while it is
// away.
#include "lookup/io/metric_history.h"

#include <gtest/gtest.h>

#include <atomic>

#include "base/ids.h"
#include "lookup/io/fleet_stats.h"
#include "testing/temp_servers.h"

namespace trunkline::lookup {
namespace {

using std::chrono::seconds;

constexpr char kInstance[] = "11111111-1111-4111-8111-111111111111";
constexpr char kNode[] = "22222222-2222-4222-8222-222222222222";
constexpr int64_t kStart = 1'800'000'000'000;

class MetricHistoryTest : public ::testing::Test {
 protected:
  std::unique_ptr<MetricHistory> history() {
    return std::make_unique<MetricHistory>(MetricHistory::Options{
        .dsn = postgres_.dsn(), .now_ms = [this] { return now_.load(); }});
  }
  static NodeSample sample(int64_t at_ms, double connections) {
    MetricValues values(node_metrics().size());
    values[0] = connections;
    return {kInstance, kNode, at_ms, true, values};
  }
  std::vector<MetricSeries> read(int64_t from, int64_t to, int64_t step) {
    pqxx::connection connection(postgres_.dsn());
    return node_series(connection, kInstance, from, to, step, now_);
  }
  std::string one(const std::string& sql) {
    pqxx::connection connection(postgres_.dsn());
    return pqxx::nontransaction(connection).exec1(sql)[0].c_str();
  }

  trunkline::testing::TempPostgres postgres_;
  std::atomic<int64_t> now_{kStart};
};

TEST_F(MetricHistoryTest, IsWrittenRolledUpAndDropped) {
  const auto written = history();
  for (int64_t t = 0; t < 600'000; t += 10'000) {
    written->add(sample(kStart + t, static_cast<double>(t / 10'000)));
  }
  now_ = kStart + 601'000;
  ASSERT_TRUE(written->settle(seconds(30)));
  auto series = read(kStart, kStart + 600'000, 300'000);
  ASSERT_EQ(series.size(), 1u);
  EXPECT_EQ(series[0].id, kNode);
  ASSERT_EQ(series[0].points.size(), 2u);
  EXPECT_EQ(series[0].points[0].at_ms, kStart);
  EXPECT_EQ(series[0].points[0].values[0], 14.5);
  EXPECT_EQ(series[0].points[1].values[0], 44.5);
  EXPECT_EQ(series[0].points[0].values[1], std::nullopt);

  // A minute after its end a bucket is rolled up, once.
  now_ = kStart + 661'000;
  ASSERT_TRUE(written->settle(seconds(30)));
  ASSERT_TRUE(written->settle(seconds(30)));
  EXPECT_EQ(one("SELECT count(*) FROM metrics.node_5m"), "2");
  EXPECT_EQ(one("SELECT rolled_up_to_ms FROM metrics.progress"), std::to_string(kStart + 600'000));

  // Two days on, the means are what is left.
  now_ = kStart + 2 * kDayMs;
  ASSERT_TRUE(written->settle(seconds(30)));
  EXPECT_EQ(one("SELECT count(*) FROM metrics.node_raw"), "0");
  series = read(kStart, kStart + 600'000, 300'000);
  ASSERT_EQ(series.size(), 1u);
  EXPECT_EQ(series[0].points.size(), 2u);
  EXPECT_EQ(series[0].points[1].values[0], 44.5);

  now_ = kStart + 40 * kDayMs;
  ASSERT_TRUE(written->settle(seconds(30)));
  EXPECT_EQ(one("SELECT count(*) FROM metrics.node_5m"), "0");
  EXPECT_EQ(one("SELECT count(*) FROM pg_class WHERE relnamespace = 'metrics'::regnamespace"
                " AND relispartition AND relkind = 'r'"),
            "9");
}

TEST_F(MetricHistoryTest, WaitsForPostgres) {
  const auto written = history();
  written->add(sample(kStart, 1));
  ASSERT_TRUE(written->settle(seconds(30)));
  postgres_.crash();
  written->add(sample(kStart + 10'000, 2));
  EXPECT_FALSE(written->settle(seconds(1)));
  postgres_.restart();
  written->add(sample(kStart + 20'000, 3));
  ASSERT_TRUE(written->settle(seconds(60)));
  EXPECT_EQ(one("SELECT count(*) FROM metrics.node_raw WHERE at_ms > " + std::to_string(kStart)),
            "2");
}

TEST_F(MetricHistoryTest, TakesWhatHostsSayOfThemselvesOnly) {
  const auto written = history();
  FleetStats fleet(written.get());
  v1::HostStats stats;
  stats.set_host("host-a");
  stats.set_agent_id("a");
  auto& node = *stats.add_nodes();
  node.set_node_id(kNode);
  node.set_instance_id(kInstance);
  node.mutable_counters()->set_epoch("e");
  node.mutable_server()->set_primary(true);
  node.mutable_server()->set_connections_active(3);
  const auto at = [&](int second) { return from_unix_us(kStart * 1000) + seconds(second); };
  const auto say = [&](uint64_t sequence, uint64_t cpu_ms, int second) {
    stats.set_sequence(sequence);
    stats.set_sent_unix_us(int64_t{second} * 1'000'000 + 1);
    stats.set_cpu_busy_ms(cpu_ms);
    node.mutable_counters()->set_cpu_ms(cpu_ms);
    fleet.take("host-a", stats, at(second));
  };
  say(1, 1000, 0);
  say(2, 6000, 10);
  say(2, 6000, 11);  // again
  say(1, 1000, 12);  // late
  fleet.take("host-b", stats, at(13));
  std::vector<ShownNode> nodes = {{kNode, "host-a", "primary"}, {kNode, "host-b", "primary"}};
  fleet.fill(nodes);
  ASSERT_TRUE(nodes[0].known);
  EXPECT_FALSE(nodes[1].known) << "another host cannot speak for it";
  EXPECT_EQ(nodes[0].values[0], 3);
  const auto hosts = fleet.hosts();
  ASSERT_EQ(hosts.size(), 1u);
  EXPECT_EQ(hosts.at("host-a").cpu_cores, 0.5);
  now_ = kStart + 20'000;
  ASSERT_TRUE(written->settle(seconds(30)));
  EXPECT_EQ(one("SELECT count(*) FROM metrics.node_raw"), "2");
  EXPECT_EQ(one("SELECT max(cpu_cores) FROM metrics.node_raw"), "0.5");
}

}  // namespace
}  // namespace trunkline::lookup
