// Tenants that want the whole disk. A GB of an order is 64 MB here.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "agent/tests/test_host.h"
#include "base/digest.h"
#include "runtime/random.h"

namespace trunkline::agent::testing {

inline constexpr char kHogPassword[] = "secret-hog-1";
// Undone by a session is what only starts read-only.
inline constexpr char kWriting[] = "options='-c default_transaction_read_only=off'";

// A file system of its own for a platform's hosts, which holds so many files (0: none is made). It
// is seen by this thread and what it starts, and goes with them.
struct SmallDisk {
  SmallDisk(const TestPlatform& platform, uint64_t files) {
    if (files == 0 || ::geteuid() != 0 || ::unshare(CLONE_NEWNS) != 0) return;
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    path = platform.home() + "/hosts";
    ::mkdir(path.c_str(), 0711);
    const std::string options = "mode=0711,size=9g,nr_inodes=" + std::to_string(files);
    made = ::mount("tmpfs", path.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (made) ::umount2(path.c_str(), MNT_DETACH);
  }
  std::string path;
  bool made = false;
};

class DiskTest : public ::testing::Test {
 protected:
  explicit DiskTest(uint64_t files = 0) : disk_(platform_, files) {
    HostOptions options = host_.options();
    options.disk_unit_mb = 64;
    host_.start_agent(options);
  }
  TestNode tenant() {
    TestNode node = make_node(host_);
    order_box(host_, node);
    order_primary(host_, node);
    v1::ApplyObjects objects;
    objects.set_objects_version(1);
    auto& user = *objects.add_users();
    user.set_user_id(runtime::new_uuid());
    user.set_name("hog");
    user.set_scram_verifier(scram_sha256_verifier(kHogPassword, runtime::random_bytes(16), 4096));
    auto& database = *objects.add_databases();
    database.set_database_id(runtime::new_uuid());
    database.set_name("crm");
    database.set_owner_id(user.user_id());
    order_objects(host_, node, objects);
    EXPECT_TRUE(host_.await_node(node.id, [](const auto& n) {
      return n.objects().state() == v1::TASK_STATE_SUCCEEDED && n.disk().used_bytes() > 0;
    }));
    return node;
  }
  static std::string run(const TestNode& node, const std::string& sql,
                         const std::string& extra = kWriting) {
    return as_client(node, "hog", kHogPassword, "crm", sql, extra);
  }
  // The statement that is under way when the disk turns full is ended; the next ones are refused.
  // `most`: bytes that are never reached.
  bool write_until_refused(const TestNode& node, const std::string& sql, uint64_t most) {
    std::string error;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (error.find("read-only") == std::string::npos) {
      if (used(node).bytes >= most || std::chrono::steady_clock::now() > until) return false;
      error = run(node, sql, "");
    }
    return true;
  }
  DiskAmount used(const TestNode& node) {
    NodeUser user = find_node_user(host_.options().node_user);
    user.uid = user.gid = server_user(host_, node);
    const AsNodeUser rights(user);
    return measure_node(host_.node(node.id)).used;
  }
  bool await_level(const TestNode& node, v1::DiskLevel level) {
    return host_.await_node(node.id, [&](const auto& n) { return n.disk().level() == level; });
  }

  TestPlatform platform_;
  SmallDisk disk_;
  TestHost host_{platform_, "host-a", "127.31.77.18"};
};

}  // namespace trunkline::agent::testing
