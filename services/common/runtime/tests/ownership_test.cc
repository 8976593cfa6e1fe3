// One owner at a time, with a real database: take, renew, give away, take over.
#include "runtime/ownership.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <pqxx/pqxx>
#include <thread>

#include "runtime/random.h"
#include "testing/temp_servers.h"

namespace trunkline::runtime {
namespace {

using std::chrono::seconds;

// ---- the clock alone -----------------------------------------------------------------------

TimePoint at(double s) { return from_unix_us(static_cast<int64_t>(s * 1e6)); }

TEST(OwnershipClock, a_row_is_taken_when_it_was_seen_unchanged_for_long_enough) {
  OwnershipClock clock;
  EXPECT_FALSE(clock.may_take(at(100))) << "nothing was seen";
  clock.saw({"a", 1}, at(100));
  EXPECT_FALSE(clock.may_take(at(104.9)));
  clock.saw({"a", 1}, at(104.9));
  EXPECT_TRUE(clock.may_take(at(105)));
  clock.saw({"a", 2}, at(105));
  EXPECT_FALSE(clock.may_take(at(109.9)));
  clock.saw({"", 3}, at(110));
  EXPECT_TRUE(clock.may_take(at(110))) << "released";
}

TEST(OwnershipClock, what_is_owned_runs_out_before_another_may_take_it) {
  OwnershipClock clock;
  EXPECT_FALSE(clock.owns(at(1)));
  clock.owned_since(at(1));
  EXPECT_EQ(clock.left(at(2)), milliseconds(3000));
  EXPECT_TRUE(clock.owns(at(4.9)));
  EXPECT_FALSE(clock.owns(at(5)));
  EXPECT_EQ(clock.left(at(5)), milliseconds(0));
  EXPECT_LT(kOwnershipLasts, kTakeOverAfter);
  clock.owned_since(at(6));
  clock.lost();
  EXPECT_FALSE(clock.owns(at(6)));
}

// ---- with a database -----------------------------------------------------------------------

class Owner {
 public:
  explicit Owner(const testing::TempPostgres& postgres, std::function<int64_t()> position = {})
      : ownership(postgres.dsn("trunkline_log", "tl_replication"), "replication") {
    ownership.start({.position = position ? position : [] { return int64_t{1'000'000}; },
                     .on_change = [this](bool owned) {
                       const std::lock_guard lock(mutex_);
                       owned_ = owned;
                       wake_.notify_all();
                     }});
  }
  ~Owner() { ownership.stop(); }
  bool becomes(bool owned, seconds patience = seconds(60)) {
    std::unique_lock lock(mutex_);
    return wake_.wait_for(lock, patience, [&] { return owned_ == owned; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool owned_ = false;

 public:
  Ownership ownership;
};

class OwnershipTest : public ::testing::Test {
 protected:
  OwnershipTest() { postgres_.create_platform_databases(); }
  testing::TempPostgres postgres_;
};

TEST_F(OwnershipTest, one_of_two_owns_and_a_clean_stop_hands_over_at_once) {
  auto first = std::make_unique<Owner>(postgres_);
  ASSERT_TRUE(first->becomes(true));
  Owner second(postgres_);
  EXPECT_TRUE(first->ownership.owns());
  EXPECT_FALSE(second.ownership.owns());
  const TimePoint released_at = monotonic_now();
  first.reset();
  ASSERT_TRUE(second.becomes(true));
  EXPECT_GE(second.ownership.since(), released_at);
  EXPECT_LE(second.ownership.left(), kOwnershipLasts);
}

TEST_F(OwnershipTest, a_silent_owner_is_taken_over_after_five_seconds_and_notices) {
  postgres_.execute("trunkline_log",
                    "INSERT INTO log.ownership VALUES "
                    "('replication', '00000000-0000-4000-8000-000000000001', 7)");
  const TimePoint began = monotonic_now();
  Owner owner(postgres_);
  ASSERT_TRUE(owner.becomes(true));
  EXPECT_GE(owner.ownership.since() - began, kTakeOverAfter);
  const TimePoint since = owner.ownership.since();
  postgres_.execute("trunkline_log",
                    "UPDATE log.ownership SET owner = '00000000-0000-4000-8000-000000000002'");
  ASSERT_TRUE(owner.becomes(false));
  EXPECT_FALSE(owner.ownership.owns());
  ASSERT_TRUE(owner.becomes(true)) << "the thief never renews";
  EXPECT_GT(owner.ownership.since(), since);
}

TEST_F(OwnershipTest, runs_out_when_the_database_is_away_and_begins_anew) {
  Owner owner(postgres_);
  ASSERT_TRUE(owner.becomes(true));
  const TimePoint since = owner.ownership.since();
  postgres_.crash();
  ASSERT_TRUE(owner.becomes(false));
  postgres_.restart();
  ASSERT_TRUE(owner.becomes(true));
  EXPECT_GT(owner.ownership.since(), since) << "it was interrupted";
}

TEST_F(OwnershipTest, nothing_is_owned_before_the_log_is_folded) {
  postgres_.execute("trunkline_log",
                    "INSERT INTO log.event VALUES (42, 'x-y', 1, 't', 1, '', "
                    "'00000000-0000-4000-8000-000000000001', '', '', '', '', 0, '', '')");
  std::atomic<int64_t> position{41};
  std::atomic<int> asked{0};
  Owner owner(postgres_, [&] {
    ++asked;
    return position.load();
  });
  while (asked < 3) std::this_thread::yield();
  EXPECT_FALSE(owner.ownership.owns());
  position = 42;
  EXPECT_TRUE(owner.becomes(true));
}

TEST_F(OwnershipTest, only_the_services_role_may_own_it) {
  const auto take = [&](const std::string& role, const std::string& name) {
    pqxx::connection connection(postgres_.dsn("trunkline_log", role));
    pqxx::nontransaction(connection)
        .exec("SELECT log.take_ownership('" + name +
              "', '00000000-0000-4000-8000-000000000001', NULL, 0)");
  };
  EXPECT_THROW(take("tl_reader", "replication"), pqxx::insufficient_privilege);
  EXPECT_THROW(take("tl_provisioner", "replication"), pqxx::insufficient_privilege);
  EXPECT_THROW(take("tl_replication", "provisioner"), pqxx::insufficient_privilege);
  EXPECT_NO_THROW(take("tl_replication", "replication"));
}

}  // namespace
}  // namespace trunkline::runtime
