#include "provisioner/domain/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "provisioner/domain/steps.h"
#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {
namespace {

using ::testing::HasSubstr;

constexpr TimePoint kNow{std::chrono::hours(1)};

HostState host(const std::string& name, const std::string& zone) {
  HostState state(host_uuid(HostName(name)));
  state.name = HostName(name);
  state.zone = zone;
  state.address = "10.0.0." + std::string(1, name.back());
  state.cpu = 2;
  state.ram_mb = 8192;
  state.disk_gb = 100;
  state.images = {"postgresql-15"};
  return state;
}

// Hosts a, b, c in zones of their own, all reporting.
struct ThreeHosts {
  std::vector<HostState> hosts = {host("a", "a"), host("b", "b"), host("c", "c")};
  std::map<std::string, TimePoint> reported = {{"a", kNow}, {"b", kNow}, {"c", kNow}};
  std::map<std::string, uint64_t> disk_free_gb = {{"a", 50}, {"b", 50}, {"c", 50}};
  std::map<std::string, std::pair<uint64_t, uint64_t>> files;  // in all, and left
  Needs needs{.instance = kInstance, .count = 1, .size = {1, 1024, 10}, .image = "postgresql-15"};

  HostState& operator[](char name) { return hosts[static_cast<size_t>(name - 'a')]; }
  void fill(Fleet& fleet) const {
    for (const HostState& state : hosts) {
      fleet.set_host(state);
      const auto at = reported.find(state.name.str());
      if (at != reported.end()) {
        const auto found = files.find(state.name.str());
        const auto [all, left] = found == files.end() ? std::pair(0ul, 0ul) : found->second;
        fleet.host_reported(state.name, at->second, disk_free_gb.at(state.name.str()), all, left);
      }
    }
  }
};

// "a:5432 b:5432", or the code of the failure with "?" if it may pass.
std::string describe(const PlaceOutcome& outcome) {
  if (const auto* none = std::get_if<NoPlacement>(&outcome)) {
    return none->failure.code + (none->may_pass ? "?" : "");
  }
  std::string out;
  for (const Address& address : std::get<std::vector<Address>>(outcome)) {
    out += (out.empty() ? "" : " ") + address.host.str() + ":" + std::to_string(address.port);
  }
  return out;
}

InstanceState instance_on(const std::string& name, const std::vector<std::pair<char, uint32_t>>& at,
                          Size size = {1, 1024, 10}) {
  InstanceState state(InstanceId(uuid_from_name(name)));
  state.status = InstanceStatus::active;
  state.spec.size = size;
  state.spec.nodes_number = static_cast<uint32_t>(at.size());
  for (const auto& [host_name, port] : at) {
    Node node;
    node.id = node_id_of(state.id, state.nodes_placed++);
    node.address = {HostName(std::string(1, host_name)), "", "", port};
    state.nodes.push_back(node);
  }
  return state;
}

TEST(Placement, Table) {
  struct Row {
    const char* name;
    void (*change)(ThreeHosts&);
    const char* expected;
  };
  const Row rows[] = {
      {"one node: the first of equals", [](auto&) {}, "a:5432"},
      {"three nodes: a host each", [](auto& w) { w.needs.count = 3; }, "a:5432 b:5432 c:5432"},
      {"more nodes than hosts share", [](auto& w) { w.needs.count = 5; },
       "a:5432 b:5432 c:5432 a:5433 b:5433"},
      {"grown by one, away from the others", [](auto& w) {
         w.needs.used_hosts = {HostName("a"), HostName("b")};
       }, "c:5432"},
      {"another zone before another host", [](auto& w) {
         w['b'].zone = "a";
         w.needs.count = 2;
       }, "a:5432 c:5432"},
      {"zones used up: another host", [](auto& w) {
         w['b'].zone = "a";
         w.needs.count = 3;
       }, "a:5432 c:5432 b:5432"},
      {"a bigger host first", [](auto& w) { w['b'].ram_mb = 16384; }, "b:5432"},
      {"not schedulable", [](auto& w) { w['a'].schedulable = false; }, "b:5432"},
      {"silent for 10 s is alive", [](auto& w) { w.reported["a"] = kNow - seconds(10); },
       "a:5432"},
      {"silent for longer is not", [](auto& w) {
         w.reported["a"] = kNow - seconds(10) - milliseconds(1);
       }, "b:5432"},
      {"never reported", [](auto& w) { w.reported.erase("a"); }, "b:5432"},
      {"without the image", [](auto& w) { w['a'].images = {"postgresql-14"}; }, "b:5432"},
      {"that failed before", [](auto& w) { w.needs.avoid = {HostName("a")}; }, "b:5432"},
      {"disk really full", [](auto& w) { w.disk_free_gb["a"] = kMinDiskFreeGb - 1; }, "b:5432"},
      {"disk with few files left", [](auto& w) { w.files["a"] = {24'000, 9'999}; }, "b:5432"},
      {"files just enough", [](auto& w) { w.files["a"] = {24'000, 10'000}; }, "a:5432"},
      {"few of many files", [](auto& w) { w.files["a"] = {16'000'000, 999'999}; }, "b:5432"},
      {"three nodes, one host full: never shared", [](auto& w) {
         w.disk_free_gb["a"] = 0;
         w.needs.count = 3;
       }, "no_capacity"},
      {"three nodes, one host out: shared", [](auto& w) {
         w['a'].schedulable = false;
         w.needs.count = 3;
       }, "b:5432 c:5432 b:5433"},
      {"three nodes, one host silent: waits for it", [](auto& w) {
         w.reported.erase("a");
         w.needs.count = 3;
       }, "hosts_silent?"},
      {"three nodes, one host silent to the end: shared", [](auto& w) {
         w.reported.erase("a");
         w.needs.count = 3;
         w.needs.last_chance = true;
       }, "b:5432 c:5432 b:5433"},
      {"cpu to the last", [](auto& w) { w.needs.size.cpu = 2 * kCpuOvercommit; }, "a:5432"},
      {"cpu beyond", [](auto& w) { w.needs.size.cpu = 2 * kCpuOvercommit + 1; }, "no_capacity"},
      {"one node with all the ram of a host", [](auto& w) { w.needs.size.ram_mb = 8192; },
       "a:5432"},
      {"one node with more than any host has", [](auto& w) { w.needs.size.ram_mb = 8193; },
       "no_capacity"},
      {"spread: only to a host without one", [](auto& w) {
         w.needs.used_hosts = {HostName("a"), HostName("b"), HostName("c")};
         w.needs.spreads = true;
       }, "no_capacity"},
      {"disk to the last", [](auto& w) { w.needs.size.disk_gb = 100 * kDiskOvercommit; },
       "a:5432"},
      {"disk beyond", [](auto& w) { w.needs.size.disk_gb = 100 * kDiskOvercommit + 1; },
       "no_capacity"},
      {"unknown image", [](auto& w) { w.needs.image = "postgresql-99"; }, "no_host_for_image"},
      {"all silent", [](auto& w) { w.reported.clear(); }, "hosts_silent?"},
      {"full, and one silent", [](auto& w) {
         w.needs.size.cpu = 128;
         w.reported.erase("c");
       }, "no_capacity?"},
      {"no hosts at all", [](auto& w) { w.hosts.clear(); }, "no_hosts?"},
      {"all out", [](auto& w) {
         for (HostState& state : w.hosts) state.schedulable = false;
       }, "no_schedulable_host"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    ThreeHosts world;
    row.change(world);
    Fleet fleet;
    world.fill(fleet);
    EXPECT_EQ(describe(place(fleet, world.needs, kNow)), row.expected);
  }
}

TEST(Placement, SaysWhatIsMissingWhere) {
  ThreeHosts world;
  world['b'].schedulable = false;
  world.reported["c"] = kNow - seconds(42);
  world.needs.size.ram_mb = 65536;
  world.needs.size.cpu = 64;
  Fleet fleet;
  world.fill(fleet);
  fleet.set_instance(instance_on("x", {{'a', 5432}}));
  const auto outcome = place(fleet, world.needs, kNow);
  const std::string& message = std::get<NoPlacement>(outcome).by_host;
  EXPECT_EQ(std::get<NoPlacement>(outcome).failure.message,
            "no place for 1 node with image postgresql-15: for a node there is missing cpu 33, "
            "ram 57344 MB")
      << "a customer is told no host's name";
  EXPECT_THAT(message, HasSubstr("1 node with image postgresql-15"));
  EXPECT_THAT(message, HasSubstr("a: cpu 31 of 32 left, 64 needed, "
                                 "ram 31744 MB of 32768 MB left, 65536 MB needed"));
  EXPECT_THAT(message, HasSubstr("b: taken out by an administrator"));
  EXPECT_THAT(message, HasSubstr("c: silent for 42 s"));
}

TEST(Placement, LeastLoadedFirst) {
  ThreeHosts world;
  world.needs.count = 3;
  Fleet fleet;
  world.fill(fleet);
  fleet.set_instance(instance_on("x", {{'a', 5432}, {'b', 5432}}));
  fleet.set_instance(instance_on("y", {{'a', 5433}}));
  EXPECT_EQ(describe(place(fleet, world.needs, kNow)), "c:5432 b:5433 a:5434");
}

// Places instances of `nodes` nodes one after the other; the hosts of their first ones.
std::string first_hosts(Fleet& fleet, uint32_t nodes, int instances) {
  std::string out;
  Needs needs{.count = nodes, .size = {1, 64, 1}, .image = "postgresql-15"};
  for (int i = 0; i < instances; ++i) {
    needs.instance = InstanceId(uuid_from_name("new-" + std::to_string(i)));
    const auto command = answer_needs(fleet, needs, kNow);
    out += command->place_nodes().nodes(0).address().host();
  }
  return out;
}

TEST(Primaries, SpreadOverHosts) {
  for (const uint32_t nodes : {1u, 2u, 3u}) {
    SCOPED_TRACE(nodes);
    Fleet fleet;
    ThreeHosts().fill(fleet);
    const std::string hosts = first_hosts(fleet, nodes, 9);
    for (const char host : {'a', 'b', 'c'}) EXPECT_EQ(std::ranges::count(hosts, host), 3) << hosts;
  }
}

TEST(Primaries, SpreadAlsoWhereOneHostIsSmaller) {
  ThreeHosts world;
  world['c'].ram_mb = 4096;
  Fleet fleet;
  world.fill(fleet);
  EXPECT_EQ(first_hosts(fleet, 3, 6), "abcabc");
}

TEST(Primaries, ThoseOfNowCountNotThoseOfOnce) {
  ThreeHosts world;
  Fleet fleet;
  world.fill(fleet);
  InstanceState x = instance_on("x", {{'a', 5432}, {'b', 5432}, {'c', 5432}});
  fleet.set_instance(x);
  EXPECT_EQ(fleet.hosts().at(HostName("a")).primaries, 1u) << "its first node, before it has one";
  x.group.primary = x.nodes[1].id;
  fleet.set_instance(x);
  EXPECT_EQ(fleet.hosts().at(HostName("a")).primaries, 0u);
  EXPECT_EQ(fleet.hosts().at(HostName("b")).primaries, 1u);
  EXPECT_EQ(first_hosts(fleet, 3, 2), "ac");
  x.nodes.clear();
  fleet.set_instance(x);
  EXPECT_EQ(fleet.hosts().at(HostName("b")).primaries, 0u);
}

TEST(Primaries, NodesAddedLaterAreNone) {
  ThreeHosts world;
  Fleet fleet;
  world.fill(fleet);
  fleet.set_instance(instance_on("x", {{'a', 5432}}));
  Needs more = world.needs;
  more.instance = InstanceId(uuid_from_name("x"));
  more.first_ordinal = 1;
  more.count = 2;
  more.used_hosts = {HostName("a")};
  answer_needs(fleet, more, kNow);
  EXPECT_EQ(fleet.hosts().at(HostName("a")).primaries, 1u);
  EXPECT_EQ(fleet.hosts().at(HostName("b")).primaries, 0u);
  EXPECT_EQ(fleet.hosts().at(HostName("c")).primaries, 0u);
}

TEST(Ports, TheLowestFreeOneAndNoneTwice) {
  ThreeHosts world;
  world.hosts.resize(1);
  Fleet fleet;
  world.fill(fleet);
  const auto next = [&] { return describe(place(fleet, world.needs, kNow)); };
  fleet.set_instance(instance_on("x", {{'a', 5432}}));
  fleet.set_instance(instance_on("y", {{'a', 5433}}));
  fleet.set_instance(instance_on("z", {{'a', 5435}}));
  EXPECT_EQ(next(), "a:5434");
  InstanceState x = instance_on("x", {{'a', 5432}});
  x.status = InstanceStatus::deleting;
  x.nodes[0].phase = NodePhase::removing;
  fleet.set_instance(x);
  EXPECT_EQ(next(), "a:5434") << "not free before the node is gone";
  x.nodes.clear();
  x.status = InstanceStatus::deleted;
  fleet.set_instance(x);
  EXPECT_EQ(next(), "a:5432");
}

TEST(Ports, OneThatSomebodyElseListensOnIsNotTriedAgain) {
  ThreeHosts world;
  world.hosts.resize(1);
  Fleet fleet;
  world.fill(fleet);
  InstanceState x = instance_on("x", {{'a', 5432}});
  x.nodes[0].phase = NodePhase::removing;
  x.nodes[0].removal_why = "port_in_use";
  fleet.set_instance(x);
  x.nodes.clear();
  fleet.set_instance(x);
  EXPECT_EQ(describe(place(fleet, world.needs, kNow)), "a:5433");
}

TEST(Fleet, AddsUpAndTakesAwayTheSame) {
  ThreeHosts world;
  Fleet fleet;
  world.fill(fleet);
  const auto used = [&](const char* name) {
    const HostUse& use = fleet.hosts().at(HostName(name));
    return std::tuple(use.nodes, use.cpu, use.ram_mb, use.disk_gb, use.ports.size());
  };
  fleet.set_instance(instance_on("x", {{'a', 5432}, {'b', 5432}}, {2, 2048, 20}));
  fleet.set_instance(instance_on("x", {{'a', 5432}, {'b', 5432}}, {4, 4096, 30}));
  EXPECT_EQ(used("a"), std::tuple(1u, 4u, 4096u, 30u, 1u));
  fleet.set_instance(instance_on("x", {{'a', 5432}}, {4, 4096, 30}));
  EXPECT_EQ(used("b"), std::tuple(0u, 0u, 0u, 0u, 0u));
}

TEST(Reservation, HoldsThePlaceUntilTheLogHasIt) {
  ThreeHosts world;
  world.hosts.resize(1);
  world.needs.first_ordinal = 0;
  Fleet fleet;
  world.fill(fleet);
  const auto mine = answer_needs(fleet, world.needs, kNow);
  ASSERT_TRUE(mine && mine->has_place_nodes());
  EXPECT_EQ(mine->place_nodes().nodes(0).node_id(), node_id(0));
  EXPECT_TRUE(fleet.taken_by_others(kInstance, mine->place_nodes()).empty());

  Needs other = world.needs;
  other.instance = InstanceId(uuid_from_name("other"));
  const auto theirs = answer_needs(fleet, other, kNow);
  EXPECT_EQ(theirs->place_nodes().nodes(0).address().port(), 5433u);
  EXPECT_EQ(fleet.taken_by_others(other.instance, mine->place_nodes()).size(), 1u);

  // The log has the one; the other was refused.
  InstanceState placed = instance_on("x", {{'a', 5432}});
  placed.id = kInstance;
  fleet.set_instance(placed);
  fleet.release(other.instance);
  EXPECT_EQ(fleet.hosts().at(HostName("a")).nodes, 1u);
  EXPECT_EQ(describe(place(fleet, world.needs, kNow)), "a:5433");
}

TEST(Reservation, RunsOut) {
  ThreeHosts world;
  world.hosts.resize(1);
  Fleet fleet;
  world.fill(fleet);
  answer_needs(fleet, world.needs, kNow);
  const TimePoint later = kNow + kReservationLasts;
  fleet.host_reported(HostName("a"), later, 50);
  Needs other = world.needs;
  other.instance = InstanceId(uuid_from_name("other"));
  EXPECT_EQ(answer_needs(fleet, other, later)->place_nodes().nodes(0).address().port(), 5432u);
}

TEST(AnswerNeeds, WaitsWhileItMayPassAndFailsOtherwise) {
  ThreeHosts world;
  world.reported.clear();
  Fleet fleet;
  world.fill(fleet);
  EXPECT_FALSE(answer_needs(fleet, world.needs, kNow));
  world.needs.last_chance = true;
  const auto failed = answer_needs(fleet, world.needs, kNow);
  ASSERT_TRUE(failed && failed->has_record_step_failed());
  EXPECT_EQ(failed->record_step_failed().step(), "placing");
  EXPECT_EQ(failed->record_step_failed().failure().code(), "hosts_silent");
}

// ---- orders and growth ---------------------------------------------------------------------

// "" or what a customer is told.
std::string grow(Fleet& fleet, const InstanceState& instance, const Size& to, uint32_t nodes) {
  const auto none = hold_growth(fleet, instance, to, nodes, kNow);
  return none ? none->failure.code + ": " + none->failure.message : "";
}

TEST(Growth, IsCheckedAsAnOrderIs) {
  // Three nodes of {1, 1024, 10}; each host has 32 cpu, 32768 MB and 1600 GB to promise.
  struct Row {
    const char* name;
    Size to;
    uint32_t nodes;
    void (*change)(ThreeHosts&, Fleet&);
    const char* expected;
  };
  const auto nothing = [](ThreeHosts&, Fleet&) {};
  const auto b_is_busy = [](ThreeHosts&, Fleet& fleet) {
    fleet.set_instance(instance_on("y", {{'b', 5433}}, {30, 4096, 1500}));
  };
  const Row rows[] = {
      {"as it is", {1, 1024, 10}, 3, nothing, ""},
      {"the most", {32, 8192, 1600}, 3, nothing, ""},
      {"cpu", {33, 1024, 10}, 3, nothing, "cpu 1"},
      {"ram of one node", {1, 8193, 10}, 3, nothing, "ram 1 MB"},
      {"ram 1 TB, cpu 128", {128, 1048576, 1024}, 3, nothing, "cpu 96, ram 1040384 MB"},
      {"disk", {1, 1024, 1601}, 3, nothing, "disk_size 1 GB"},
      {"one host is busy", {2, 1024, 90}, 3, b_is_busy, ""},
      {"one host is too busy", {3, 1024, 110}, 3, b_is_busy, "cpu 1, disk_size 10 GB"},
      {"smaller on a host that is too busy", {1, 512, 10}, 3, b_is_busy, ""},
      {"a node more, and no host for it", {1, 1024, 10}, 4,
       [](ThreeHosts& w, Fleet& fleet) {
         for (HostState state : w.hosts) {
           state.cpu = 0;
           fleet.set_host(state);
         }
       },
       "cpu 1"},
      {"a node more that shares", {1, 1024, 10}, 4, nothing, ""},
      {"its host is silent", {2, 1024, 10}, 3,
       [](ThreeHosts&, Fleet& fleet) { fleet.host_reported(HostName("a"), TimePoint{}, 50); }, ""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    ThreeHosts world;
    Fleet fleet;
    world.fill(fleet);
    InstanceState x = instance_on("x", {{'a', 5432}, {'b', 5432}, {'c', 5432}});
    x.spec.image = "postgresql-15";
    fleet.set_instance(x);
    row.change(world, fleet);
    const auto promised = [&](char name) {
      const HostUse& use = fleet.hosts().at(HostName(std::string(1, name)));
      return std::tuple(use.cpu, use.ram_mb, use.disk_gb, use.nodes);
    };
    const auto before = promised('a');
    const std::string outcome = grow(fleet, x, row.to, row.nodes);
    if (*row.expected == '\0') {
      EXPECT_EQ(outcome, "");
    } else {
      EXPECT_TRUE(outcome.starts_with("no_capacity: ") && outcome.ends_with(row.expected))
          << outcome;
      EXPECT_EQ(promised('a'), before) << "nothing is held for what is refused";
    }
    fleet.release(x.id);
    EXPECT_EQ(promised('a'), before);
  }
}

TEST(Growth, TwoAtOnceDoNotBothGetTheLast) {
  ThreeHosts world;
  world.hosts.resize(1);
  Fleet fleet;
  world.fill(fleet);
  InstanceState x = instance_on("x", {{'a', 5432}}), y = instance_on("y", {{'a', 5433}});
  fleet.set_instance(x);
  fleet.set_instance(y);
  EXPECT_EQ(grow(fleet, x, {20, 1024, 10}, 1), "");
  EXPECT_NE(grow(fleet, y, {20, 1024, 10}, 1), "");
  fleet.release(x.id);
  EXPECT_EQ(grow(fleet, y, {20, 1024, 10}, 1), "");
  fleet.expire_reservations(kNow + kReservationLasts);
  EXPECT_EQ(grow(fleet, x, {20, 1024, 10}, 1), "") << "what never came is not held for ever";
  x.spec.size = {20, 1024, 10};
  fleet.set_instance(x);
  EXPECT_EQ(fleet.hosts().at(HostName("a")).cpu, 21u) << "recorded, not held beside";
}

TEST(Order, IsRefusedAtOnceIfItNeverFitsAndHeldIfItDoes) {
  ThreeHosts world;
  world.needs.count = 3;
  world.needs.size = {20, 1024, 10};
  Fleet fleet;
  world.fill(fleet);
  EXPECT_FALSE(hold_order(fleet, world.needs, kNow));
  Needs other = world.needs;
  other.instance = InstanceId(uuid_from_name("other"));
  ASSERT_TRUE(hold_order(fleet, other, kNow));
  EXPECT_EQ(hold_order(fleet, other, kNow)->failure.message,
            "no place for 3 nodes with image postgresql-15: for a node there is missing cpu 8");
  const auto placed = answer_needs(fleet, world.needs, kNow);
  ASSERT_TRUE(placed && placed->has_place_nodes()) << "its own reservation is not in its way";
  fleet.host_reported(HostName("c"), TimePoint{}, 50);
  EXPECT_FALSE(hold_order(fleet, other, kNow)) << "a silent host may make it possible";
}

TEST(Spreading, IsPaced) {
  ThreeHosts world;
  world.needs.used_hosts = {HostName("a"), HostName("a")};
  world.needs.spreads = true;
  Fleet fleet;
  world.fill(fleet);
  const auto move = [&](const char* name) {
    InstanceState moving = instance_on(name, {{'a', 6000}, {'b', 6000}});
    moving.spec.nodes_number = 1;
    fleet.set_instance(moving);
  };
  move("x");
  EXPECT_TRUE(answer_needs(fleet, world.needs, kNow));
  fleet.release(kInstance);
  move("y");
  EXPECT_FALSE(answer_needs(fleet, world.needs, kNow)) << "two move already";
}

}  // namespace
}  // namespace trunkline::provisioner::testing
