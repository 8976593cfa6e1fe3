#include "supervisor/domain/restart_backoff.h"

#include <gtest/gtest.h>

#include <vector>

namespace trunkline::supervisor {
namespace {

TEST(RestartBackoff, DoublesFromATenthOfASecondToFive) {
  RestartBackoff backoff;
  std::vector<int64_t> pauses;
  for (int i = 0; i < 8; ++i) pauses.push_back(backoff.after_death(Millis(0)).count());
  EXPECT_EQ(pauses, (std::vector<int64_t>{100, 200, 400, 800, 1600, 3200, 5000, 5000}));
}

TEST(RestartBackoff, WhatHadStartedStartsAtOnceEveryTime) {
  RestartBackoff backoff;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(backoff.after_death(Millis(500)), Millis(0));
  EXPECT_EQ(backoff.after_death(Millis(499)), Millis(100));
}

TEST(RestartBackoff, ForgetsAfterTenSecondsUp) {
  struct Row {
    int64_t up_for_ms;
    int64_t next_pause_ms;
  };
  for (const Row& row : {Row{9'999, 800}, Row{10'000, 100}, Row{600'000, 100}}) {
    RestartBackoff backoff;
    for (int i = 0; i < 3; ++i) backoff.after_death(Millis(0));
    EXPECT_EQ(backoff.after_death(Millis(row.up_for_ms)), Millis(0)) << row.up_for_ms;
    EXPECT_EQ(backoff.after_death(Millis(0)).count(), row.next_pause_ms) << row.up_for_ms;
  }
}

}  // namespace
}  // namespace trunkline::supervisor
