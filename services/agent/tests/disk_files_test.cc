// A tenant that wants all files of a file system, on real servers and a disk that counts few.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "agent/tests/disk_fixture.h"

namespace trunkline::agent::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kManyTables[] =
    "do $$ begin for i in 1..500 loop"
    " execute format('create table z%s_%s()', pg_backend_pid(), i); end loop; end $$";

// Sessions that do the same again and again; as each ends, for whatever reason.
class Sessions {
 public:
  using Run = std::function<void(const std::string&)>;
  Sessions(const std::vector<std::string>& ways, const Run& run) {
    for (const std::string& sql : ways) {
      threads_.emplace_back([this, sql, run] {
        while (!over_) run(sql);
      });
    }
  }
  // `cut` ends what has just begun.
  void end(const std::function<void()>& cut) {
    over_ = true;
    std::atomic<bool> joined{false};
    std::thread cutter([&] {
      while (!joined) {
        try {
          cut();
        } catch (const std::exception&) {
          ::usleep(100'000);  // the server may be closed just now
        }
        ::usleep(50'000);
      }
    });
    for (auto& thread : threads_) thread.join();
    joined = true;
    cutter.join();
  }

 private:
  std::atomic<bool> over_{false};
  std::vector<std::thread> threads_;
};

class FilesTest : public DiskTest {
 protected:
  explicit FilesTest(uint64_t files) : DiskTest(files) {}
  void SetUp() override {
    if (!disk_.made) GTEST_SKIP() << "only root can mount file systems";
  }
  FileSystem disk() const { return file_system_of(disk_.path); }
  void cut(const TestNode& node) {
    query(host_, node,
          "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'hog'");
  }
};

struct ManyFiles : FilesTest {
  ManyFiles() : FilesTest(40'000) {}
};
struct FewFiles : FilesTest {
  FewFiles() : FilesTest(24'000) {}
};

// The ways to make files that cost the fewest bytes each.
TEST_F(ManyFiles, NoSessionOutrunsTheWatch) {
  const TestNode hog = tenant(), neighbour = tenant();
  const std::string started = value(host_, hog, "select pg_postmaster_start_time()");
  ASSERT_EQ(run(hog, "create table old(x int)"), "");
  const uint64_t share = files_of_order(512ull << 20, disk());
  Sessions sessions({kManyTables,
                     "do $$ begin for i in 1..3000 loop"
                     " execute format('create table y%s_%s()', pg_backend_pid(), i); end loop;"
                     " perform pg_sleep(60); end $$",
                     "do $$ begin for i in 1..1000000 loop"
                     " begin truncate old; exception when others then raise; end; end loop; end $$",
                     "create temporary table t(x int) on commit delete rows; do $$ begin"
                     " for i in 1..1000000 loop truncate t; commit; end loop; end $$"},
                    [&](const std::string& sql) { run(hog, sql); });
  uint64_t most = 0, least_free = UINT64_MAX;
  double longest_s = 0;
  int made = 0;
  const auto began = Clock::now();
  while (Clock::now() < began + (most > share / 100 * 95 ? seconds(12) : seconds(60))) {
    most = std::max(most, used(hog).files);
    least_free = std::min(least_free, disk().free.files);
    const auto asked = Clock::now();
    EXPECT_EQ(run(neighbour, "create table mine" + std::to_string(made++) + "(x int)"), "");
    longest_s = std::max(longest_s, std::chrono::duration<double>(Clock::now() - asked).count());
    ::usleep(20'000);
  }
  sessions.end([&] { cut(hog); });
  std::printf("most: %lu files of %lu; %lu were free at least; the neighbour waited %.3f s\n", most,
              share, least_free, longest_s);
  EXPECT_GT(most, share / 100 * 95) << "nobody came near the limit: this tests nothing";
  EXPECT_LT(most, share / 100 * 120);
  EXPECT_GT(least_free, default_reserve(disk()).files);
  EXPECT_EQ(value(host_, hog, "select pg_postmaster_start_time()"), started);
}

TEST_F(ManyFiles, ATenantMakesRoomAndWritesAgain) {
  const TestNode node = tenant();
  EXPECT_TRUE(write_until_refused(node, kManyTables, 512ull << 20));
  ASSERT_TRUE(host_.await_node(node.id, [](const auto& n) {
    return n.writes().why() == "files_full" && n.ensure().failure().code() == "disk_full";
  }));
  EXPECT_NE(host_.newest_node(node.id).ensure().failure().message().find(
                "of 16384 files, the most for its disk_size"),
            std::string::npos);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(run(node, "do $$ declare t text; begin for t in select oid::regclass from pg_class"
                        " where relname like 'z%' and relkind = 'r' limit 500"
                        " loop execute 'drop table ' || t; end loop; end $$"),
              "");
  }
  ASSERT_TRUE(host_.await_node(node.id, [](const auto& n) {
    return n.disk().level() == v1::DISK_LEVEL_ROOMY && !n.has_writes() &&
           !n.ensure().has_failure();
  })) << "what is dropped is gone with the next checkpoint";
  const auto until = Clock::now() + seconds(5);
  std::string error = "not asked";
  while (!error.empty() && Clock::now() < until) error = run(node, kManyTables, "");
  EXPECT_EQ(error, "");
}

TEST_F(FewFiles, AHostThatIsShortOfThemStopsWhoMakesThem) {
  const TestNode hog = tenant(), neighbour = tenant();
  tenant();
  const uint64_t reserve = default_reserve(disk()).files;
  Sessions sessions({kManyTables, kManyTables},
                    [&](const std::string& sql) { run(hog, sql); });
  EXPECT_TRUE(host_.await_node(hog.id, [](const auto& n) {
    return n.writes().why() == "host_files_full" && n.disk().host();
  })) << "the host is low before its order's files are used up";
  uint64_t least_free = UINT64_MAX;
  for (int i = 0; i < 50; ++i) {
    least_free = std::min(least_free, disk().free.files);
    EXPECT_EQ(run(neighbour, "create table mine" + std::to_string(i) + "(x int)"), "");
    ::usleep(50'000);
  }
  EXPECT_EQ(run(neighbour, "vacuum full"), "");
  EXPECT_GT(least_free, reserve);
  EXPECT_EQ(host_.newest_node(neighbour.id).disk().level(), v1::DISK_LEVEL_ROOMY);
  EXPECT_NE(host_.newest_node(hog.id).ensure().failure().message().find("files"),
            std::string::npos);
  EXPECT_GT(host_.newest().files_free(), reserve);
  v1::ApplyObjects objects;
  objects.set_objects_version(2);
  auto& user = *objects.add_users();
  user.set_user_id(runtime::new_uuid());
  user.set_name("newcomer");
  user.set_scram_verifier(scram_sha256_verifier("secret-new-1", runtime::random_bytes(16), 4096));
  order_objects(host_, neighbour, objects);
  EXPECT_TRUE(host_.await_node(neighbour.id, [](const auto& n) {
    return n.objects().generation() == 2 && n.objects().state() == v1::TASK_STATE_SUCCEEDED;
  })) << "manifests are written";
  sessions.end([&] { cut(hog); });
  std::printf("%lu of %lu files were free at least\n", least_free, disk().total.files);
}

}  // namespace
}  // namespace trunkline::agent::testing
