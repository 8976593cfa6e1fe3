// What is concluded from what a server is seen to be: truth tables.
#include <gtest/gtest.h>

#include <functional>

#include "agent/domain/follow_facts.h"
#include "agent/domain/in_the_way.h"
#include "agent/domain/log_text.h"
#include "agent/domain/sign_of_life.h"
#include "agent/domain/stall_watch.h"

namespace trunkline::agent {
namespace {

constexpr uint64_t kSegment = 16 << 20;

TEST(FollowFacts, WhatCanNeverGoOn) {
  const OwnEnd own{7, 2, 5 * kSegment + 100};
  const UpstreamState fine{true, 7, 2, 6 * kSegment, "0000000000000005"};
  struct Row {
    const char* what;
    std::function<void(OwnEnd&, UpstreamState&)> change;
    const char* want;
  };
  const Row rows[] = {
      {"all is there", [](OwnEnd&, UpstreamState&) {}, ""},
      {"another system", [](OwnEnd&, UpstreamState& u) { u.system_identifier = 8; },
       "other_system"},
      {"its own is not known",
       [](OwnEnd& o, UpstreamState& u) {
         o.system_identifier = 0;
         u.system_identifier = 8;
       },
       ""},
      {"the segment is gone", [](OwnEnd&, UpstreamState& u) {
         u.oldest_segment = "0000000000000006";
       }, "wal_removed"},
      {"older ones are there, too",
       [](OwnEnd&, UpstreamState& u) { u.oldest_segment = "0000000000000001"; }, ""},
      {"nothing is listed", [](OwnEnd&, UpstreamState& u) { u.oldest_segment = ""; }, ""},
      {"at the upstream's end", [](OwnEnd& o, UpstreamState& u) { u.flush_lsn = o.lsn; }, ""},
      {"behind the upstream's end",
       [](OwnEnd& o, UpstreamState& u) { u.flush_lsn = o.lsn - 1; }, "diverged"},
      {"of another timeline: the history decides",
       [](OwnEnd& o, UpstreamState& u) {
         u.flush_lsn = o.lsn - 1;
         u.timeline = 3;
       },
       ""},
      {"an upstream that has not opened says nothing",
       [](OwnEnd&, UpstreamState& u) {
         u.is_open = false;
         u.system_identifier = 8;
       },
       ""},
      {"its end is not known",
       [](OwnEnd& o, UpstreamState& u) {
         o.lsn = 0;
         u.oldest_segment = "0000000000000006";
       },
       ""},
  };
  for (const Row& row : rows) {
    OwnEnd o = own;
    UpstreamState u = fine;
    row.change(o, u);
    EXPECT_EQ(cannot_follow_reason(o, u, kSegment), row.want) << row.what;
  }
}

TEST(SignOfLife, OneThatStartsAnewSaysSo) {
  for (const char* code : {"57P02", "57P03"}) {
    EXPECT_TRUE(is_sign_of_recovery(code)) << code;
    EXPECT_FALSE(is_sign_of_life(code)) << code;
  }
  for (const char* code : {"", "57P01", "53300", "53200", "08006", "XX000"}) {
    EXPECT_FALSE(is_sign_of_recovery(code)) << code;
  }
}

TEST(SignOfLife, EveryErrorThatIsNoEnd) {
  for (const char* state : {"53200", "53300", "53400", "42501", "57014", "28000", "0A000", "53100",
                            "55P03", "25006", "40001"}) {
    EXPECT_TRUE(is_sign_of_life(state)) << state;
  }
  for (const char* state : {"", "57P01", "57P02", "57P03", "08006", "08001", "58030", "XX000",
                            "XX001", "5320", "532000"}) {
    EXPECT_FALSE(is_sign_of_life(state)) << state;
  }
}

TEST(InTheWay, WhoIsWaitedForEndsSooner) {
  EXPECT_FALSE(must_end_sessions(milliseconds(999), true));
  EXPECT_TRUE(must_end_sessions(milliseconds(1000), true));
  EXPECT_FALSE(must_end_sessions(milliseconds(59'999), false));
  EXPECT_TRUE(must_end_sessions(milliseconds(60'000), false));
  // PostgreSQL itself has tried to cancel by then.
  EXPECT_GT(kReplayPatience, milliseconds(30'000));
}

class StallWatchTest : public ::testing::Test {
 protected:
  void pass(int ms, int step = 350) {
    for (const int until = now_ + ms; now_ < until; now_ += step) {
      watch_.look(milliseconds(now_));
      if (wal_) wal_();
    }
  }
  StallWatch watch_;
  int now_ = 0;
  std::function<void()> wal_;
};

TEST_F(StallWatchTest, NothingIsWrongWithOneThatAnswers) {
  for (int i = 0; i < 20; ++i) {
    watch_.asked();
    pass(1000);
    watch_.answered();
  }
  EXPECT_EQ(watch_.stalled().count(), 0);
}

TEST_F(StallWatchTest, ASessionThatNobodyTakesCountsFromWhenItWasAskedFor) {
  pass(1000);
  watch_.asked();
  pass(10'500);
  EXPECT_NEAR(static_cast<double>(watch_.stalled().count()), 10'500, 400);
  watch_.answered();
  EXPECT_EQ(watch_.stalled().count(), 0);
}

TEST_F(StallWatchTest, WalThatDoesNotGetToDiskWhileSomebodyWaits) {
  struct Case {
    const char* what;
    bool pending, moves, waited_for, stalls;
  };
  const Case cases[] = {
      {"idle", false, false, false, false},
      {"busy", true, true, true, false},
      {"an open transaction has written a little", true, false, false, false},
      {"a disk that hangs", true, false, true, true},
  };
  for (const Case& c : cases) {
    watch_.reset();
    uint64_t flushed = 100;
    wal_ = [&] {
      if (c.moves) ++flushed;
      watch_.wal(milliseconds(now_), flushed + (c.pending ? 50 : 0), flushed, c.waited_for);
    };
    pass(9000);
    EXPECT_EQ(watch_.stalled().count() > 7000, c.stalls) << c.what;
    EXPECT_EQ(watch_.stalled().count() == 0, !c.stalls) << c.what;
  }
}

TEST_F(StallWatchTest, AMachineThatStoodStillAccusesNobody) {
  watch_.asked();
  uint64_t flushed = 100;
  wal_ = [&] { watch_.wal(milliseconds(now_), flushed + 50, flushed, true); };
  pass(700);
  now_ += 60'000;
  pass(350);
  EXPECT_LE(watch_.stalled().count(), 3000);
}

TEST(LastFatalLine, IsFoundForShowing) {
  EXPECT_EQ(last_fatal_line("x FATAL:  one\ny LOG:  z\n2026 PANIC:  two\nmore"), "PANIC:  two");
  EXPECT_EQ(last_fatal_line("LOG:  fine\n"), "");
}

}  // namespace
}  // namespace trunkline::agent
