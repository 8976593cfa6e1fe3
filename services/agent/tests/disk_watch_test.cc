// How nodes are measured: in slices, and none of them for long.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>

#include "agent/io/disk_watch.h"
#include "agent/io/file_ops.h"

namespace trunkline::agent {
namespace {

using Clock = NodeWalk::Clock;

class Measured : public ::testing::Test {
 protected:
  Measured() {
    char name[] = "/tmp/disk-watch-test-XXXXXX";
    if (::mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
    root_ = name;
    paths_.nodes_dir = root_;
  }
  ~Measured() override { remove_tree(root_); }

  NodePaths node(const std::string& id, int files) {
    NodePaths paths = node_paths(paths_, id);
    ::mkdir(paths.dir.c_str(), 0700);
    ::mkdir(paths.data.c_str(), 0700);
    for (int i = 0; i < files; ++i) make(paths.data + "/" + std::to_string(i));
    return paths;
  }
  static void make(const std::string& path, size_t bytes = 0) {
    const Fd fd(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    const std::string content(bytes, 'x');
    ASSERT_EQ(::write(fd.get(), content.data(), bytes), static_cast<ssize_t>(bytes)) << path;
  }

  AgentPaths paths_;
  std::string root_;
};

TEST_F(Measured, InSlicesAsAtOnce) {
  const NodePaths paths = node("a", 1'000);
  ::mkdir((paths.data + "/base").c_str(), 0700);
  make(paths.data + "/base/pgsql_tmp17.0", 100'000);
  make(paths.data + "/base/pgsql_tmp17.1");
  make(paths.log, 40'000);
  for (const std::string& copy : {paths.incoming, paths.old, paths.forked}) {
    ::mkdir(copy.c_str(), 0700);
    make(copy + "/1", 100'000);
  }
  NodeWalk walk(paths);
  int slices = 1;
  uint64_t before = 0;
  while (!walk.go_on(Clock::now())) {
    EXPECT_GE(walk.counted().used.files, before);
    before = walk.counted().used.files;
    ++slices;
  }
  EXPECT_GT(slices, 10);
  const DiskUse use = measure_node(paths);
  EXPECT_EQ(walk.counted().used, use.used);
  EXPECT_EQ(use.used.files, 1'000u + 2 + 1 + 2) << "with the log and two directories";
  EXPECT_GE(use.used.bytes, 140'000u);
  EXPECT_LT(use.used.bytes, 240'000u) << "the agent's copies do not count";
  EXPECT_GE(use.total, 440'000u);
  EXPECT_GE(use.log, 40'000u);
  EXPECT_EQ(use.temporary, std::vector<pid_t>{17});
}

TEST_F(Measured, ALinkLeadsNowhere) {
  const NodePaths paths = node("a", 0);
  ASSERT_EQ(::symlink("/usr", (paths.data + "/out").c_str()), 0);
  EXPECT_EQ(measure_node(paths).used.files, 2u);
}

TEST_F(Measured, ATreeWithoutEndIsTakenForFull) {
  const NodePaths paths = node("a", 0);
  std::string path = paths.data;
  for (int i = 0; i < 100; ++i) ::mkdir((path += "/d").c_str(), 0700);
  EXPECT_GT(measure_node(paths).used.files, 1u << 30);
}

struct Told {
  std::mutex mutex;
  std::condition_variable changed;
  std::string order;  // of who was told of

  std::function<void()> of(char who) {
    return [this, who] {
      const std::lock_guard lock(mutex);
      order += who;
      changed.notify_all();
    };
  }
  std::string await(size_t count) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(20), [&] { return order.size() >= count; });
    return order;
  }
};

TEST_F(Measured, NoNodeWaitsForAnothersFiles) {
  const NodePaths large = node("a", 20'000), small = node("b", 10);
  std::string order;
  // Again where this thread came too late: the large one was measured before it said the second.
  for (int tries = 0; tries < 20 && order != "bb"; ++tries) {
    Told told;
    DiskWatch watch(root_, 1);
    watch.follow({"b", small, {}, 1, 1ull << 40, told.of('b')});
    ASSERT_EQ(told.await(1), "b");
    watch.follow({"a", large, {}, 1, 1ull << 40, told.of('a')});
    // What is told of a node that is known is its level, which a smaller order changes.
    watch.follow({"b", small, {}, 1, 1'000, told.of('b')});
    order = told.await(3).substr(0, 2);
  }
  EXPECT_EQ(order, "bb") << "the small one is measured while the large one is";
}

TEST_F(Measured, AWalkThatGoesOnCountsByWhatItHasSeen) {
  if (file_system_of(root_).total.files == 0) GTEST_SKIP() << "the file system counts no files";
  Told told;
  const NodePaths paths = node("a", 20'000);
  DiskWatch watch(root_, 1);
  watch.follow({"a", paths, {}, 1, 64ull << 20, told.of('a')});
  // At each level on the way that a slice ends at, and when all is known.
  DiskSeen seen;
  for (size_t i = 1; !seen.known && i < 10; ++i) {
    EXPECT_GE(told.await(i).size(), i);
    seen = watch.seen("a");
  }
  EXPECT_TRUE(seen.known);
  EXPECT_GE(told.await(2).size(), 2u) << "closed, and then known";
  EXPECT_EQ(seen.order.files, 16'384u);
  EXPECT_EQ(seen.state.measure(), DiskMeasure::files);
  EXPECT_EQ(seen.state.level(), DiskLevel::closed);
}

}  // namespace
}  // namespace trunkline::agent
