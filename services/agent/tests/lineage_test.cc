// Timelines: history files, positions, and what data may go on from which history.
#include "agent/domain/lineage.h"

#include <gtest/gtest.h>

namespace trunkline::agent {
namespace {

constexpr uint64_t kA = 0x3000000;
constexpr uint64_t kB = 0x5000000;

TEST(Lineage, PositionsAreRead) {
  EXPECT_EQ(parse_lsn("0/3000060"), 0x3000060u);
  EXPECT_EQ(parse_lsn("1A/FF"), 0x1A000000FFu);
  EXPECT_EQ(parse_lsn("nothing"), 0u);
  EXPECT_EQ(parse_lsn(""), 0u);
}

TEST(Lineage, HistoryFile) {
  const std::string file =
      "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tno recovery target specified\n";
  const std::vector<TimelineSwitch> want = {{2, kA}, {3, kB}};
  EXPECT_EQ(parse_history(file, 3), want);
  EXPECT_TRUE(parse_history("", 2).empty());
  EXPECT_TRUE(parse_history("garbage\n", 2).empty());
  EXPECT_EQ(history_file_name(26), "0000001A.history");
}

TEST(Lineage, ControlData) {
  const ControlData data = parse_control_data(
      "\nDatabase cluster state:               shut down\n"
      "Latest checkpoint location:           0/3000060\n"
      "Latest checkpoint's TimeLineID:       2\n"
      "Min recovery ending loc's timeline:   3\n"
      "max_connections setting:              100\nmax_worker_processes setting:         8\n");
  EXPECT_TRUE(data.shut_down);
  EXPECT_EQ(data.checkpoint_lsn, 0x3000060u);
  EXPECT_EQ(data.timeline, 2u);
  EXPECT_EQ(data.recovery_timeline, 3u);
  EXPECT_EQ(data.max_connections, 100u);
  EXPECT_EQ(data.max_worker_processes, 8u);
  EXPECT_FALSE(parse_control_data("\nDatabase cluster state: shut down in recovery\n").shut_down);
}

TEST(Lineage, RecordsEndBehindPageHeaders) {
  EXPECT_EQ(record_end(0x3000028, 114, kUsualSegment), 0x30000A0u);
  EXPECT_EQ(record_end(0x3001FC8, 114, kUsualSegment), 0x3002058u)
      << "24 bytes of header in between";
  EXPECT_EQ(record_end(0x3FFFFC8, 114, kUsualSegment), 0x4000068u)
      << "40 at the beginning of a segment";
  EXPECT_EQ(record_end(0x33FFFC8, 114, kUsualSegment), 0x3400058u);
  EXPECT_EQ(record_end(0x33FFFC8, 114, uint64_t{4} << 20), 0x3400068u);
}

TEST(Lineage, NamesOfSegments) {
  EXPECT_EQ(segment_name(1, 0x3000060, kUsualSegment), "000000010000000000000003");
  EXPECT_EQ(segment_name(26, 0x1FF000000, kUsualSegment), "0000001A00000001000000FF");
  EXPECT_EQ(segment_name(1, 0x3000060, uint64_t{4} << 20), "00000001000000000000000C");
  EXPECT_EQ(segment_name(1, 0x2FFFFFFFF, uint64_t{4} << 20), "0000000100000002000003FF");
  EXPECT_EQ(segment_name(1, 0x2FFFFFFFF, uint64_t{1} << 20), "000000010000000200000FFF");
  EXPECT_TRUE(is_segment_name("0000001A00000001000000FF"));
  EXPECT_FALSE(is_segment_name("0000001A.history"));
  EXPECT_FALSE(is_segment_name("0000001A0000000100000xFF"));
}

TEST(Lineage, TimelineOfTheSegmentBeforeAPosition) {
  const std::vector<std::string> names = {"000000010000000000000003", "000000020000000000000003",
                                          "000000030000000000000004", "00000002.history"};
  EXPECT_EQ(timeline_of_segment(names, 0x3000060, kUsualSegment), 2u);
  EXPECT_EQ(timeline_of_segment(names, 0x4000000, kUsualSegment), 2u)
      << "the byte before it counts";
  EXPECT_EQ(timeline_of_segment(names, 0x4000001, kUsualSegment), 3u);
  EXPECT_EQ(timeline_of_segment(names, 0x9000000, kUsualSegment), 0u);
  EXPECT_EQ(timeline_of_segment(names, 0, kUsualSegment), 0u);
  EXPECT_EQ(timeline_of_segment({"00000004000000000000000C"}, 0x3000060, uint64_t{4} << 20), 4u);
}

TEST(Lineage, WhatMayGoOn) {
  struct Row {
    const char* what;
    std::vector<TimelineSwitch> own;
    uint32_t timeline;
    uint64_t end;
    bool exact;
    std::vector<TimelineSwitch> assigned;
    Lineage want;
  };
  const Row rows[] = {
      {"no history", {}, 1, kB, true, {}, Lineage::follows},
      {"ended before the switch", {}, 1, kA - 8, true, {{2, kA}}, Lineage::follows},
      {"ended at the switch", {}, 1, kA, true, {{2, kA}}, Lineage::follows},
      {"ended behind the switch", {}, 1, kA + 8, true, {{2, kA}}, Lineage::rewind},
      {"may have ended later", {}, 1, kA - 8, false, {{2, kA}}, Lineage::rewind},
      {"on the newest", {{2, kA}}, 2, kB, true, {{2, kA}}, Lineage::follows},
      {"second switch", {{2, kA}}, 2, kB + 8, true, {{2, kA}, {3, kB}}, Lineage::rewind},
      {"timeline nobody knows", {{2, kA}}, 2, kB, true, {}, Lineage::newer},
      {"newer than all", {{2, kA}, {4, kB}}, 4, kB, true, {{2, kA}}, Lineage::newer},
      {"other place", {{2, kA + 8}}, 2, kB, true, {{2, kA}}, Lineage::replace},
      {"number that the group skipped", {{2, kA}}, 2, kB, true, {{3, kA}}, Lineage::replace},
      {"switch over a number", {}, 1, kA, true, {{3, kA}}, Lineage::follows},
      {"its history file is gone", {}, 3, kB, true, {{2, kA}}, Lineage::replace},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(compare_lineage(row.own, row.timeline, row.end, row.exact, row.assigned), row.want)
        << row.what;
  }
}

}  // namespace
}  // namespace trunkline::agent
