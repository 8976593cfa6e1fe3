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
  const Row rows[] = {{200, HostRoom::enough}, {199, HostRoom::low},      {249, HostRoom::low},
                      {150, HostRoom::low},    {149, HostRoom::scarce},   {174, HostRoom::scarce},
                      {175, HostRoom::low},    {99, HostRoom::critical},  {149, HostRoom::critical},
                      {150, HostRoom::scarce}, {249, HostRoom::low},      {250, HostRoom::enough}};
  HostRoom room = HostRoom::enough;
  for (const Row& row : rows) {
    room = host_room(room, row.free, reserve);
    EXPECT_EQ(room, row.room) << row.free;
  }
  EXPECT_EQ(room_before_host_mark(HostRoom::enough, 500, reserve), 300u);
  EXPECT_EQ(room_before_host_mark(HostRoom::low, 180, reserve), 30u);
  EXPECT_EQ(room_before_host_mark(HostRoom::scarce, 140, reserve), 40u);
}

TEST(Reserve, IsAFiftiethWithinBounds) {
  struct Row {
    DiskAmount total, reserve;
  };
  const Row rows[] = {{{1ull << 30, 24'000}, {64 * kMb, 4'096}},
                      {{50ull << 30, 3'276'800}, {1024 * kMb, 65'536}},
                      {{10ull << 40, 700'000'000}, {2048 * kMb, 131'072}}};
  for (const Row& row : rows) EXPECT_EQ(default_reserve({row.total, {}}), row.reserve);
}

TEST(FilesOfAnOrder, AreItsPartOfTheFileSystems) {
  struct Row {
    const char* what;
    uint64_t order_gb;
    DiskAmount total;
    uint64_t files;
  };
  constexpr uint64_t kGb = 1ull << 30;
  const Row rows[] = {
      {"a file in 16 KB, as ext4 is made", 8, {256 * kGb, 16'777'216}, 524'288},
      {"fewer than a database needs are not given", 1, {256 * kGb, 262'144}, 16'384},
      {"a file in 512 bytes: one in a page is enough", 8, {256 * kGb, 512 * kMb}, 1'048'576},
      {"never what the host is low without", 8, {9 * kGb, 24'000}, 13'760},
      {"a file system without files to give", 8, {9 * kGb, 3'000}, 1},
      {"not counted", 8, {256 * kGb, 0}, 0},
      {"nothing ordered", 0, {256 * kGb, 16'777'216}, 16'384},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(files_of_order(row.order_gb * kGb, {row.total, row.total}), row.files) << row.what;
  }
}

struct Files {
  NodeDisk disk;
  int64_t now_ms = 1'000'000;
  EndSessions end = EndSessions::none;

  DiskLevel look(uint64_t files, HostRooms host = {}, uint64_t used_mb = 10) {
    now_ms += 10;
    const NodeVerdict verdict =
        judge_node(disk, {{used_mb * kMb, files}, {kOrder, 100'000}, host, now_ms});
    disk = verdict.disk;
    end = verdict.end;
    return disk.level();
  }
};

TEST(FilesOfANode, HaveTheLevelsOfBytes) {
  struct Row {
    uint64_t files;
    DiskLevel level;
    EndSessions end;
  };
  const Row rows[] = {{94'999, DiskLevel::roomy, EndSessions::none},
                      {95'000, DiskLevel::near_full, EndSessions::none},
                      {98'000, DiskLevel::full, EndSessions::writers},
                      {98'500, DiskLevel::full, EndSessions::none},
                      {98'501, DiskLevel::full, EndSessions::writers},
                      {100'000, DiskLevel::closed, EndSessions::all},
                      {105'000, DiskLevel::closed, EndSessions::all},
                      {105'001, DiskLevel::stopped, EndSessions::all}};
  Files node;
  for (const Row& row : rows) {
    EXPECT_EQ(node.look(row.files), row.level) << row.files;
    EXPECT_EQ(node.end, row.end) << row.files;
    if (row.level > DiskLevel::roomy) {
      EXPECT_EQ(node.disk.measure(), DiskMeasure::files);
    }
    EXPECT_FALSE(node.disk.by_host());
  }
}

TEST(TwoMeasures, TheWorseOneCounts) {
  Files node;
  EXPECT_EQ(node.look(96'000, {}, 985), DiskLevel::full);
  EXPECT_EQ(node.disk.measure(), DiskMeasure::bytes);
  EXPECT_EQ(node.look(100'000, {}, 985), DiskLevel::closed);
  EXPECT_EQ(node.disk.measure(), DiskMeasure::files);
  EXPECT_EQ(node.end, EndSessions::all);
}

TEST(AHostWithFewFiles, MakesFullWhoMakesMoreAndClosesAllAtItsReserve) {
  const HostRooms low{HostRoom::enough, HostRoom::low};
  Files makes, rests;
  makes.look(2'000, low);
  rests.look(2'000, low);
  EXPECT_EQ(makes.look(2'512, low), DiskLevel::roomy);
  EXPECT_EQ(makes.look(2'513, low), DiskLevel::full);
  EXPECT_EQ(makes.end, EndSessions::writers);
  EXPECT_TRUE(makes.disk.by_host());
  EXPECT_EQ(makes.disk.measure(), DiskMeasure::files);
  EXPECT_EQ(rests.look(2'300, low, 900), DiskLevel::roomy) << "bytes are there";
  EXPECT_EQ(rests.look(2'300, {HostRoom::enough, HostRoom::critical}), DiskLevel::closed);
}

TEST(FilesThatAreNotCounted, AreNobodysTrouble) {
  const FileSystem uncounted{{1ull << 40, 0}, {1ull << 39, 0}};
  const DiskAmount reserve = default_reserve(uncounted);
  EXPECT_EQ(host_rooms({}, uncounted, reserve), HostRooms{});
  EXPECT_EQ(room_before_host_marks({}, uncounted, reserve).files, UINT64_MAX);
  const NodeVerdict verdict = judge_node({}, {{kMb, 5'000'000}, {kOrder, 0}, {}, 1});
  EXPECT_EQ(verdict.disk.level(), DiskLevel::roomy);
  EXPECT_EQ(room_before_marks(verdict.disk, {kMb, 5'000'000}, {kOrder, 0}).files, UINT64_MAX);
}

TEST(HostRooms, AreOfEachMeasure) {
  const DiskAmount reserve{100, 10};
  const auto rooms = [&](uint64_t bytes, uint64_t files) {
    return host_rooms({}, {{1000, 100}, {bytes, files}}, reserve);
  };
  EXPECT_EQ(rooms(500, 50), HostRooms{});
  EXPECT_EQ(rooms(500, 19), (HostRooms{HostRoom::enough, HostRoom::low}));
  EXPECT_EQ(rooms(500, 9).worse(), HostRoom::critical);
  EXPECT_EQ(rooms(99, 50).worse(), HostRoom::critical);
  EXPECT_EQ(room_before_host_marks({}, {{1000, 100}, {500, 50}}, reserve), (DiskAmount{300, 30}));
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

TEST(AScarceHost, ClosesWhoHasGrownAndNobodyElse) {
  Node grows, rests;
  grows.look(100, HostRoom::low);
  rests.look(100, HostRoom::low);
  grows.look(117, HostRoom::low);
  EXPECT_EQ(grows.look(117, HostRoom::scarce), DiskLevel::closed);
  EXPECT_EQ(grows.end, EndSessions::all);
  EXPECT_EQ(rests.look(101, HostRoom::scarce), DiskLevel::roomy);
  grows.look(117, HostRoom::critical);
  rests.look(101, HostRoom::critical);
  EXPECT_EQ(grows.look(117, HostRoom::scarce, 4000), DiskLevel::closed);
  EXPECT_EQ(rests.look(101, HostRoom::scarce, 4000), DiskLevel::full);
  EXPECT_EQ(grows.look(117, HostRoom::low, 4000), DiskLevel::full);
}

// Its count goes on, which is no growth.
TEST(ANodeThatIsMeasuredForTheFirstTime, IsNotSeenToGrow) {
  const auto look = [](const DiskState& was, uint64_t used_mb, HostRoom host) {
    return judge_disk(was, {used_mb * kMb, kOrder, host, 5, DiskMeasure::bytes, true});
  };
  DiskState state;
  for (const uint64_t used_mb : {400, 985, 995, 1'010, 1'500}) {
    state = look(state, used_mb, HostRoom::enough).state;
    EXPECT_LT(state.level, DiskLevel::stopped) << used_mb;
  }
  EXPECT_EQ(state.level, DiskLevel::closed);
  EXPECT_EQ(judge_disk(state, {1'510 * kMb, kOrder, HostRoom::enough, 6}).state.level,
            DiskLevel::closed);
  EXPECT_EQ(judge_disk(state, {1'570 * kMb, kOrder, HostRoom::enough, 6}).state.level,
            DiskLevel::stopped);
  state = look({}, 0, HostRoom::low).state;
  state = look(state, 100, HostRoom::low).state;
  EXPECT_EQ(state.level, DiskLevel::roomy);
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

TEST(RoomBeforeMarks, IsOfFilesToo) {
  for (uint64_t start = 85'000; start < 110'000; start += 700) {
    for (const HostRoom host : {HostRoom::enough, HostRoom::low}) {
      Files node;
      node.look(start, {HostRoom::enough, host});
      const uint64_t room =
          room_before_marks(node.disk, {10 * kMb, start}, {kOrder, 100'000}).files;
      const DiskLevel before = node.disk.level();
      const DiskLevel after = node.look(start + room + 1, {HostRoom::enough, host});
      EXPECT_TRUE(after != before || node.end != EndSessions::none) << start;
    }
  }
}

}  // namespace
}  // namespace trunkline::agent
