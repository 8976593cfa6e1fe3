// Rating: exact inside, rounded once a line, half to even; the same whichever way it is summed.
#include "metering/domain/rating.h"

#include <gtest/gtest.h>

#include <random>

namespace trunkline::metering {
namespace {

constexpr int64_t kHour = 3'600'000;
const std::string kOne = "11111111-1111-4111-8111-111111111111";
const std::string kTwo = "22222222-2222-4222-8222-222222222222";

PriceListState list_of(std::vector<PriceListVersion> versions, uint32_t digits = 2) {
  PriceListState list(kOne);
  list.currency = "EUR";
  list.minor_digits = digits;
  for (auto& version : versions) {
    version.number = static_cast<uint32_t>(list.versions.size() + 1);
    list.versions.push_back(std::move(version));
  }
  return list;
}
PriceListVersion version(int64_t from_ms, std::vector<Price> prices) {
  return {0, "v", from_ms, std::move(prices), {}};
}

Int128 cents(const std::string& meter, const std::string& amount, const std::string& per,
             Int128 quantity, uint32_t digits = 2) {
  return amount_of(quantity, *rate_of({meter, "", "", amount, per}, digits));
}

TEST(Rating, HalfToEven) {
  EXPECT_EQ(cents("connections", "0.005", "1", 1), 0);   // 0.5 cents
  EXPECT_EQ(cents("connections", "0.005", "1", 3), 2);   // 1.5
  EXPECT_EQ(cents("connections", "0.005", "1", 5), 2);   // 2.5
  EXPECT_EQ(cents("connections", "0.005", "1", -3), -2);
  EXPECT_EQ(cents("connections", "0.005", "1", -5), -2);
  EXPECT_EQ(cents("connections", "0.005000000001", "1", 5), 3);
  EXPECT_EQ(cents("connections", "0.004999999999", "1", 1), 0);
}

TEST(Rating, UnitsOfMeters) {
  // An hour of two vCPUs at 0.0495 an hour; 512 MB for an hour at 0.01 a GB hour.
  EXPECT_EQ(cents("vcpu_seconds", "0.0495", "3600", 2 * kHour), 10);
  EXPECT_EQ(cents("ram_gb_seconds", "0.01", "3600", 512 * kHour, 4), 50);
  EXPECT_EQ(cents("instance_seconds", "1", "1", 1500), 150);
  EXPECT_EQ(cents("wal_bytes", "1", "1000000000", 2'500'000'000), 250);
  EXPECT_EQ(cents("vcpu_seconds", "1", "0.5", 1000, 0), 2);
}

TEST(Rating, TheLargestThatMayBe) {
  // 2^62 base units at the highest price: nothing overflows.
  const Int128 much = cents("connections", "999999999999", "1", Int128(1) << 62, 4);
  EXPECT_EQ(much, (Int128(1) << 62) * 999'999'999'999 * 10'000);
  EXPECT_EQ(cents("ram_gb_seconds", "0.000000000001", "999999999999.999", Int128(1) << 62), 0);
}

// What a line says is the exact sum of its hours, rounded once.
TEST(Rating, HoursAddUpToTheLine) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 300; ++round) {
    const std::string amount = std::to_string(random() % 1000) + "." +
                               std::to_string(100'000 + random() % 900'000);
    const std::string per = std::to_string(1 + random() % 100'000);
    const Rate rate = *rate_of({"ram_gb_seconds", "", "", amount, per}, 2);
    Int128 sum = 0, numerator = 0;
    for (int hour = 0; hour < 24; ++hour) {
      const auto quantity = static_cast<int64_t>(random() % 4'000'000'000);
      sum += quantity;
      numerator += Int128(quantity) * static_cast<Int128>(rate.numerator);
    }
    const auto denominator = static_cast<Int128>(rate.denominator);
    Int128 expected = numerator / denominator;
    const Int128 rest = numerator % denominator;
    if (rest * 2 > denominator || (rest * 2 == denominator && expected % 2 != 0)) ++expected;
    EXPECT_EQ(amount_of(sum, rate), expected) << amount << " per " << per;
  }
}

TEST(Rating, LinesFollowVersionsAndPrices) {
  const Price cpu{"vcpu_seconds", "", "", "1", "3600"};
  Price dearer = cpu;
  dearer.amount = "2";
  const Price active{"instance_seconds", "ACTIVE", "", "3", "3600"};
  const auto list = list_of({version(kHour, {cpu, active}), version(3 * kHour, {dearer, active})});
  const auto segments = segments_of({&list}, 0, 5 * kHour);
  EXPECT_EQ(segments,
            (std::vector<Segment>{{0, kHour}, {kHour, 3 * kHour}, {3 * kHour, 5 * kHour}}));
  std::vector<UsedQuantity> used;
  for (size_t i = 0; i < 3; ++i) {
    used.push_back({i, kOne, Meter::vcpu_seconds, kHour});
    used.push_back({i, kOne, Meter::seconds_active, kHour});
    used.push_back({i, kOne, Meter::seconds_new, 10});
  }
  used.push_back({1, kOne, Meter::vcpu_seconds, kHour});  // of another node
  used.push_back({1, kTwo, Meter::wal_bytes, 5});
  const Rating rating = rate(list, segments, used);
  ASSERT_EQ(rating.lines.size(), 4u);
  EXPECT_EQ(rating.lines[0].amount, 300);  // instance_seconds ACTIVE, version 1
  EXPECT_EQ(rating.lines[2].price_list_version, 1u);
  EXPECT_EQ(rating.lines[2].quantity, 2 * kHour);
  EXPECT_EQ(rating.lines[2].amount, 200);
  EXPECT_EQ(rating.lines[3].amount, 200);
  EXPECT_EQ(rating.lines[3].from_ms, 3 * kHour);
  EXPECT_EQ(rating.total, 300 + 300 + 200 + 200);
  // Before the first version, states without a price, meters without a price.
  EXPECT_EQ(rating.unpriced.size(), 2u + 3u + 1u);
}

// Cutting the time at the versions of another list changes nothing.
TEST(Rating, AnotherListsBoundsDoNotSplitLines) {
  const Price cpu{"vcpu_seconds", "", "", "0.005", "1"};
  const auto list = list_of({version(0, {cpu})});
  const auto other = list_of({version(0, {cpu}), version(kHour, {cpu})});
  const auto segments = segments_of({&list, &other}, 0, 2 * kHour);
  const std::vector<UsedQuantity> used = {{0, kOne, Meter::vcpu_seconds, 1000},
                                          {1, kOne, Meter::vcpu_seconds, 2000}};
  const Rating rating = rate(list, segments, used);
  ASSERT_EQ(rating.lines.size(), 1u);
  EXPECT_EQ(rating.lines[0].amount, 2);  // 1.5 cents, rounded once
  const Rating compared = rate(other, segments, used);
  EXPECT_EQ(compared.lines.size(), 2u);
  EXPECT_EQ(compared.total, 0 + 1);  // 0.5 and 1.0
  const auto differences = compare(rating, compared);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].amount - differences[0].compared_amount, 1);
}

TEST(Rating, StatesShareAPriceForAny) {
  const Price any{"instance_seconds", "", "", "0.005", "1"};
  const auto list = list_of({version(0, {any})});
  const auto segments = segments_of({&list}, 0, kHour);
  const Rating rating = rate(list, segments,
                             {{0, kOne, Meter::seconds_new, 1000},
                              {0, kOne, Meter::seconds_active, 2000},
                              {0, kOne, Meter::seconds_error, -3000},
                              {0, kTwo, Meter::seconds_active, 3000}});
  ASSERT_EQ(rating.lines.size(), 1u);  // what comes to nothing is no line
  EXPECT_EQ(rating.lines[0].amount, 2);
}

}  // namespace
}  // namespace trunkline::metering
