#include "proxy/domain/traffic_counters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

namespace trunkline::proxy {
namespace {

using std::chrono::microseconds;

TEST(ConnectionClock, adds_up_the_time_of_all_open_connections) {
  ConnectionClock clock;
  EXPECT_EQ(clock.opened(microseconds(1'000)), 0u);
  EXPECT_EQ(clock.opened(microseconds(1'500)), 500u);   // one
  EXPECT_EQ(clock.settle(microseconds(2'000)), 1'000u);  // two
  EXPECT_EQ(clock.settle(microseconds(2'000)), 0u);
  EXPECT_EQ(clock.closed(microseconds(2'100)), 200u);
  EXPECT_EQ(clock.closed(microseconds(2'300)), 200u);
  EXPECT_EQ(clock.settle(microseconds(9'000)), 0u);
  EXPECT_EQ(clock.open(), 0u);
}

TEST(ConnectionClock, takes_nothing_back_when_times_come_out_of_order) {
  ConnectionClock clock;
  clock.opened(microseconds(1'000));
  EXPECT_EQ(clock.settle(microseconds(2'000)), 1'000u);
  EXPECT_EQ(clock.opened(microseconds(1'900)), 0u);
  EXPECT_EQ(clock.settle(microseconds(2'010)), 20u);
}

EndpointTotals of(int number, uint64_t bytes, EndpointKind kind = EndpointKind::read_write) {
  return {{InstanceId("instance-" + std::to_string(number)), kind}, {bytes, 2, 3, 4'999, 5}};
}

std::vector<std::string> named(const std::vector<v1::TrafficReport>& reports) {
  std::vector<std::string> out;
  for (const auto& report : reports) {
    for (const auto& entry : report.endpoints()) {
      out.push_back(entry.instance_id() + (entry.read_only() ? " ro " : " rw ") +
                    std::to_string(entry.bytes_in()));
    }
  }
  return out;
}

TEST(TrafficRounds, names_what_changed_and_in_a_whole_round_everything) {
  TrafficRounds rounds;
  std::vector<EndpointTotals> all = {of(1, 10), of(1, 20, EndpointKind::read_only), of(2, 30)};
  EXPECT_THAT(named(rounds.round(all, false, 100)),
              ::testing::ElementsAre("instance-1 rw 10", "instance-1 ro 20", "instance-2 rw 30"));
  all[1].totals.bytes_in = 21;
  EXPECT_THAT(named(rounds.round(all, false, 100)), ::testing::ElementsAre("instance-1 ro 21"));
  EXPECT_EQ(named(rounds.round(all, true, 100)).size(), 3u);
}

TEST(TrafficRounds, carries_every_counter) {
  TrafficRounds rounds;
  const auto reports = rounds.round({of(1, 1)}, false, 100);
  ASSERT_EQ(reports.size(), 1u);
  const auto& entry = reports[0].endpoints(0);
  EXPECT_EQ(entry.bytes_in(), 1u);
  EXPECT_EQ(entry.bytes_out(), 2u);
  EXPECT_EQ(entry.connections(), 3u);
  EXPECT_EQ(entry.connection_ms(), 4u);
  EXPECT_EQ(entry.open(), 5u);
}

TEST(TrafficRounds, comes_in_parts_and_also_when_nothing_is_new) {
  TrafficRounds rounds;
  std::vector<EndpointTotals> all;
  for (int i = 0; i < 5; ++i) all.push_back(of(i, 10));
  const auto reports = rounds.round(all, false, 2);
  using Shape = std::tuple<int, uint32_t, uint32_t>;
  std::vector<Shape> shape;
  for (const auto& r : reports) shape.emplace_back(r.endpoints_size(), r.part(), r.parts());
  EXPECT_THAT(shape, ::testing::ElementsAre(Shape(2, 0, 3), Shape(2, 1, 3), Shape(1, 2, 3)));
  const auto quiet = rounds.round(all, false, 2);
  ASSERT_EQ(quiet.size(), 1u);
  EXPECT_EQ(quiet[0].endpoints_size(), 0);
  EXPECT_EQ(quiet[0].parts(), 1u);
}

}  // namespace
}  // namespace trunkline::proxy
