#include "api-gateway/io/read_cache.h"

#include <gtest/gtest.h>

namespace trunkline::gateway {
namespace {

using namespace std::chrono_literals;

class ReadCacheTest : public ::testing::Test {
 protected:
  static v1::Query query(const std::string& uuid, const std::string& project = "p") {
    v1::Query out;
    out.mutable_scope()->set_project_id(project);
    out.mutable_get_resource()->set_kind(v1::KIND_INSTANCE);
    out.mutable_get_resource()->set_uuid(uuid);
    return out;
  }
  void keep(const v1::Query& query, uint64_t position) {
    v1::QueryAnswer answer;
    answer.add_json("{}");
    answer.set_position(position);
    cache_.keep(ReadCache::key_of(query), query, answer, now_);
  }
  bool has(const v1::Query& query, uint64_t min_position = 0) {
    return cache_.find(ReadCache::key_of(query), min_position, now_).has_value();
  }

  ReadCache cache_;
  ReadCache::Clock::time_point now_ = ReadCache::Clock::now();
};

TEST_F(ReadCacheTest, IsUsedUntilItIsTooOld) {
  keep(query("a"), 5);
  EXPECT_TRUE(has(query("a")));
  now_ += ReadCache::kFor - 1ms;
  EXPECT_TRUE(has(query("a")));
  now_ += 1ms;
  EXPECT_FALSE(has(query("a")));
}

TEST_F(ReadCacheTest, AnotherProjectOrResourceIsAnotherQuestion) {
  keep(query("a"), 5);
  EXPECT_FALSE(has(query("b")));
  EXPECT_FALSE(has(query("a", "q")));
}

TEST_F(ReadCacheTest, AnEventOfTheResourceEndsIt) {
  keep(query("a"), 5);
  keep(query("b"), 5);
  cache_.changed("a", 6);
  EXPECT_FALSE(has(query("a")));
  EXPECT_TRUE(has(query("b")));
}

TEST_F(ReadCacheTest, AnEventOfTheInstanceEndsWhatIsInIt) {
  v1::Query user = query("u");
  user.mutable_get_resource()->set_instance_id("a");
  keep(user, 5);
  cache_.changed("a", 6);
  EXPECT_FALSE(has(user));
}

TEST_F(ReadCacheTest, AnAnswerFromBeforeAnEventIsNotKept) {
  cache_.changed("a", 6);
  keep(query("a"), 5);
  EXPECT_FALSE(has(query("a")));
  keep(query("a"), 6);
  EXPECT_TRUE(has(query("a")));
}

TEST_F(ReadCacheTest, AWriteThatWasAnsweredMustBeInIt) {
  keep(query("a"), 5);
  EXPECT_FALSE(has(query("a"), 6));
}

TEST_F(ReadCacheTest, HistoryAndOperationsAreNotKept) {
  v1::Query history = query("a");
  history.mutable_get_resource()->set_at_position(3);
  EXPECT_EQ(ReadCache::key_of(history), "");
  v1::Query operation = query("a");
  operation.mutable_get_resource()->set_kind(v1::KIND_OPERATION);
  EXPECT_EQ(ReadCache::key_of(operation), "");
}

}  // namespace
}  // namespace trunkline::gateway
