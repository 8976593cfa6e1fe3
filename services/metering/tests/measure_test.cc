#include <gtest/gtest.h>

#include "metering/domain/measure_decide.h"
#include "usage_given.h"

namespace trunkline::metering {
namespace {

const std::string kSource = "host:host-a";
const std::string kSourceId = source_uuid(kSource);

v1::NodeStats stats_of(const std::string& node, uint64_t transactions, uint64_t used_mb = 5,
                       const std::string& epoch = "e1") {
  v1::NodeStats stats;
  stats.set_node_id(node);
  stats.set_instance_id(kInstanceId);
  stats.mutable_counters()->set_epoch(epoch);
  stats.mutable_counters()->set_transactions(transactions);
  stats.mutable_counters()->set_used_mb(used_mb);
  return stats;
}

class Measure : public testing::Test {
 protected:
  Measure() {
    given.created(0);
    given.placed(0);
    given.placed(0, kOther);
    given.node_created(0, 2);
    given.node_created(0, 3, kOther);
  }
  void hear(std::vector<v1::NodeStats> nodes, uint64_t sequence = 0, uint32_t part = 0,
            uint32_t parts = 1) {
    v1::HostStats stats;
    stats.set_host("host-a");
    stats.set_agent_id("a");
    sequence_ = std::max(sequence_ + (sequence == 0 ? 1 : 0), sequence);
    stats.set_sequence(sequence == 0 ? sequence_ : sequence);
    stats.set_part(part);
    stats.set_parts(parts);
    for (auto& node : nodes) *stats.add_nodes() = std::move(node);
    EXPECT_TRUE(book.take("host-a", stats));
  }
  std::vector<v1::UsageMeasured> decide(int64_t end) {
    return decide_measure(given.state, book.sources().at(kSourceId), kT0 + end);
  }
  // Decides, appends and folds; the one event that was decided.
  v1::UsageMeasured measure(int64_t end) {
    const auto events = decide(end);
    EXPECT_EQ(events.size(), 1U);
    if (events.empty()) return {};
    given.measured(end + 100, events[0]);
    book.measured(kSourceId, given.state);
    return events[0];
  }

  UsageGiven given;
  HeardBook book;
  uint64_t sequence_ = 0;
};

TEST_F(Measure, TheDifferenceToTheStreamOnceAWindow) {
  hear({stats_of(kNode, 10)});
  EXPECT_EQ(measure(60'000).nodes(0).used().transactions(), 10U);
  hear({stats_of(kNode, 17)});
  EXPECT_TRUE(decide(60'000).empty());
  const v1::UsageMeasured second = measure(120'000);
  EXPECT_EQ(second.nodes(0).used().transactions(), 7U);
  EXPECT_EQ(second.nodes(0).total().transactions(), 17U);
}

TEST_F(Measure, WhoIsNotHeardOrHasNotChanged) {
  hear({stats_of(kNode, 10), stats_of(kOther, 20)});
  measure(60'000);
  EXPECT_TRUE(decide(120'000).empty()) << "the source was silent";
  hear({stats_of(kNode, 10)});
  const v1::UsageMeasured second = measure(120'000);
  EXPECT_EQ(second.nodes_size(), 0);
  ASSERT_EQ(second.silent_size(), 1);
  EXPECT_EQ(second.silent(0), kOther);
  hear({stats_of(kNode, 10, 6), stats_of(kOther, 20)});
  const v1::UsageMeasured third = measure(180'000);
  ASSERT_EQ(third.nodes_size(), 1) << "its size is another one";
  EXPECT_EQ(third.nodes(0).used_mb(), 6U);
  EXPECT_EQ(third.silent_size(), 0);
}

TEST_F(Measure, ACounterThatWentBackTellsNothing) {
  hear({stats_of(kNode, 10)});
  measure(60'000);
  hear({stats_of(kNode, 3)});
  EXPECT_EQ(measure(120'000).nodes_size(), 0);
  hear({stats_of(kNode, uint64_t{1} << 62)});
  EXPECT_EQ(measure(180'000).nodes_size(), 0) << "that much cannot be";
}

TEST_F(Measure, LateAndDoubledMessagesCountOnce) {
  hear({stats_of(kNode, 30)}, 3);
  hear({stats_of(kNode, 10)}, 1);
  hear({stats_of(kNode, 30)}, 3);
  EXPECT_EQ(measure(60'000).nodes(0).used().transactions(), 30U);
}

TEST_F(Measure, AnEpochBeginsAtZeroAndTheOneBeforeIsNotForgotten) {
  hear({stats_of(kNode, 30)});
  measure(60'000);
  hear({stats_of(kNode, 4, 5, "e2")});
  hear({stats_of(kNode, 33, 5, "e1")});  // its last words came late
  const v1::UsageMeasured second = measure(120'000);
  ASSERT_EQ(second.nodes_size(), 2);
  EXPECT_EQ(second.nodes(0).used().transactions() + second.nodes(1).used().transactions(), 7U);
  hear({stats_of(kNode, 33, 5, "e1")});
  EXPECT_EQ(measure(180'000).nodes_size(), 0);
}

TEST_F(Measure, AfterARestartTheStreamSaysWhatIsCounted) {
  hear({stats_of(kNode, 30)});
  measure(60'000);
  book = HeardBook();
  hear({stats_of(kNode, 31)});
  EXPECT_EQ(measure(120'000).nodes(0).used().transactions(), 1U);
}

TEST_F(Measure, AHostSpeaksForItsOwnNodesOnly) {
  given.placed(1'000, kOther, "host-b");
  hear({stats_of(kOther, 30), stats_of(uuid_from_name("nobody"), 5)});
  EXPECT_TRUE(decide(60'000).empty());
  v1::HostStats lie;
  lie.set_host("host-b");
  EXPECT_FALSE(book.take("host-a", lie));
}

TEST_F(Measure, LastWordsOfWhatEnded) {
  hear({stats_of(kNode, 30), stats_of(kOther, 1)});
  measure(60'000);
  v1::InstanceEvent removed;
  removed.mutable_node_removed()->set_node_id(kNode);
  given.instance(70'000, removed);
  hear({stats_of(kOther, 1)}, 10, 0, 2);
  hear({}, 10, 1, 2);
  EXPECT_EQ(measure(120'000).silent(0), kNode) << "it may be late";
  hear({stats_of(kOther, 1)});
  const v1::UsageMeasured last = measure(420'000);
  ASSERT_EQ(last.gone_size(), 1);
  EXPECT_EQ(last.gone(0), kNode);
  hear({stats_of(kNode, 40), stats_of(kOther, 1)});
  const v1::UsageMeasured after = measure(480'000);
  EXPECT_EQ(after.nodes_size() + after.gone_size() + after.silent_size(), 0);
}

TEST_F(Measure, APartThatIsMissingMakesNobodyGone) {
  hear({stats_of(kNode, 30), stats_of(kOther, 1)});
  measure(60'000);
  v1::InstanceEvent removed;
  removed.mutable_node_removed()->set_node_id(kNode);
  given.instance(70'000, removed);
  hear({stats_of(kOther, 1)}, 10, 0, 2);
  const v1::UsageMeasured second = measure(900'000);
  EXPECT_EQ(second.gone_size(), 0);
  EXPECT_EQ(second.silent_size(), 1);
}

TEST_F(Measure, TheRolesOfAnEndpointAreAddedUp) {
  const auto hear_proxy = [&](bool read_only, uint64_t bytes, uint64_t sequence) {
    v1::TrafficReport report;
    report.set_proxy_id("p");
    report.set_epoch("e");
    report.set_sequence(sequence);
    report.set_parts(2);
    report.set_part(read_only ? 1 : 0);
    auto* endpoint = report.add_endpoints();
    endpoint->set_instance_id(kInstanceId);
    endpoint->set_read_only(read_only);
    endpoint->set_bytes_in(bytes);
    EXPECT_TRUE(book.take("p", report));
  };
  hear_proxy(false, 100, 1);
  hear_proxy(true, 20, 1);
  const auto& heard = book.sources().at(source_uuid("proxy:p"));
  const auto events = decide_measure(given.state, heard, kT0 + 60'000);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].endpoints(0).used().bytes_in(), 120U);
  given.measured(60'000, events[0], "proxy:p");
  hear_proxy(true, 25, 2);  // the other part was lost
  const auto second = decide_measure(given.state, heard, kT0 + 120'000);
  EXPECT_EQ(second[0].endpoints(0).used().bytes_in(), 5U);
}

TEST_F(Measure, AMeasurementThatIsTooLargeComesInParts) {
  v1::TrafficReport report;
  report.set_proxy_id("p");
  report.set_epoch("e");
  report.set_sequence(1);
  constexpr int kCount = kItemsAnEvent + 10;
  for (int i = 0; i < kCount; ++i) {
    const std::string id = uuid_from_name(std::to_string(i));
    given.state.instances[id] = given.state.instances.at(kInstanceId);
    auto* endpoint = report.add_endpoints();
    endpoint->set_instance_id(id);
    endpoint->set_bytes_in(1);
  }
  book.take("p", report);
  const auto events =
      decide_measure(given.state, book.sources().at(source_uuid("proxy:p")), kT0 + 60'000);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_TRUE(events[0].partial());
  EXPECT_FALSE(events[1].partial());
  EXPECT_EQ(events[0].endpoints_size() + events[1].endpoints_size(), kCount);
  EXPECT_LT(events[0].ByteSizeLong(), 500'000U);
}

}  // namespace
}  // namespace trunkline::metering
