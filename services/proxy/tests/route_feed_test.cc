#include <sys/stat.h>

#include <thread>

#include "bus/bus.h"
#include "bus/streams.h"
#include "proxy/io/route_feed.h"
#include "proxy/tests/proxy_fixture.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::proxy {
namespace {

using namespace std::chrono_literals;

class RouteFeedTest : public ProxyFixture {
 protected:
  static std::unique_ptr<bus::Bus> join(const trunkline::testing::TempNats& nats) {
    return bus::Bus::connect({nats.url(), "test", "test", "proxy_test"}, 20s);
  }
  static v1::Route bare_route(int number, uint64_t position) {
    v1::Route out;
    char id[] = "00000000-0000-4000-8000-000000000000";
    std::snprintf(id + 24, 13, "%012d", number);
    out.set_instance_id(id);
    out.set_position(position);
    return out;
  }
  static constexpr uint64_t kLookupPosition = 100;
  // Lookup's part: pages of two routes.
  static std::unique_ptr<bus::Subscription> answer_with(bus::Bus& bus,
                                                        std::vector<v1::Route> routes) {
    return bus.subscribe(bus::kLookupSubject, [&bus, routes](bus::Message&& asked) {
      v1::Query query;
      query.ParseFromString(asked.data);
      v1::QueryAnswer answer;
      answer.set_position(kLookupPosition);
      for (const auto& route : routes) {
        if (route.instance_id() <= query.list_routes().after_instance_id()) continue;
        if (answer.routes().routes_size() == 2) {
          answer.set_next_marker(answer.routes().routes(1).instance_id());
          break;
        }
        *answer.mutable_routes()->add_routes() = route;
      }
      bus.publish(asked.reply, answer.SerializeAsString());
    });
  }
  trunkline::testing::TempDirectory folder_;
};

TEST_F(RouteFeedTest, takes_all_pages_and_then_what_is_published) {
  const trunkline::testing::TempNats nats;
  const auto lookup = join(nats);
  std::vector<v1::Route> routes;
  for (int i = 0; i < 7; ++i) routes.push_back(bare_route(i, 10));
  const auto answering = answer_with(*lookup, routes);

  const auto bus = join(nats);
  EndpointTable table;
  const std::string file = folder_.path() + "/routes.bin";
  {
    const RouteFeed feed(*bus, table, file);
    ASSERT_TRUE(await([&] { return table.all().routes_size() == 7; }));
    lookup->publish("tl.route." + routes[3].instance_id(), bare_route(3, 9).SerializeAsString());
    lookup->publish("tl.route." + routes[3].instance_id(), bare_route(3, 12).SerializeAsString());
    EXPECT_TRUE(await([&] { return table.all().routes(3).position() == 12; }));
  }
  struct stat status {};
  ASSERT_EQ(stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EndpointTable after_restart;
  EXPECT_TRUE(load_routes(file, after_restart));
  EXPECT_EQ(after_restart.all().SerializeAsString(), table.all().SerializeAsString());
}

// Lookup says nothing of it.
TEST_F(RouteFeedTest, a_failover_is_known_from_replication_alone) {
  const trunkline::testing::TempNats nats;
  const auto other = join(nats);
  v1::Route route = bare_route(1, 10);
  route.set_term(1);
  route.set_state(v1::ROUTE_STATE_OPEN);
  const char first[] = "00000000-0000-4000-8000-00000000000a";
  const char second[] = "00000000-0000-4000-8000-00000000000b";
  for (const char* id : {first, second}) {
    auto* node = route.add_nodes();
    node->set_node_id(id);
    node->set_primary(id == first);
    node->set_serves(true);
  }
  route.add_users()->set_name("ann");
  const auto answering = answer_with(*other, {route});
  const auto bus = join(nats);
  EndpointTable table;
  const RouteFeed feed(*bus, table, folder_.path() + "/routes.bin");
  ASSERT_TRUE(await([&] { return table.all().routes_size() == 1; }));
  const auto endpoint = table.find({InstanceId(route.instance_id()), EndpointKind::read_write});
  ASSERT_TRUE(endpoint);

  v1::PrimaryNews news;
  news.set_instance_id(route.instance_id());
  news.set_position(20);
  news.set_term(2);
  news.set_state(v1::ROUTE_STATE_DOWN);
  const std::string subject = bus::primary_subject(route.instance_id());
  other->publish(subject, news.SerializeAsString());
  ASSERT_TRUE(await([&] { return endpoint->route()->state == RouteView::State::down; }));
  news.set_position(30);
  news.set_state(v1::ROUTE_STATE_OPEN);
  news.set_node_id(second);
  news.mutable_address()->set_port(7);
  other->publish(subject, news.SerializeAsString());
  ASSERT_TRUE(await([&] { return endpoint->route()->state == RouteView::State::open; }));
  const auto now = endpoint->route();
  EXPECT_EQ(now->term, 2u);
  EXPECT_FALSE(now->nodes[0].serves || now->nodes[0].primary);
  EXPECT_TRUE(now->nodes[1].serves && now->nodes[1].primary);
  EXPECT_EQ(now->nodes[1].port, 7);
  EXPECT_EQ(now->verifiers.count("ann"), 1u);

  // A lookup that is behind changes nothing, and one that has caught up knows more.
  route.set_position(15);
  other->publish(bus::route_subject(route.instance_id()), route.SerializeAsString());
  route.set_position(30);
  route.set_term(2);
  route.add_users()->set_name("bob");
  other->publish(bus::route_subject(route.instance_id()), route.SerializeAsString());
  ASSERT_TRUE(await([&] { return endpoint->route()->verifiers.count("bob") == 1; }));
  EXPECT_EQ(endpoint->route()->term, 2u);
}

TEST_F(RouteFeedTest, a_route_that_was_missed_comes_after_a_reconnect) {
  trunkline::testing::TempNats nats;
  const auto bus = join(nats);
  EndpointTable table;
  const RouteFeed feed(*bus, table, folder_.path() + "/routes.bin");
  nats.crash();
  nats.restart(false);
  const auto lookup = join(nats);
  const auto answering = answer_with(*lookup, {bare_route(1, 5)});
  EXPECT_TRUE(await([&] { return table.all().routes_size() == 1; }));
}

// Its word on the bus was missed, and the store still has it.
TEST_F(RouteFeedTest, what_lookup_does_not_list_is_gone) {
  const trunkline::testing::TempNats nats;
  const std::string file = folder_.path() + "/routes.bin";
  v1::Routes stored;
  for (int i = 0; i < 3; ++i) *stored.add_routes() = bare_route(i, 5);
  *stored.add_routes() = bare_route(3, kLookupPosition + 1);
  store_routes(file, stored);

  EndpointTable table;
  ASSERT_TRUE(load_routes(file, table));
  std::vector<std::string> ended;
  table.on_change([&](const RouteView*, const RouteView& now) {
    if (now.state == RouteView::State::gone) ended.push_back(now.instance.str());
  });
  const auto lookup = join(nats);
  const auto answering = answer_with(*lookup, {bare_route(0, 5), bare_route(2, 7)});
  const auto bus = join(nats);
  {
    const RouteFeed feed(*bus, table, file);
    ASSERT_TRUE(await([&] { return table.all().routes_size() == 3; }));
  }
  EXPECT_EQ(ended, std::vector{bare_route(1, 5).instance_id()});
  EXPECT_EQ(table.all().routes(1).position(), 7u);
  EXPECT_EQ(table.all().routes(2).position(), kLookupPosition + 1) << "lookup is behind it";
  EndpointTable after_restart;
  EXPECT_TRUE(load_routes(file, after_restart));
  EXPECT_EQ(after_restart.all().routes_size(), 3);
}

TEST_F(RouteFeedTest, a_user_that_may_have_been_missed_waits_for_the_news) {
  const trunkline::testing::TempNats nats;
  add_node();
  ProxyOptions patient;
  patient.login_time = 60s;
  start_proxy(patient);
  const std::string file = folder_.path() + "/routes.bin";
  v1::Route before = route(v1::ROUTE_STATE_OPEN, 1);
  before.clear_users();
  v1::Routes stored;
  *stored.add_routes() = before;
  store_routes(file, stored);
  ASSERT_TRUE(load_routes(file, proxy_->endpoints()));
  ASSERT_TRUE(proxy_->endpoints().in_doubt());
  proxy_->endpoints().doubt_until(std::chrono::steady_clock::now() + 60s);

  Client client;
  std::thread knocking([&] { client = connect(); });
  ASSERT_TRUE(await([&] { return proxy_->context().connections == 1; }));
  const auto lookup = join(nats);
  const auto answering = answer_with(*lookup, {route(v1::ROUTE_STATE_OPEN, 1)});
  const auto bus = join(nats);
  const RouteFeed feed(*bus, proxy_->endpoints(), file);
  knocking.join();
  EXPECT_EQ(PQstatus(client.get()), CONNECTION_OK) << PQerrorMessage(client.get());
  EXPECT_TRUE(await([&] { return !proxy_->endpoints().in_doubt(); }));
}

TEST_F(RouteFeedTest, a_damaged_store_is_no_store) {
  const std::string file = folder_.path() + "/routes.bin";
  EndpointTable table;
  EXPECT_FALSE(load_routes(file, table));
  v1::Routes routes;
  *routes.add_routes() = bare_route(1, 5);
  store_routes(file, routes);
  ASSERT_EQ(truncate(file.c_str(), 5), 0);
  EXPECT_FALSE(load_routes(file, table));
  EXPECT_EQ(table.all().routes_size(), 0);
}

TEST_F(RouteFeedTest, sessions_open_on_a_route_from_the_bus) {
  const trunkline::testing::TempNats nats;
  add_node();
  start_proxy();
  const auto bus = join(nats);
  const auto lookup = join(nats);
  const RouteFeed feed(*bus, proxy_->endpoints(), folder_.path() + "/routes.bin");
  const std::string bytes = route(v1::ROUTE_STATE_OPEN, 1).SerializeAsString();
  ASSERT_TRUE(await([&] {
    lookup->publish(std::string("tl.route.") + kInstance, bytes);
    return PQstatus(connect().get()) == CONNECTION_OK;
  }));
}

}  // namespace
}  // namespace trunkline::proxy
