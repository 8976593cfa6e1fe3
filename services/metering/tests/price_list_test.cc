// Price lists: what may be published, which version and which price holds.
#include "metering/domain/price_list.h"

#include <gtest/gtest.h>

#include "metering/domain/currency.h"
#include "metering/domain/decimal.h"
#include "testing/given_when_then.h"

namespace trunkline::metering {
namespace {

constexpr char kId[] = "11111111-1111-4111-8111-111111111111";
constexpr int64_t kHour = 3'600'000;
const TimePoint kNow = from_unix_us(1'793'491'200'000'000);

v1::Price price(const std::string& meter, const std::string& amount = "0.05",
                const std::string& per = "3600", const std::string& state = "",
                const std::string& plan = "") {
  v1::Price out;
  out.set_meter(meter);
  out.set_amount(amount);
  out.set_per(per);
  out.set_state(state);
  out.set_plan(plan);
  return out;
}

v1::PriceListCommand publish(int64_t valid_from_ms, std::vector<v1::Price> prices,
                             const std::string& currency = "EUR", const std::string& name = "one") {
  v1::PriceListCommand command;
  auto* c = command.mutable_publish_price_list();
  c->set_name(name);
  c->set_currency(currency);
  c->set_valid_from_unix_ms(valid_from_ms);
  for (auto& item : prices) *c->add_prices() = std::move(item);
  return command;
}

v1::PriceListCommand retire() {
  v1::PriceListCommand command;
  command.mutable_retire_price_list();
  return command;
}

std::string verdict(const PriceListState& state, const v1::PriceListCommand& command) {
  return testing::outline(decide(state, command, {}, kNow));
}

PriceListState after(const std::vector<v1::PriceListCommand>& commands) {
  PriceListState state(kId);
  for (const auto& command : commands) {
    const auto decision = decide(state, command, {}, kNow);
    for (const auto& event : std::get<std::vector<v1::PriceListEvent>>(decision)) {
      evolve(state, event, kNow);
    }
  }
  return state;
}

// Each row is one fact away from one that is accepted.
TEST(PriceList, WhatMayBePublished) {
  const std::string yes = "accepted: price_list_published";
  const PriceListState none(kId);
  const auto one = [&](v1::Price p) { return verdict(none, publish(0, {std::move(p)})); };
  EXPECT_EQ(one(price("vcpu_seconds")), yes);
  EXPECT_EQ(one(price("instance_seconds", "1", "1", "ACTIVE")), yes);
  EXPECT_EQ(one(price("vcpu_seconds", "0")), yes);
  EXPECT_EQ(one(price("vcpu_seconds", "999999999999.999999999999")), yes);
  EXPECT_EQ(one(price("cpu")), "rejected: meter_unknown (bad_value)");
  EXPECT_EQ(one(price("vcpu_seconds", "1", "1", "ACTIVE")),
            "rejected: state_not_allowed (bad_value)");
  EXPECT_EQ(one(price("instance_seconds", "1", "1", "DEAD")),
            "rejected: state_unknown (bad_value)");
  for (const char* amount : {"", "-1", "1.", ".5", "1e3", "0x1", "1,5", " 1", "1000000000000",
                             "0.0000000000001", "NaN"}) {
    EXPECT_EQ(one(price("vcpu_seconds", amount)), "rejected: amount_malformed (bad_value)")
        << amount;
  }
  for (const char* per : {"0", "0.000", "", "-1", "0.0001"}) {
    EXPECT_EQ(one(price("vcpu_seconds", "1", per)), "rejected: per_malformed (bad_value)") << per;
  }
  EXPECT_EQ(verdict(none, publish(0, {})), "rejected: prices_missing (bad_value)");
  EXPECT_EQ(verdict(none, publish(1, {price("wal_bytes")})),
            "rejected: valid_from_not_full_hour (bad_value)");
  EXPECT_EQ(verdict(none, publish(kHour, {price("wal_bytes")})), yes);
  EXPECT_EQ(verdict(none, publish(0, {price("wal_bytes")}, "EURO")),
            "rejected: currency_unknown (bad_value)");
  EXPECT_EQ(verdict(none, publish(0, {price("wal_bytes")}, "URE")),
            "rejected: currency_unknown (bad_value)");
  EXPECT_EQ(verdict(none, publish(0, {price("wal_bytes")}, "EUR", "")),
            "rejected: name_malformed (bad_value)");
  EXPECT_EQ(verdict(none, publish(0, {price("wal_bytes"), price("wal_bytes")})),
            "rejected: price_ambiguous (bad_value)");
  EXPECT_EQ(verdict(none, publish(0, {price("wal_bytes"),
                                      price("wal_bytes", "1", "1", "", "gold")})), yes);
  EXPECT_EQ(verdict(none, {}), "rejected: command_empty (bad_value)");
  EXPECT_EQ(verdict(none, retire()), "rejected: price_list_not_found (not_found)");
}

TEST(PriceList, VersionsAreAddedAndNeverChanged) {
  const auto first = publish(0, {price("wal_bytes", "1")});
  const PriceListState state = after({first, publish(kHour, {price("wal_bytes", "2")})});
  EXPECT_EQ(state.versions.size(), 2u);
  EXPECT_EQ(state.versions[1].number, 2u);
  EXPECT_EQ(verdict(state, publish(kHour, {price("wal_bytes", "2")})), "ignored");
  EXPECT_EQ(verdict(state, first), "accepted: price_list_published");
  EXPECT_EQ(verdict(state, publish(0, {price("wal_bytes")}, "USD")),
            "rejected: currency_must_not_change (conflict)");
  const PriceListState retired = after({first, retire()});
  EXPECT_EQ(verdict(retired, first), "rejected: price_list_retired (conflict)");
  EXPECT_EQ(verdict(retired, retire()), "ignored");
}

TEST(PriceList, TheNewestVersionThatIsValidHolds) {
  const PriceListState state = after({publish(2 * kHour, {price("wal_bytes", "1")}),
                                      publish(5 * kHour, {price("wal_bytes", "2")}),
                                      publish(3 * kHour, {price("wal_bytes", "3")})});
  EXPECT_EQ(version_at(state, kHour), nullptr);
  EXPECT_EQ(version_at(state, 2 * kHour)->number, 1u);
  EXPECT_EQ(version_at(state, 3 * kHour)->number, 3u);
  EXPECT_EQ(version_at(state, 9 * kHour)->number, 3u);  // published after the one from hour 5
}

TEST(PriceList, TheMostParticularPriceHolds) {
  const PriceListState state = after({publish(
      0, {price("instance_seconds", "1"), price("instance_seconds", "2", "1", "ACTIVE"),
          price("instance_seconds", "3", "1", "", "gold"),
          price("instance_seconds", "4", "1", "ERROR", "gold")})});
  const auto amount = [&](const char* meter, const char* status, const char* plan) {
    const Price* found = find_price(state.versions[0], meter, status, plan);
    return found == nullptr ? std::string("none") : found->amount;
  };
  EXPECT_EQ(amount("instance_seconds", "NEW", ""), "1");
  EXPECT_EQ(amount("instance_seconds", "ACTIVE", ""), "2");
  EXPECT_EQ(amount("instance_seconds", "ACTIVE", "gold"), "3");
  EXPECT_EQ(amount("instance_seconds", "ERROR", "gold"), "4");
  EXPECT_EQ(amount("instance_seconds", "ERROR", ""), "1");
  EXPECT_EQ(amount("wal_bytes", "", ""), "none");
}

TEST(Currency, MinorUnits) {
  EXPECT_EQ(minor_digits_of("EUR"), 2u);
  EXPECT_EQ(minor_digits_of("JPY"), 0u);
  EXPECT_EQ(minor_digits_of("KWD"), 3u);
  EXPECT_EQ(minor_digits_of("CLF"), 4u);
  EXPECT_EQ(minor_digits_of("eur"), std::nullopt);
  EXPECT_EQ(minor_digits_of("UR "), std::nullopt);
  EXPECT_EQ(minor_digits_of(""), std::nullopt);
}

TEST(DecimalNumbers, ReadAndShown) {
  EXPECT_EQ(parse_decimal("0.0495"), (Decimal{495, 4}));
  EXPECT_EQ(parse_decimal("3600"), (Decimal{3600, 0}));
  EXPECT_EQ(parse_decimal("1.500"), (Decimal{15, 1}));
  EXPECT_EQ(parse_decimal("007"), (Decimal{7, 0}));
  EXPECT_EQ(fixed_text(1234, 2), "12.34");
  EXPECT_EQ(fixed_text(-5, 2), "-0.05");
  EXPECT_EQ(fixed_text(7, 0), "7");
  EXPECT_EQ(fixed_text(0, 3), "0.000");
  EXPECT_EQ(integer_text(*parse_integer("-170141183460469231731687303715884105")),
            "-170141183460469231731687303715884105");
  EXPECT_EQ(parse_integer("1.5"), std::nullopt);
}

TEST(PriceList, ANameIsOneListsOwn) {
  const PriceListFacts facts{{"one", "two"}};
  const auto verdict_of = [&](const PriceListState& state, const std::string& name) {
    return testing::outline(
        decide(state, publish(0, {price("vcpu_seconds")}, "EUR", name), facts, kNow));
  };
  EXPECT_EQ(verdict_of(PriceListState(kId), "one"), "rejected: name_in_use (conflict)");
  EXPECT_EQ(verdict_of(PriceListState(kId), "three"), "accepted: price_list_published");
  const PriceListState three = after({publish(0, {price("vcpu_seconds")}, "EUR", "three")});
  EXPECT_EQ(verdict_of(three, "two"), "rejected: name_in_use (conflict)");
  EXPECT_EQ(verdict_of(three, "three"), "ignored");
}

}  // namespace
}  // namespace trunkline::metering
