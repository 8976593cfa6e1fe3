// What replication says of a primary, put into a route.
#include <gtest/gtest.h>

#include "proxy/domain/route_view.h"

namespace trunkline::proxy {
namespace {

v1::Route route_at(uint64_t position, uint64_t term, v1::RouteState state) {
  v1::Route out;
  out.set_instance_id("00000000-0000-4000-8000-000000000001");
  out.set_position(position);
  out.set_term(term);
  out.set_state(state);
  auto* node = out.add_nodes();
  node->set_node_id("a");
  node->set_primary(true);
  node->set_serves(true);
  return out;
}
v1::PrimaryNews news_at(uint64_t position, uint64_t term, v1::RouteState state,
                        const std::string& node) {
  v1::PrimaryNews out;
  out.set_position(position);
  out.set_term(term);
  out.set_state(state);
  out.set_node_id(node);
  out.mutable_address()->set_port(7);
  return out;
}

TEST(RouteNews, only_what_is_newer_is_taken) {
  struct Case {
    const char* what;
    uint64_t position, term;
    v1::RouteState state;
    bool is_taken;
  };
  const Case cases[] = {
      {"newer", 11, 3, v1::ROUTE_STATE_OPEN, true},
      {"of the same position", 10, 3, v1::ROUTE_STATE_OPEN, false},
      {"older", 9, 4, v1::ROUTE_STATE_OPEN, false},
      {"of an older term", 11, 1, v1::ROUTE_STATE_OPEN, false},
      {"of a deleted instance", 11, 3, v1::ROUTE_STATE_GONE, false},
  };
  for (const Case& c : cases) {
    const auto next = with_news(route_at(10, 2, c.state),
                                news_at(c.position, c.term, v1::ROUTE_STATE_OPEN, "b"));
    EXPECT_EQ(next.has_value(), c.is_taken) << c.what;
  }
}

TEST(RouteNews, the_old_primary_is_none_whoever_is_next) {
  for (const bool is_open : {false, true}) {
    const auto next = with_news(
        route_at(10, 1, v1::ROUTE_STATE_OPEN),
        news_at(11, 2, is_open ? v1::ROUTE_STATE_OPEN : v1::ROUTE_STATE_DOWN, is_open ? "b" : ""));
    ASSERT_TRUE(next);
    EXPECT_FALSE(next->nodes(0).primary() || next->nodes(0).serves());
    EXPECT_EQ(next->nodes_size(), is_open ? 2 : 1);
    if (!is_open) continue;
    EXPECT_TRUE(next->nodes(1).primary() && next->nodes(1).serves());
    EXPECT_EQ(next->nodes(1).address().port(), 7u);
  }
}

// As when a switchover was given up.
TEST(RouteNews, the_same_primary_can_be_the_next) {
  const auto next = with_news(route_at(10, 1, v1::ROUTE_STATE_HOLD),
                              news_at(11, 2, v1::ROUTE_STATE_OPEN, "a"));
  ASSERT_TRUE(next);
  ASSERT_EQ(next->nodes_size(), 1);
  EXPECT_TRUE(next->nodes(0).primary() && next->nodes(0).serves());
}

}  // namespace
}  // namespace trunkline::proxy
