// Names of lines, and which measurements a line came from.
#include "metering/domain/usage_line.h"

#include <gtest/gtest.h>

#include "metering/domain/usage_explain.h"

namespace trunkline::metering {
namespace {

const std::string kInstance = "11111111-1111-4111-8111-111111111111";
const std::string kNode = "22222222-2222-4222-8222-222222222222";
const std::string kOther = "33333333-3333-4333-8333-333333333333";

TEST(UsageLine, ItsNameSaysAll) {
  const UsageLine line{60'000, 120'000, kInstance, kNode, Meter::wal_bytes};
  EXPECT_EQ(parse_line_name(line_name(line)), line);
  const UsageLine whole{0, 3'600'000, kInstance, "", Meter::seconds_active};
  EXPECT_EQ(parse_line_name(line_name(whole)), whole);
  const std::string good = line_name(line);
  const std::vector<std::string> bad_names = {
      "", "x", good + "_", good + "0", "1_0_" + kInstance + "__1", "0_1_" + kInstance + "__17",
      "0_1_x__1", "-1_1_" + kInstance + "__1",
      "0_7fffffffffffffff_" + kInstance + "__1"};
  for (const std::string& bad : bad_names) {
    EXPECT_FALSE(parse_line_name(bad)) << bad;
  }
}

TEST(UsageLine, ASourceIsShownWithoutTheOthers) {
  MeasuredScan scan({60'000, 120'000, kInstance, kNode, Meter::wal_bytes});
  v1::UsageMeasured event;
  event.set_source("host:a");
  for (const auto& node : {kNode, kOther}) {
    event.add_nodes()->set_node_id(node);
    event.mutable_nodes()->rbegin()->set_instance_id(node == kNode ? kInstance : kOther);
  }
  event.add_silent(kOther);
  v1::UsageMeasured early = event;
  EXPECT_FALSE(scan.take(60'000, &early));
  EXPECT_TRUE(scan.take(90'000, &event));
  EXPECT_EQ(event.nodes_size(), 1);
  EXPECT_EQ(event.nodes(0).node_id(), kNode);
  EXPECT_EQ(event.silent_size(), 0);
  v1::UsageMeasured silent;
  silent.add_silent(kNode);
  EXPECT_TRUE(scan.take(100'000, &silent));
  v1::UsageMeasured of_others;
  of_others.add_silent(kOther);
  of_others.add_endpoints()->set_instance_id(kInstance);
  EXPECT_FALSE(scan.take(100'000, &of_others));
}

TEST(UsageLine, CountedMetersFollowFromNoInstanceEvent) {
  EXPECT_TRUE(event_types_of(Meter::wal_bytes).empty());
  EXPECT_TRUE(event_types_of(Meter::bytes_in).empty());
  EXPECT_TRUE(event_types_of(Meter::vcpu_seconds).contains("node_created"));
  EXPECT_TRUE(event_types_of(Meter::seconds_error).contains("instance_failed"));
}

}  // namespace
}  // namespace trunkline::metering
