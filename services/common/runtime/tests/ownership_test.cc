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
  clock.saw({"a", 1}, true, at(100));
  EXPECT_FALSE(clock.may_take(at(103.9)));
  clock.saw({"a", 1}, true, at(103.9));
  EXPECT_TRUE(clock.may_take(at(104)));
  clock.saw({"a", 2}, true, at(104));
  EXPECT_FALSE(clock.may_take(at(107.9)));
  clock.saw({"", 3}, false, at(108));
  EXPECT_TRUE(clock.may_take(at(108))) << "released";
}

TEST(OwnershipClock, an_owner_without_a_session_is_taken_over_soon) {
  OwnershipClock clock;
  clock.saw({"a", 1}, true, at(100));
  clock.saw({"a", 1}, false, at(100.2));
  EXPECT_FALSE(clock.may_take(at(100.69))) << "it may connect again";
  clock.saw({"a", 1}, true, at(100.4));
  EXPECT_FALSE(clock.may_take(at(100.7))) << "it did";
  clock.saw({"a", 1}, false, at(100.8));
  clock.saw_nothing();
  EXPECT_FALSE(clock.may_take(at(101.3))) << "the database was away";
  clock.saw({"a", 2}, false, at(101.4));
  clock.saw({"a", 2}, false, at(101.9));
  EXPECT_TRUE(clock.may_take(at(101.9)));
  EXPECT_EQ(clock.others_until(), at(101.4) + kOwnershipLasts)
      << "it may live, and act as long as its renewal lasts";
}

TEST(OwnershipClock, what_others_granted_is_over_before_a_silent_owner_is_taken_over) {
  OwnershipClock clock;
  clock.saw({"a", 1}, true, at(100));
  EXPECT_TRUE(clock.may_take(at(104)));
  EXPECT_LT(clock.others_until(), at(104));
  clock.saw({"", 2}, false, at(105));
  EXPECT_EQ(clock.others_until(), at(105) + kOwnershipLasts) << "who was before, nobody knows";
}

TEST(OwnershipClock, what_is_owned_runs_out_before_another_may_take_it) {
  OwnershipClock clock;
  EXPECT_FALSE(clock.owns(at(1)));
  clock.owned_since(at(1));
  EXPECT_EQ(clock.left(at(2)), milliseconds(2000));
  EXPECT_TRUE(clock.owns(at(3.9)));
  EXPECT_FALSE(clock.owns(at(4)));
  EXPECT_EQ(clock.left(at(4)), milliseconds(0));
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

// An owner that is connected and does nothing.
class HungOwner {
 public:
  explicit HungOwner(const testing::TempPostgres& postgres)
      : connection_(postgres.dsn("trunkline_log", "tl_replication")) {
    pqxx::nontransaction(connection_)
        .exec("SELECT pg_advisory_lock_shared(x'ABCDEF0100004000'::bigint)");
    postgres.execute("trunkline_log",
                     "INSERT INTO log.ownership VALUES "
                     "('replication', 'abcdef01-0000-4000-8000-000000000001', 7)");
  }

 private:
  pqxx::connection connection_;
};

TEST_F(OwnershipTest, a_silent_owner_is_taken_over_after_four_seconds_and_notices) {
  const HungOwner hung(postgres_);
  const TimePoint began = monotonic_now();
  Owner owner(postgres_);
  ASSERT_TRUE(owner.becomes(true));
  EXPECT_GE(owner.ownership.since() - began, kTakeOverAfter);
  const TimePoint since = owner.ownership.since();
  EXPECT_LT(owner.ownership.others_until(), since);
  postgres_.execute("trunkline_log",
                    "UPDATE log.ownership SET owner = '00000000-0000-4000-8000-000000000002'");
  ASSERT_TRUE(owner.becomes(false));
  EXPECT_FALSE(owner.ownership.owns());
  ASSERT_TRUE(owner.becomes(true)) << "the thief never renews";
  EXPECT_GT(owner.ownership.since(), since);
}

TEST_F(OwnershipTest, a_killed_owner_is_taken_over_at_once) {
  // Once of some times, so that a slow machine is not taken for a silent owner.
  bool was_quick = false;
  for (int round = 0; round < 5 && !was_quick; ++round) {
    auto killed = std::make_unique<HungOwner>(postgres_);
    Owner owner(postgres_);
    killed.reset();
    ASSERT_TRUE(owner.becomes(true));
    const TimePoint since = owner.ownership.since();
    const TimePoint others_until = owner.ownership.others_until();
    was_quick = others_until > since;
    owner.ownership.stop();
    postgres_.execute("trunkline_log", "DELETE FROM log.ownership");
  }
  EXPECT_TRUE(was_quick) << "only when it was silent for long enough";
}

TEST_F(OwnershipTest, an_owner_whose_session_was_ended_shows_again_that_it_lives) {
  Owner owner(postgres_);
  ASSERT_TRUE(owner.becomes(true));
  pqxx::connection connection(postgres_.dsn("trunkline_log"));
  const auto session = [&] {
    const auto rows = pqxx::nontransaction(connection)
                          .exec("SELECT pid FROM pg_locks WHERE locktype = 'advisory'");
    return rows.empty() ? 0 : rows[0][0].as<int>();
  };
  const int first = session();
  ASSERT_NE(first, 0);
  pqxx::nontransaction(connection)
      .exec("SELECT pg_terminate_backend(" + std::to_string(first) + ")");
  const TimePoint deadline = monotonic_now() + seconds(60);
  int next = 0;
  while ((next == 0 || next == first) && monotonic_now() < deadline) {
    std::this_thread::sleep_for(milliseconds(20));
    next = session();
  }
  EXPECT_TRUE(next != 0 && next != first) << next;
  EXPECT_TRUE(owner.becomes(true));
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
