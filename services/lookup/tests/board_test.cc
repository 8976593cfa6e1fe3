// Routes and failovers as proxies and the gateway get them, on real servers.
#include <mutex>

#include "lookup/tests/lookup_fixture.h"

namespace trunkline::lookup {
namespace {

using namespace testing;

// Hears routes as a proxy does.
class Listener {
 public:
  explicit Listener(const Servers& servers)
      : bus_(bus::Bus::connect({servers.nats.url(), "test", "test", "proxy"},
                               std::chrono::seconds(5))),
        subscription_(bus_->subscribe("tl.route.>", [this](bus::Message&& message) {
          v1::Route route;
          if (!route.ParseFromString(message.data)) return;
          if (message.subject != bus::route_subject(route.instance_id())) return;
          const std::lock_guard lock(mutex_);
          routes_.push_back(std::move(route));
        })) {
    // What is published from now on is heard: the server takes what a connection says in order.
    bus_->request("tl.query.nobody", "", std::chrono::milliseconds(200));
  }
  bool hears(const std::string& name, const std::function<bool(const v1::Route&)>& wanted) {
    return await([&] {
      const std::lock_guard lock(mutex_);
      return std::ranges::any_of(routes_, [&](const v1::Route& route) {
        return route.instance_id() == id(name) && wanted(route);
      });
    });
  }
  bool hears(const std::string& name, v1::RouteState state, int64_t position) {
    return hears(name, [&](const v1::Route& route) {
      return route.state() == state && route.position() == static_cast<uint64_t>(position);
    });
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    routes_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<v1::Route> routes_;
  std::unique_ptr<bus::Bus> bus_;
  std::unique_ptr<bus::Subscription> subscription_;
};

class BoardTest : public LookupTest {
 protected:
  static v1::Query routes_after(const std::string& instance, int64_t min_position) {
    v1::Query asked = query(min_position);
    asked.mutable_scope()->set_all_projects(true);
    asked.mutable_list_routes()->set_after_instance_id(instance);
    return asked;
  }
  // All pages.
  static std::map<std::string, v1::Route> all_routes(Service& service, int64_t min_position) {
    std::map<std::string, v1::Route> found;
    std::string after;
    do {
      const auto answer = service.ask(routes_after(after, min_position));
      EXPECT_EQ(answer.status(), v1::QUERY_STATUS_OK) << answer.message();
      EXPECT_LT(answer.routes().ByteSizeLong(), 600'000u);
      for (const v1::Route& route : answer.routes().routes()) {
        EXPECT_GT(route.instance_id(), after);
        EXPECT_TRUE(found.emplace(route.instance_id(), route).second);
      }
      after = answer.next_marker();
    } while (!after.empty());
    return found;
  }
};

TEST_F(BoardTest, EveryChangeOfARouteIsToldAtOnce) {
  Service service(*servers);
  Listener proxy(*servers);
  ASSERT_TRUE(await([&] { return service.projector.ready(); }));
  running_pair("told");
  EXPECT_TRUE(proxy.hears("told", [](const v1::Route& route) {
    return route.state() == v1::ROUTE_STATE_OPEN && route.nodes_size() == 2 &&
           route.nodes(0).serves() && route.nodes(1).serves();
  }));
  const auto held = failover_started(2, "told a", v1::FAILOVER_KIND_SWITCHOVER);
  EXPECT_TRUE(proxy.hears("told", v1::ROUTE_STATE_HOLD, writer.group("told", held)));
  writer.group("told", promoted("told b", 2));
  EXPECT_TRUE(proxy.hears("told", v1::ROUTE_STATE_OPEN,
                          writer.group("told", primary_opened("told b", 2))));
  const int64_t user = writer.instance("told", user_created("ann"));
  EXPECT_TRUE(proxy.hears("told", v1::ROUTE_STATE_OPEN, user));
  EXPECT_TRUE(proxy.hears("told", [](const v1::Route& route) {
    return route.users_size() == 1 && !route.users(0).scram_verifier().empty();
  }));
  EXPECT_TRUE(proxy.hears("told", v1::ROUTE_STATE_GONE,
                          writer.instance("told", deletion_started())));
}

TEST_F(BoardTest, AllRoutesAreToldAtTheStart) {
  int64_t at = 0;
  {
    Service service(*servers);
    running_pair("known");
    at = writer.instance("known", user_created("ann"));
    ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("known"), at)).status(), v1::QUERY_STATUS_OK);
  }
  Listener proxy(*servers);
  const Service service(*servers);
  EXPECT_TRUE(proxy.hears("known", v1::ROUTE_STATE_OPEN, at));
}

TEST_F(BoardTest, RoutesAreListedInPagesForWhoSeesAllProjects) {
  Service service(*servers);
  int64_t at = 0;
  std::set<std::string> made;
  // Users with names of a kilobyte make pages full.
  for (int i = 0; i < 12; ++i) {
    const std::string name = "listed " + std::to_string(i);
    writer.instance(name, created(name));
    for (int u = 0; u < 100; ++u) {
      at = writer.instance(name, user_created(std::string(1000, 'u') + std::to_string(u)));
    }
    made.insert(id(name));
  }
  const auto routes = all_routes(service, at);
  for (const std::string& instance : made) {
    ASSERT_TRUE(routes.contains(instance));
    EXPECT_EQ(routes.at(instance).users_size(), 100);
  }
  const int64_t gone = writer.instance("listed 3", deletion_started());
  EXPECT_FALSE(all_routes(service, gone).contains(id("listed 3")));
  auto asked = routes_after("", gone);
  asked.mutable_scope()->set_all_projects(false);
  const auto refused = service.ask(asked);
  EXPECT_EQ(refused.status(), v1::QUERY_STATUS_NOT_FOUND);
  EXPECT_EQ(refused.routes().routes_size(), 0);
  EXPECT_EQ(service.ask(routes_after("x'", gone)).status(), v1::QUERY_STATUS_BAD_FIELD);
}

TEST_F(BoardTest, AStandbyThatLagsIsToldAndListed) {
  Service service(*servers);
  Listener proxy(*servers);
  const int64_t at = running_pair("lagging");
  ASSERT_EQ(service.ask(get(v1::KIND_INSTANCE, id("lagging"), at)).status(), v1::QUERY_STATUS_OK);
  v1::HostReport report;
  report.set_host("host-a");
  auto& node = *report.add_nodes();
  node.set_node_id(id("lagging a"));
  node.set_instance_id(id("lagging"));
  auto& standby = *node.add_standbys();
  standby.set_node_id(id("lagging b"));
  standby.set_lag_bytes(100'000'000);
  report.add_nodes()->set_instance_id("no uuid");
  service.routes.take_report(report);
  EXPECT_TRUE(proxy.hears("lagging", [](const v1::Route& route) {
    return route.nodes_size() == 2 && route.nodes(1).lag_bytes() == 100'000'000;
  }));
  EXPECT_EQ(all_routes(service, at).at(id("lagging")).nodes(1).lag_bytes(), 100'000'000);
}

TEST_F(BoardTest, RoutesComeBackIdenticalFromARebuild) {
  Service service(*servers);
  running_pair("again");
  writer.group("again", failover_started(2, "again a", v1::FAILOVER_KIND_FAILOVER));
  writer.group("again", promoted("again b", 2));
  const int64_t at = writer.group("again", primary_opened("again b", 2));
  const auto before = all_routes(service, at);
  ASSERT_EQ(service.order({{"op", "rebuild"}}).at("ok"), true);
  const auto after = all_routes(service, at);
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [instance, route] : before) {
    EXPECT_EQ(route.SerializeAsString(), after.at(instance).SerializeAsString());
  }
}

TEST_F(BoardTest, DocumentsAreMadeAnewWhenTheProxiesMove) {
  int64_t at = 0;
  const auto endpoint = [&](Service& service) -> json {
    const auto answer = service.ask(get(v1::KIND_INSTANCE, id("moved"), at));
    if (answer.json_size() != 1) return answer.message();
    return json::parse(answer.json(0)).at("endpoints").at("read_write").at("host");
  };
  {
    Service service(*servers);
    writer.instance("moved", with_ports(created("moved"), 20000, 20001));
    writer.instance("moved", placed("moved a", "host-a", "127.0.0.11"));
    at = writer.group("moved", primary_opened("moved a", 1));
    EXPECT_EQ(endpoint(service), "127.0.0.11");
  }
  for (const char* address : {"127.0.0.10", "127.0.0.99"}) {
    Service service(*servers, address);
    EXPECT_TRUE(await([&] { return endpoint(service) == address; })) << address;
  }
}

TEST_F(BoardTest, FailoversAreListedWithinTheirProject) {
  Service service(*servers);
  running_pair("story", kOtherProject);
  writer.group("story", membership({{"story a", "host-a"}, {"story b", "host-b"}}));
  writer.group("story", failover_started(2, "story a", v1::FAILOVER_KIND_FAILOVER));
  writer.group("story", promoted("story b", 2));
  const int64_t at = writer.group("story", primary_opened("story b", 2));
  v1::Query asked = query(at, kOtherProject);
  asked.mutable_list_failovers()->set_instance_id(id("story"));
  const auto answer = service.ask(asked);
  ASSERT_EQ(answer.json_size(), 1) << answer.message();
  const json failover = json::parse(answer.json(0));
  EXPECT_EQ(failover.at("from_host"), "host-a");
  EXPECT_EQ(failover.at("to_host"), "host-b");
  EXPECT_EQ(failover.at("status"), "COMPLETED");
  asked.mutable_scope()->set_project_id(kProject);
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_NOT_FOUND);
  asked.mutable_list_failovers()->set_instance_id("x'");
  EXPECT_EQ(service.ask(asked).status(), v1::QUERY_STATUS_NOT_FOUND);
}

}  // namespace
}  // namespace trunkline::lookup
