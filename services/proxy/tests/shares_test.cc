#include "proxy/domain/shares.h"

#include <gtest/gtest.h>

namespace trunkline::proxy {
namespace {

const InstanceId kGreedy("10000000-0000-4000-8000-000000000000");
const InstanceId kOther("20000000-0000-4000-8000-000000000000");
const InstanceId kThird("30000000-0000-4000-8000-000000000000");

uint64_t all_that(Shares& shares, const InstanceId& who) {
  uint64_t count = 0;
  while (shares.take(who)) ++count;
  return count;
}

TEST(Shares, one_alone_gets_two_thirds) {
  Shares shares(300);
  EXPECT_EQ(all_that(shares, kGreedy), 200u);
  EXPECT_EQ(shares.count(), 200u);
}

TEST(Shares, who_takes_all_leaves_the_others_theirs) {
  Shares shares(300);
  all_that(shares, kGreedy);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(shares.take(kOther)) << i;
  EXPECT_FALSE(shares.take(kGreedy));
  EXPECT_TRUE(shares.take(kThird));
}

TEST(Shares, what_is_given_back_is_there_for_who_has_less) {
  Shares shares(300);
  all_that(shares, kGreedy);
  all_that(shares, kOther);
  for (int i = 0; i < 20; ++i) shares.give_back(kGreedy);
  EXPECT_FALSE(shares.take(kGreedy));
  EXPECT_TRUE(shares.take(kThird));
  for (int i = 0; i < 180; ++i) shares.give_back(kGreedy);
  EXPECT_TRUE(shares.take(kGreedy));
}

TEST(Shares, there_is_an_end_and_a_beginning) {
  Shares shares(2);
  EXPECT_TRUE(shares.take(kGreedy));
  EXPECT_TRUE(shares.take(kOther));
  EXPECT_FALSE(shares.take(kThird));
  shares.give_back(kThird);  // had none
  shares.give_back(kGreedy);
  shares.give_back(kOther);
  EXPECT_EQ(shares.count(), 0u);
  EXPECT_EQ(shares.share(), 2u);
}

}  // namespace
}  // namespace trunkline::proxy
