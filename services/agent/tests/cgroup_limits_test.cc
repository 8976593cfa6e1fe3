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
