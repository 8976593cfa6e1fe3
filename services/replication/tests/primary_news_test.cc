// What proxies are told of a primary, event by event.
#include "replication/domain/primary_news.h"

#include <gtest/gtest.h>

#include "replication/tests/failover_scene.h"

namespace trunkline::replication::test {
namespace {

v1::PrimaryNews news_of(const Scene& s) {
  return primary_news(InstanceId("i"), s.group.state, 7).value_or(v1::PrimaryNews());
}

TEST(PrimaryNews, nothing_before_there_ever_was_a_primary) {
  Group group;
  group.handle(membership(3, 1, {0, 1, 2}));
  group.run();
  EXPECT_FALSE(primary_news(InstanceId("i"), group.state, 7));
}

TEST(PrimaryNews, open_names_the_node_and_where_it_is) {
  const Scene s;
  const v1::PrimaryNews news = news_of(s);
  EXPECT_EQ(news.state(), v1::ROUTE_STATE_OPEN);
  EXPECT_EQ(news.node_id(), node(0).str());
  EXPECT_EQ(news.address().host(), host(0));
  EXPECT_EQ(news.address().port(), 5432u);
  EXPECT_EQ(news.term(), 1u);
  EXPECT_EQ(news.position(), 7u);
}

TEST(PrimaryNews, a_failover_is_down_until_the_next_opens) {
  Scene s;
  const PrimaryKey before = primary_key(s.group.state);
  s.lose_primary();
  EXPECT_NE(primary_key(s.group.state), before);
  EXPECT_EQ(news_of(s).state(), v1::ROUTE_STATE_DOWN);
  EXPECT_EQ(news_of(s).term(), 2u);
  EXPECT_EQ(news_of(s).node_id(), "");
  const PrimaryKey down = primary_key(s.group.state);
  s.fence(1);
  s.fence(2);
  s.pass(3, {1, 2});
  ASSERT_EQ(failover_under_way(s.group.state), nullptr);
  EXPECT_EQ(primary_key(s.group.state), down) << "assigned, and not open yet: no news";
  EXPECT_EQ(news_of(s).state(), v1::ROUTE_STATE_DOWN);
  const int next = s.promoted().node_id() == node(1).str() ? 1 : 2;
  s.hosts.obey(s.group);
  s.hosts.open(next);
  s.hosts.at(next).set_timeline(s.promoted().timeline());
  s.hosts.send(s.group, next);
  s.group.run();
  EXPECT_EQ(news_of(s).state(), v1::ROUTE_STATE_OPEN);
  EXPECT_EQ(news_of(s).node_id(), node(next).str());
}

TEST(PrimaryNews, a_switchover_holds) {
  Scene s;
  v1::GroupCommand ask;
  ask.mutable_request_switchover();
  s.group.handle(ask);
  ASSERT_NE(failover_under_way(s.group.state), nullptr);
  EXPECT_EQ(news_of(s).state(), v1::ROUTE_STATE_HOLD);
}

TEST(PrimaryNews, a_deleted_group_has_none) {
  Scene s;
  s.group.handle(membership(3, 1, {0, 1, 2}, {0, 1, 2}, true));
  EXPECT_FALSE(primary_news(InstanceId("i"), s.group.state, 7));
}

}  // namespace
}  // namespace trunkline::replication::test
