// A node's log, read on from a place, also when it is emptied again and again meanwhile.
#include "agent/io/node_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/io/file_ops.h"

namespace trunkline::agent {
namespace {

class NodeLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/node-log-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string path() const { return dir_ + "/postgres.log"; }
  void write(const std::string& text) {
    std::ofstream(path(), std::ios::app | std::ios::binary) << text;
  }
  v1::NodeLogAnswer read(const v1::NodeLogRequest& request) {
    return read_node_log(path(), user_, request);
  }
  v1::NodeLogAnswer newest(uint32_t lines) {
    v1::NodeLogRequest request;
    request.set_last_lines(lines);
    return read(request);
  }
  // All there is behind a place, which moves on.
  std::string rest(v1::LogPlace* place) {
    std::string out;
    while (true) {
      v1::NodeLogRequest request;
      *request.mutable_from() = *place;
      const auto answer = read(request);
      if (answer.next().offset() == place->offset()) return out;
      out += answer.text();
      *place = answer.next();
    }
  }
  bool empty(size_t limit, size_t kept) { return empty_node_log(path(), user_, limit, kept); }

  NodeUser user_;
  std::string dir_;
};

std::string line(int number) { return "line " + std::to_string(number) + "\n"; }

TEST_F(NodeLogTest, NewestLinesAndWhatComesAfterThem) {
  EXPECT_EQ(newest(5).text(), "");
  write("one\ntwo\nthr");
  const auto first = newest(1);
  EXPECT_EQ(first.text(), "two\n");
  v1::LogPlace place = first.next();
  EXPECT_EQ(rest(&place), "");
  write("ee\nfour\n");
  EXPECT_EQ(rest(&place), "three\nfour\n");
  EXPECT_EQ(rest(&place), "");
}

TEST_F(NodeLogTest, NothingIsLostOrDoubledWhenItIsEmptied) {
  v1::LogPlace place = newest(0).next();
  std::string written, got;
  int emptied = 0;
  for (int i = 0; i < 2'000; ++i) {
    written += line(i);
    write(line(i));
    if (i % 7 == 0) got += rest(&place);
    if (i % 3 == 0 && empty(500, 400)) ++emptied;
  }
  got += rest(&place);
  EXPECT_GT(emptied, 10);
  EXPECT_LT(file_bytes(path()), 600u);
  EXPECT_EQ(got, written);
}

TEST_F(NodeLogTest, EmptiedWithinALine) {
  v1::LogPlace place = newest(0).next();
  write("one\nhalf of");
  ASSERT_TRUE(empty(5, 100));
  write(" a line\nthree\n");
  EXPECT_EQ(rest(&place), "one\nhalf of a line\nthree\n");
}

TEST_F(NodeLogTest, WhoIsTooFarBehindGoesOnWithAWholeLine) {
  v1::LogPlace place = newest(0).next();
  for (int i = 0; i < 100; ++i) write(line(i));
  ASSERT_TRUE(empty(100, 20));
  write(line(100));
  EXPECT_EQ(rest(&place), line(98) + line(99) + line(100));
}

TEST_F(NodeLogTest, APlaceOfAnotherLogIsItsBeginning) {
  write("one\n");
  for (const auto& [generation, offset] : {std::pair{"0", 2}, std::pair{"1", 1'000}}) {
    v1::LogPlace place;
    place.set_generation(generation);
    place.set_offset(static_cast<uint64_t>(offset));
    EXPECT_EQ(rest(&place), "one\n") << generation;
  }
}

TEST_F(NodeLogTest, IsLeftAloneWhileItIsShort) {
  write("one\n");
  EXPECT_FALSE(empty(4, 4));
  EXPECT_FALSE(exists(path() + ".1"));
}

}  // namespace
}  // namespace trunkline::agent
