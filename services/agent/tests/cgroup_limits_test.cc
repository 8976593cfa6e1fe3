// Control groups, on a directory that looks like the hierarchy.
#include "agent/io/cgroup_limits.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/io/file_ops.h"

namespace trunkline::agent {
namespace {

namespace fs = std::filesystem;

class CgroupTest : public ::testing::Test {
 protected:
  CgroupTest() {
    char name[] = "/tmp/agent-cgroup-XXXXXX";
    root_ = ::mkdtemp(name);
  }
  ~CgroupTest() override { fs::remove_all(root_); }
  void put(const std::string& file, const std::string& text = "") {
    fs::create_directories(fs::path(root_ + "/" + file).parent_path());
    std::ofstream(root_ + "/" + file) << text;
  }
  // A real hierarchy makes these files by itself.
  void put_group_files(const std::string& group, const std::vector<std::string>& files) {
    for (const auto& file : files) put(group + "/" + file);
  }
  std::string root_;
};

std::string group_below(const std::string& base) {
  for (const auto& entry : fs::directory_iterator(base + "/trunkline")) return entry.path();
  return "";
}

TEST_F(CgroupTest, SaysWhichControllerIsMissing) {
  put("cpu/cgroup.procs");
  const CgroupLimits limits(root_, "2:cpu:/\n", "/home");
  EXPECT_FALSE(limits.enforced());
  EXPECT_EQ(limits.note(), "the machine has no cgroup controller memory");
}

TEST_F(CgroupTest, V1LimitsBelowTheAgentsOwnGroup) {
  put("cpu/cgroup.procs");
  put("memory/cgroup.procs");
  CgroupLimits limits(root_, "4:memory:/outer/inner\n1:cpu,cpuacct:/\n", "/home");
  ASSERT_TRUE(limits.enforced()) << limits.note();
  const std::string cpu = group_below(root_ + "/cpu") + "/n";
  const std::string memory = group_below(root_ + "/memory/outer/inner") + "/n";
  fs::create_directories(cpu);
  fs::create_directories(memory);
  for (const auto& file : {"/cpu.cfs_period_us", "/cpu.cfs_quota_us"}) std::ofstream(cpu + file);
  std::ofstream(memory + "/memory.limit_in_bytes");
  const auto procs = limits.apply("n", {2, 1024, 8});
  EXPECT_EQ(procs, (std::vector<std::string>{cpu + "/cgroup.procs", memory + "/cgroup.procs"}));
  EXPECT_EQ(read_file(cpu + "/cpu.cfs_quota_us"), "200000");
  EXPECT_EQ(read_file(memory + "/memory.limit_in_bytes"), std::to_string(uint64_t{1126} << 20));
}

TEST_F(CgroupTest, V2PassesControllersOn) {
  put("cgroup.controllers", "cpu memory");
  put("cgroup.subtree_control");
  put("trunkline/cgroup.subtree_control");
  const std::string own = ::geteuid() == 0 ? "" : "";
  CgroupLimits probe(root_, "0::/\n", "/home");
  EXPECT_FALSE(probe.enforced()) << "the group of this home has no file to pass controllers on";
  const std::string group = group_below(root_ + own);
  std::ofstream(group + "/cgroup.subtree_control");
  CgroupLimits limits(root_, "0::/\n", "/home");
  ASSERT_TRUE(limits.enforced()) << limits.note();
  fs::create_directories(group + "/n");
  for (const auto& file : {"/cpu.max", "/memory.max"}) std::ofstream(group + "/n" + file);
  EXPECT_EQ(limits.apply("n", {1, 512, 8}).size(), 1u);
  EXPECT_EQ(read_file(group + "/n/cpu.max"), "100000 100000");
  EXPECT_EQ(read_file(root_ + "/cgroup.subtree_control"), "+cpu +memory");
}

// Nodes can be ordered with more than the host has; the platform's part is not theirs.
TEST_F(CgroupTest, AllNodesTogetherLeaveTheHostAReserve) {
  put("cpu/cgroup.procs");
  put("memory/cgroup.procs");
  CgroupLimits limits(root_, "4:memory:/\n1:cpu:/\n", "/home");
  ASSERT_TRUE(limits.enforced()) << limits.note();
  const std::string host = group_below(root_ + "/memory");
  put_group_files(host.substr(root_.size() + 1), {"memory.limit_in_bytes", "memory.use_hierarchy"});
  limits.limit_host(8192);
  EXPECT_EQ(read_file(host + "/memory.limit_in_bytes"), std::to_string(uint64_t{7680} << 20));
  EXPECT_EQ(read_file(host + "/memory.use_hierarchy"), "1");
  put_group_files(host.substr(root_.size() + 1) + "/n", {"memory.limit_in_bytes"});
  limits.apply("n", {1, 8192, 8});
  EXPECT_EQ(read_file(host + "/n/memory.limit_in_bytes"), std::to_string(uint64_t{7680} << 20));
  put_group_files(host.substr(root_.size() + 1) + "/n", {"memory.limit_in_bytes"});  // emptied
  limits.apply("n", {1, 512, 8});
  EXPECT_EQ(read_file(host + "/n/memory.limit_in_bytes"), std::to_string(uint64_t{576} << 20));
}

TEST(CgroupReal, TheHostsLimitIsThereAgainAfterTheLastNode) {
  CgroupLimits limits("/sys/fs/cgroup", read_file("/proc/self/cgroup").value_or(""),
                      "/agent-test-host-" + std::to_string(::getpid()));
  if (!limits.enforced()) GTEST_SKIP() << limits.note();
  limits.limit_host(1024);
  for (const std::string node : {"one", "two"}) {
    const auto procs = limits.apply(node, {1, 512, 8});
    ASSERT_FALSE(procs.empty());
    // Of v2 the only one, of v1 that of memory.
    const fs::path group = fs::path(procs.back()).parent_path();
    bool is_limited = false;
    for (const char* file : {"/memory.max", "/memory.limit_in_bytes"}) {
      const auto host = read_file(group.parent_path().string() + file);
      const auto own = read_file(group.string() + file);
      if (!host || !own) continue;
      is_limited = true;
      EXPECT_EQ(*host, std::to_string(uint64_t{768} << 20) + "\n");
      EXPECT_EQ(*own, std::to_string(uint64_t{576} << 20) + "\n");
    }
    EXPECT_TRUE(is_limited);
    limits.remove(node);
  }
}

TEST(CgroupReal, GroupsComeAndGo) {
  CgroupLimits limits("/sys/fs/cgroup", read_file("/proc/self/cgroup").value_or(""),
                      "/agent-test-" + std::to_string(::getpid()));
  if (!limits.enforced()) GTEST_SKIP() << limits.note();
  const auto procs = limits.apply("node", {1, 512, 8});
  ASSERT_FALSE(procs.empty());
  for (const auto& file : procs) EXPECT_TRUE(exists(file)) << file;
  limits.remove("node");
  for (const auto& file : procs) {
    EXPECT_FALSE(exists(fs::path(file).parent_path().parent_path())) << file;
  }
}

}  // namespace
}  // namespace trunkline::agent
