#include "metering/domain/meters.h"

#include <gtest/gtest.h>

#include <set>

namespace trunkline::metering {
namespace {

TEST(Meters, TheTableIsInTheOrderOfTheEnumeration) {
  std::set<std::string_view> columns;
  for (size_t i = 0; i < kMeters; ++i) {
    EXPECT_EQ(meters()[i].meter, static_cast<Meter>(i));
    EXPECT_TRUE(columns.insert(meters()[i].column).second) << meters()[i].column;
    EXPECT_EQ(meters()[i].of, i < kFirstNodeMeter ? MeterOf::instance : MeterOf::node);
    EXPECT_EQ(meters()[i].state.empty(), meters()[i].name != "instance_seconds");
  }
}

TEST(Meters, AQuantityIsShownExactly) {
  EXPECT_EQ(unit_text(Meter::seconds_active, 60'000), "60");
  EXPECT_EQ(unit_text(Meter::seconds_active, 1), "0.001");
  EXPECT_EQ(unit_text(Meter::seconds_active, -1'250), "-1.25");
  EXPECT_EQ(unit_text(Meter::bytes_in, 0), "0");
  EXPECT_EQ(unit_text(Meter::ram_gb_seconds, 1), "0.0000009765625");
  EXPECT_EQ(unit_text(Meter::ram_gb_seconds, 512 * 60'000), "30");
  const __int128 much = static_cast<__int128>(INT64_MAX) * 10;
  EXPECT_EQ(unit_text(Meter::wal_bytes, much), "92233720368547758070");
}

}  // namespace
}  // namespace trunkline::metering
