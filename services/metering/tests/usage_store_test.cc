#include "metering/io/usage_store.h"

#include <gtest/gtest.h>

#include "base/ids.h"
#include "metering/io/usage_schema.h"
#include "testing/temp_servers.h"

namespace trunkline::metering {
namespace {

constexpr int64_t kDay0 = 20'000 * kDayMs;
const std::string kInstance = uuid_from_name("test/instance");
const std::string kNode = uuid_from_name("test/node");

UsageRecord record(int64_t position, int32_t ordinal, int64_t start_ms, int64_t closed_ms,
                   int64_t cpu_ms, const std::string& node = kNode) {
  UsageRecord one;
  one.position = position;
  one.ordinal = ordinal;
  one.project_id = uuid_from_name("test/project");
  one.instance_id = kInstance;
  one.node_id = node;
  one.window = {start_ms, start_ms + 60'000};
  one.closed_ms = closed_ms;
  at(one.amounts, Meter::cpu_seconds) = cpu_ms;
  one.id = record_id(one);
  return one;
}

class Store : public ::testing::Test {
 protected:
  Store() {
    postgres_.create_platform_databases();
    session_ = std::make_unique<PgSession>(dsn());
    store_ = std::make_unique<UsageStore>(*session_, kUsageSchema);
    store_->make(kDay0);
  }
  std::string dsn() const { return postgres_.dsn("trunkline_metering", "tl_metering"); }
  void apply(int64_t from, int64_t to, std::vector<UsageRecord> records) {
    UsageChange change;
    change.records = std::move(records);
    store_->apply(state_, change, {}, at_position(from), at_position(to));
  }
  static StoreCheckpoint at_position(int64_t position) {
    return {position, position == 0 ? "" : "hash" + std::to_string(position)};
  }
  int64_t number(const std::string& sql) { return session_->query(sql).number(0, 0); }

  trunkline::testing::TempPostgres postgres_;
  std::unique_ptr<PgSession> session_;
  std::unique_ptr<UsageStore> store_;
  UsageState state_;
};

TEST_F(Store, RecordsHoursAndCheckpointMoveTogether) {
  state_.instances[kInstance].name = "it's \\ a\tname";
  state_.instances[kInstance].nodes.push_back({.id = kNode, .host = "host-a"});
  UsageChange change;
  change.instances.insert(kInstance);
  change.records = {record(7, 0, kDay0, kDay0 + 65'000, 100),
                    record(7, 1, kDay0 + 60'000, kDay0 + 125'000, 20),
                    record(7, 2, kDay0 + kHourMs, kDay0 + kHourMs + 65'000, 3)};
  store_->apply(state_, change, {{5, "instance-x", "it's broken"}}, at_position(0),
                at_position(9));
  apply(9, 12, {record(12, 0, kDay0, kDay0 + 2 * kHourMs, -20)});
  EXPECT_EQ(store_->checkpoint(), at_position(12));
  EXPECT_EQ(number("SELECT count(*) FROM usage.record"), 4);
  EXPECT_EQ(number("SELECT cpu_ms FROM usage.hour WHERE hour_ms = " + std::to_string(kDay0)), 100);
  EXPECT_EQ(number("SELECT count(*) FROM usage.hour"), 2);
  EXPECT_EQ(session_->query("SELECT name FROM usage.instance").text(0, 0), "it's \\ a\tname");
  EXPECT_EQ(session_->query("SELECT host FROM usage.node").text(0, 0), "host-a");
  EXPECT_EQ(number("SELECT count(*) FROM usage.poison"), 1);
  EXPECT_EQ(number("SELECT count(*) FROM usage.record WHERE wal_bytes IS NOT NULL"), 0);
}

TEST_F(Store, WhoseCheckpointMovedWritesNothing) {
  apply(0, 5, {record(5, 0, kDay0, kDay0 + 65'000, 1)});
  EXPECT_THROW(apply(4, 6, {record(6, 0, kDay0, kDay0 + 65'000, 1)}), StoreMoved);
  EXPECT_THROW(apply(0, 6, {record(6, 0, kDay0, kDay0 + 65'000, 1)}), StoreMoved);
  EXPECT_EQ(number("SELECT count(*) FROM usage.record"), 1);
  EXPECT_EQ(number("SELECT cpu_ms FROM usage.hour"), 1);
}

TEST_F(Store, OldRecordsAreForgottenAndHoursStay) {
  apply(0, 1, {record(1, 0, kDay0, kDay0 + 65'000, 1)});
  apply(1, 2, {record(2, 0, kDay0 + kDayMs, kDay0 + kDayMs + 65'000, 1)});
  apply(2, 3, {record(3, 0, kDay0 + 2 * kDayMs, kDay0 + 2 * kDayMs + 65'000, 1),
               record(3, 1, kDay0 + kDayMs, kDay0 + 2 * kDayMs + 65'000, 1)});
  store_->forget_before(kDay0 + 2 * kDayMs);
  EXPECT_EQ(number("SELECT count(*) FROM usage.record"), 3) << "a late correction is kept";
  EXPECT_EQ(number("SELECT min(position) FROM usage.record"), 2);
  EXPECT_EQ(number("SELECT count(*) FROM usage.hour"), 3);
  apply(3, 4, {record(4, 0, kDay0, kDay0 + 65'000, 1),
               record(4, 1, kDay0, kDay0 + 2 * kDayMs, 1)});
  EXPECT_EQ(number("SELECT count(*) FROM usage.record"), 4) << "what was closed before is old";
  EXPECT_EQ(number("SELECT cpu_ms FROM usage.hour WHERE hour_ms = " + std::to_string(kDay0)), 3);
}

TEST_F(Store, TheTablesOfARebuildTakeTheOthersPlace) {
  apply(0, 5, {record(5, 0, kDay0, kDay0 + 65'000, 1)});
  PgSession other(dsn());
  UsageStore next(other, kNextUsageSchema);
  next.make(kDay0);
  UsageChange change;
  change.records = {record(6, 0, kDay0, kDay0 + 65'000, 2)};
  next.apply(state_, change, {}, at_position(0), at_position(6));
  next.rename_to(kUsageSchema);
  EXPECT_EQ(store_->checkpoint(), at_position(6));
  EXPECT_EQ(number("SELECT cpu_ms FROM usage.record"), 2);
  apply(6, 7, {record(7, 0, kDay0, kDay0 + 65'000, 3)});
  EXPECT_EQ(number("SELECT cpu_ms FROM usage.hour"), 5);
}

TEST_F(Store, ASnapshotIsReadAsItWasWritten) {
  EXPECT_FALSE(store_->snapshot());
  const std::string data("\0\xff\\x'\n", 6);
  store_->save({at_position(3), "older"});
  store_->save({at_position(4), data});
  ASSERT_TRUE(store_->snapshot());
  EXPECT_EQ(store_->snapshot()->data, data);
  EXPECT_EQ(store_->snapshot()->at, at_position(4));
}

}  // namespace
}  // namespace trunkline::metering
