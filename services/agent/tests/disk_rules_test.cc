// What is done when a node or a host runs out of disk.
#include <gtest/gtest.h>

#include "agent/domain/disk_rules.h"

namespace trunkline::agent {
namespace {

constexpr uint64_t kMb = 1ull << 20;
constexpr uint64_t kOrder = 1000 * kMb;  // a thousandth is a MB, but for rounding

struct Node {
  DiskState state;
  int64_t now_ms = 1'000'000;
  EndSessions end = EndSessions::none;

  DiskLevel look(uint64_t used_mb, HostRoom host = HostRoom::enough, int64_t later_ms = 10) {
    now_ms += later_ms;
    const DiskVerdict verdict = judge_disk(state, {used_mb * kMb, kOrder, host, now_ms});
    state = verdict.state;
    end = verdict.end;
    return state.level;
  }
};

TEST(DiskLevels, HaveTwoMarksEach) {
  struct Row {
    uint64_t used_mb;
    DiskLevel level;
  };
  const Row rows[] = {
      {100, DiskLevel::roomy},     {949, DiskLevel::roomy},  {951, DiskLevel::near_full},
      {901, DiskLevel::near_full}, {899, DiskLevel::roomy},  {981, DiskLevel::full},
      {971, DiskLevel::full},      {969, DiskLevel::near_full}, {1001, DiskLevel::closed},
      {991, DiskLevel::closed},
  };
  Node node;
  for (const Row& row : rows) EXPECT_EQ(node.look(row.used_mb), row.level) << row.used_mb;
}

TEST(DiskLevels, AnEmptyOrderIsNotDivided) {
  const DiskVerdict verdict = judge_disk({}, {0, 0, HostRoom::enough, 1});
  EXPECT_GE(verdict.state.level, DiskLevel::near_full);
}

TEST(FullNode, EndsWritersAtOnceAndThenWheneverItGrows) {
  Node node;
  node.look(951);
  EXPECT_EQ(node.end, EndSessions::none);
  node.look(985);
  EXPECT_EQ(node.end, EndSessions::writers);
  node.look(985);
  EXPECT_EQ(node.end, EndSessions::none) << "who makes room may go on";
  node.look(975);
  EXPECT_EQ(node.end, EndSessions::none);
  node.look(979);
  EXPECT_EQ(node.end, EndSessions::none) << "within what a DELETE writes";
  node.look(981);
  EXPECT_EQ(node.end, EndSessions::writers) << "counted from the least that it had";
}

TEST(FullNode, EndsAllThatAreBusyIfItGrowsInSpiteOfThat) {
  Node node;
  node.look(980);
  node.look(986);
  EXPECT_EQ(node.end, EndSessions::writers);
  node.look(992);
  EXPECT_EQ(node.end, EndSessions::busy);
  node.look(992, HostRoom::enough, 3000);
  node.look(998);
  EXPECT_EQ(node.end, EndSessions::writers) << "it was calm meanwhile";
}

TEST(ClosedNode, EndsAllAndStaysClosedForAWhile) {
  Node node;
  node.look(1001);
  EXPECT_EQ(node.end, EndSessions::all);
  EXPECT_EQ(node.look(500), DiskLevel::closed) << "temporary files went, and would come back";
  EXPECT_EQ(node.end, EndSessions::all);
  EXPECT_EQ(node.look(500, HostRoom::enough, 4000), DiskLevel::roomy);
  node.look(1001);
  EXPECT_EQ(node.look(992, HostRoom::enough, 4000), DiskLevel::closed) << "still all but used up";
  EXPECT_EQ(node.look(989), DiskLevel::full);
}

TEST(ClosedNode, IsStoppedIfItGrowsOn) {
  Node node;
  node.look(1001);
  EXPECT_EQ(node.look(1060), DiskLevel::closed);
  EXPECT_EQ(node.look(1070), DiskLevel::stopped);
  EXPECT_EQ(node.look(1070, HostRoom::enough, 29'000), DiskLevel::stopped);
  EXPECT_EQ(node.look(1070, HostRoom::enough, 2'000), DiskLevel::closed)
      << "its start removes temporary files";
  EXPECT_EQ(node.look(1080), DiskLevel::closed);
  EXPECT_EQ(node.look(1150), DiskLevel::stopped);
}

TEST(ALargerOrder, OpensAgain) {
  Node node;
  node.look(1001);
  const DiskVerdict verdict =
      judge_disk(node.state, {1001 * kMb, 2 * kOrder, HostRoom::enough, node.now_ms + 4000});
  EXPECT_EQ(verdict.state.level, DiskLevel::roomy);
}

TEST(HostRooms, HaveTwoMarksEach) {
  const uint64_t reserve = 100;
  struct Row {
    uint64_t free;
    HostRoom room;
  };
  const Row rows[] = {{200, HostRoom::enough},  {199, HostRoom::low},  {249, HostRoom::low},
                      {99, HostRoom::critical}, {149, HostRoom::critical}, {150, HostRoom::low},
                      {250, HostRoom::enough}};
  HostRoom room = HostRoom::enough;
  for (const Row& row : rows) {
    room = host_room(room, row.free, reserve);
    EXPECT_EQ(room, row.room) << row.free;
  }
  EXPECT_EQ(room_before_host_mark(HostRoom::enough, 500, reserve), 300u);
  EXPECT_EQ(room_before_host_mark(HostRoom::low, 150, reserve), 50u);
  EXPECT_EQ(default_reserve(1 << 30), 64 * kMb);
  EXPECT_EQ(default_reserve(50ull << 30), 1024 * kMb);
  EXPECT_EQ(default_reserve(10ull << 40), 2048 * kMb);
}

TEST(ALowHost, MakesFullWhoGrowsAndNobodyElse) {
  Node grows, rests;
  grows.look(100, HostRoom::low);
  rests.look(100, HostRoom::low);
  EXPECT_EQ(grows.look(115, HostRoom::low), DiskLevel::roomy);
  EXPECT_EQ(grows.look(117, HostRoom::low), DiskLevel::full);
  EXPECT_EQ(grows.end, EndSessions::writers);
  EXPECT_TRUE(grows.state.by_host);
  EXPECT_EQ(rests.look(101, HostRoom::low), DiskLevel::roomy);
  EXPECT_EQ(grows.look(117, HostRoom::low), DiskLevel::full);
  EXPECT_EQ(grows.look(117, HostRoom::enough), DiskLevel::roomy);
}

TEST(ACriticalHost, ClosesAllItsNodes) {
  Node node;
  EXPECT_EQ(node.look(10, HostRoom::critical), DiskLevel::closed);
  EXPECT_EQ(node.end, EndSessions::all);
  EXPECT_TRUE(node.state.by_host);
  EXPECT_EQ(node.look(10, HostRoom::critical), DiskLevel::closed);
  EXPECT_TRUE(node.state.by_host) << "nothing has changed";
  EXPECT_EQ(node.look(10, HostRoom::low), DiskLevel::closed);
  EXPECT_TRUE(node.state.by_host) << "it is closed for a while";
  EXPECT_EQ(node.look(10, HostRoom::low, 4000), DiskLevel::full) << "it was the host's room";
  EXPECT_EQ(node.look(10, HostRoom::enough), DiskLevel::roomy);
}

// The watch waits as long as the fastest writing takes to what is said here: it must never be more
// than what makes judge_disk() act.
TEST(RoomBeforeMark, IsNeverMoreThanWhatActs) {
  for (uint64_t start = 850; start < 1100; start += 7) {
    for (const HostRoom host : {HostRoom::enough, HostRoom::low}) {
      Node node;
      node.look(start, host);
      const uint64_t used = start * kMb;
      const uint64_t room = room_before_mark(node.state, used, kOrder);
      const DiskState before = node.state;
      const auto acts = [&](uint64_t growth) {
        const auto verdict = judge_disk(before, {used + growth, kOrder, host, node.now_ms + 10});
        return verdict.state.level != before.level || verdict.end != EndSessions::none;
      };
      EXPECT_TRUE(acts(room + 2 * kMb)) << start;
    }
  }
}

}  // namespace
}  // namespace trunkline::agent
