#include "proxy/domain/newcomers.h"

#include <gtest/gtest.h>

namespace trunkline::proxy {
namespace {

TEST(Newcomers, one_address_keeps_no_other_out) {
  Newcomers newcomers({10, 3});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(newcomers.come(1));
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(newcomers.come(1));
  EXPECT_TRUE(newcomers.come(2));
  EXPECT_EQ(newcomers.count(), 4u);
  newcomers.go(1);
  EXPECT_TRUE(newcomers.come(1));
  EXPECT_FALSE(newcomers.come(1));
}

TEST(Newcomers, are_bounded_in_all_and_forgotten_when_they_went) {
  Newcomers newcomers({10, 3});
  PeerAddress address = 0;
  for (; newcomers.come(address); ++address) continue;
  EXPECT_EQ(address, 10u);
  for (PeerAddress gone = 0; gone < address; ++gone) newcomers.go(gone);
  EXPECT_EQ(newcomers.count(), 0u);
  newcomers.go(77);
  EXPECT_EQ(newcomers.count(), 0u);
  EXPECT_TRUE(newcomers.come(5));
}

TEST(Newcomers, leave_three_quarters_of_the_connections_to_others) {
  const NewcomerLimits wide = limits_within({8'000, 1'000}, 20'000);
  EXPECT_EQ(wide.in_all, 5'000u);
  EXPECT_EQ(wide.an_address, 1'000u);
  const NewcomerLimits narrow = limits_within({8'000, 1'000}, 400);
  EXPECT_EQ(narrow.in_all, 100u);
  EXPECT_EQ(narrow.an_address, 25u);
  const NewcomerLimits none = limits_within({8'000, 1'000}, 0);
  EXPECT_EQ(none.in_all, 1u);
  EXPECT_EQ(none.an_address, 1u);
}

}  // namespace
}  // namespace trunkline::proxy
