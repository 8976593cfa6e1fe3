#include <gtest/gtest.h>

#include <random>

#include "proxy/domain/route_view.h"
#include "proxy/domain/traffic.h"
#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

std::string ready(char status) { return message('Z', std::string(1, status)); }
std::string complete() { return message('C', std::string("INSERT 0 1\0", 11)); }
std::string warning(const std::string& severity, const std::string& routine) {
  std::string body;
  for (const std::string& field : {"S" + severity, "V" + severity, std::string("C01000"),
                                   std::string("Mwarned"), "R" + routine}) {
    body += field;
    body.push_back('\0');
  }
  body.push_back('\0');
  return message('N', body);
}
std::string extended(const std::string& name) {
  return parse_message(name, "SELECT 1", {}) + message('B', std::string(8, '\0')) +
         message('E', std::string(5, '\0')) + message('S', {});
}

TEST(Traffic, idle_only_when_all_is_answered) {
  Traffic traffic;
  EXPECT_TRUE(traffic.idle());
  traffic.from_client(simple_query("SELECT 1"));
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(complete() + ready('I'));
  EXPECT_TRUE(traffic.idle());
  traffic.from_client(simple_query("SELECT 1") + simple_query("SELECT 2"));
  traffic.from_server(complete() + ready('I'));
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(complete() + ready('I'));
  EXPECT_TRUE(traffic.idle());
}

TEST(Traffic, not_idle_within_a_transaction) {
  Traffic traffic;
  traffic.from_client(simple_query("BEGIN"));
  traffic.from_server(complete() + ready('T'));
  EXPECT_FALSE(traffic.idle());
  EXPECT_EQ(traffic.status(), 'T');
  traffic.from_client(simple_query("x"));
  traffic.from_server(ready('E'));
  EXPECT_FALSE(traffic.idle());
  traffic.from_client(simple_query("ROLLBACK"));
  traffic.from_server(ready('I'));
  EXPECT_TRUE(traffic.idle());
}

TEST(Traffic, not_idle_before_the_sync_or_within_a_message) {
  Traffic traffic;
  traffic.from_client(parse_message("s", "SELECT 1", {}));
  EXPECT_FALSE(traffic.idle());
  traffic.from_client(message('S', {}));
  traffic.from_server(message('1', {}) + ready('I'));
  EXPECT_TRUE(traffic.idle());
  traffic.from_client(std::string_view("Q\0", 2));
  EXPECT_FALSE(traffic.idle());
}

std::string parse_only(const std::string& name, const std::string& sql) {
  return parse_message(name, sql, {}) + message('S', {});
}
std::string unnamed(const std::string& sql) { return parse_message("", sql, {}).substr(kHeader); }
std::string failed() { return message('E', std::string("C42P01\0\0", 8)); }

TEST(Traffic, the_unnamed_statement_is_known_as_long_as_it_lives) {
  Traffic traffic;
  traffic.from_client(parse_only("", "SELECT 1"));
  traffic.from_server(message('1', {}) + ready('I'));
  EXPECT_TRUE(traffic.idle());
  EXPECT_EQ(traffic.unnamed(), unnamed("SELECT 1"));
  // Bound, it can be bound again.
  traffic.from_client(message('B', std::string(8, '\0')) + message('E', std::string(5, '\0')) +
                      message('S', {}));
  traffic.from_server(message('2', {}) + complete() + ready('I'));
  EXPECT_TRUE(traffic.idle());
  EXPECT_EQ(traffic.unnamed(), unnamed("SELECT 1"));
  traffic.from_client(extended("named"));
  traffic.from_server(ready('I'));
  EXPECT_EQ(traffic.unnamed(), unnamed("SELECT 1"));
  traffic.from_client(parse_only("", "broken"));
  traffic.from_server(failed() + ready('I'));
  EXPECT_TRUE(traffic.idle());
  EXPECT_FALSE(traffic.unnamed_is_uncertain());  // it fails again
  traffic.from_client(message('C', std::string("S\0", 2)) + message('S', {}));
  traffic.from_server(message('3', {}) + ready('I'));
  EXPECT_EQ(traffic.unnamed(), "");
  traffic.from_client(parse_only("", "SELECT 2"));
  traffic.from_client(simple_query("SELECT 3"));
  EXPECT_EQ(traffic.unnamed(), "");
}

// An error may have come before a Parse, which was thrown away then.
TEST(Traffic, which_unnamed_statement_is_left_by_an_error_can_be_uncertain) {
  const std::string sync = message('S', {});
  struct Row {
    std::string sent;
    bool uncertain;
  };
  const std::vector<Row> rows = {
      {parse_message("", "a", {}) + sync, false},
      {extended("named"), false},
      {parse_message("", "a", {}) + parse_message("", "b", {}) + sync, true},
      {message('B', std::string(8, '\0')) + parse_message("", "b", {}) + sync, true},
      {parse_message("", "a", {}) + parse_message("", "b", {}), true},
      {parse_message("", "a", {}) + parse_message("", "b", {}) + sync + parse_only("", "c"), false},
      {parse_message("", "a", {}) + parse_message("", "b", {}) + sync + simple_query("c"), false},
  };
  for (const auto& row : rows) {
    Traffic traffic;
    traffic.from_client(row.sent);
    traffic.from_server(failed() + ready('I'));
    EXPECT_EQ(traffic.unnamed_is_uncertain(), row.uncertain) << &row - rows.data();
    traffic.from_client(simple_query("x"));
    EXPECT_FALSE(traffic.unnamed_is_uncertain());
  }
  Traffic traffic;
  traffic.from_client(parse_message("", "a", {}) + message('H', {}));
  traffic.from_server(failed());
  traffic.from_client(parse_only("", "b"));
  EXPECT_TRUE(traffic.unnamed_is_uncertain());
  Traffic long_one;
  long_one.from_client(parse_only("", std::string(kMostUnnamed, ' ')));
  EXPECT_TRUE(long_one.unnamed_is_uncertain());
}

TEST(Traffic, copy_in_by_either_protocol_ends_idle) {
  Traffic traffic;
  traffic.from_client(simple_query("COPY t FROM STDIN"));
  traffic.from_server(message('G', std::string(3, '\0')));
  EXPECT_FALSE(traffic.idle());
  traffic.from_client(message('d', "1\n") + message('c', {}));
  traffic.from_server(complete() + ready('I'));
  EXPECT_TRUE(traffic.idle());

  traffic.from_client(extended(""));
  traffic.from_server(message('G', std::string(3, '\0')));
  EXPECT_FALSE(traffic.idle());
  traffic.from_client(message('d', "1\n") + message('c', {}) + message('S', {}));
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(complete() + ready('I'));
  EXPECT_TRUE(traffic.idle());
}

std::string run_unnamed(const std::string& sql) {
  return parse_message("", sql, {}) + message('B', std::string(8, '\0')) +
         message('E', std::string(5, '\0'));
}

// S10: a Sync behind the copy's own end is answered, one before it is thrown away.
TEST(Traffic, what_follows_a_copy_in_one_flight_is_waited_for) {
  const std::string sync = message('S', {});
  const std::string copy_in = message('G', std::string(3, '\0'));
  Traffic traffic;
  traffic.from_client(run_unnamed("copy") + message('d', "1") + message('c', {}) + sync +
                      run_unnamed("insert") + sync);
  traffic.from_server(copy_in);
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(complete() + ready('I'));
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(complete() + ready('I'));
  EXPECT_TRUE(traffic.idle());

  // Two copies in one flight, with a Sync too many within each.
  traffic.from_client(run_unnamed("copy") + sync + message('d', "1") + message('c', {}) + sync +
                      run_unnamed("copy") + message('d', "1") + sync + message('c', {}) + sync);
  traffic.from_server(copy_in + complete() + ready('I'));
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(copy_in + complete());
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(ready('I'));
  EXPECT_TRUE(traffic.idle());

  // One that fails.
  traffic.from_client(run_unnamed("copy") + sync);
  traffic.from_server(copy_in);
  traffic.from_client(message('d', "bad"));
  traffic.from_server(failed());
  EXPECT_FALSE(traffic.idle());
  traffic.from_client(message('c', {}) + sync);
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(ready('I'));
  EXPECT_TRUE(traffic.idle());

  traffic.from_client(simple_query("copy; copy") + message('d', "1") + message('c', {}) +
                      message('d', "2") + message('c', {}));
  traffic.from_server(copy_in + complete() + copy_in + complete());
  EXPECT_FALSE(traffic.idle());
  traffic.from_server(ready('I'));
  EXPECT_TRUE(traffic.idle());
}

TEST(Traffic, what_is_asked_in_vain_costs_no_memory_without_end) {
  Traffic traffic;
  std::string flood = parse_message("", "a", {});
  for (int i = 0; i < 100'000; ++i) flood += message('c', {});
  traffic.from_client(flood);
  EXPECT_FALSE(traffic.idle());
  traffic.from_client(message('S', {}));
  traffic.from_server(ready('I'));
  EXPECT_FALSE(traffic.idle());  // it is not followed any more
}

TEST(Traffic, ties_last_until_all_is_discarded) {
  const auto discarded = message('C', std::string("DISCARD ALL\0", 12)) + ready('I');
  Traffic traffic;
  traffic.from_client(simple_query("LISTEN x; SELECT set_config('a.b', '', false), setseed(0)"));
  traffic.from_server(complete() + ready('I'));
  EXPECT_TRUE(traffic.ties().has(Tie::listen));
  EXPECT_TRUE(traffic.ties().has(Tie::own_setting));
  traffic.from_client(simple_query("DISCARD ALL") + simple_query("SET a.b = 1"));
  traffic.from_server(discarded);
  EXPECT_TRUE(traffic.ties().has(Tie::own_setting));  // sent behind it
  traffic.from_server(complete() + ready('I'));
  traffic.from_client(simple_query("DISCARD ALL"));
  traffic.from_server(discarded);
  EXPECT_FALSE(traffic.ties().has(Tie::own_setting));
  EXPECT_FALSE(traffic.ties().has(Tie::listen));
  EXPECT_TRUE(traffic.ties().has(Tie::random_seed));
  EXPECT_FALSE(traffic.strings_changed());
  traffic.from_server(message('S', std::string("standard_conforming_strings\0off\0", 32)));
  EXPECT_TRUE(traffic.strings_changed());
}

TEST(Traffic, goodbye) {
  Traffic traffic;
  traffic.from_client(message('X', {}));
  EXPECT_TRUE(traffic.client_said_goodbye());
  EXPECT_FALSE(traffic.idle());
}

TEST(Traffic, lengths_below_four_are_no_messages) {
  Traffic traffic;
  EXPECT_FALSE(traffic.from_client(std::string_view("Q\0\0\0\3xx", 7)));
  Traffic other;
  const std::string bad = ready('I') + std::string("D\0\0\0\0", 5);
  EXPECT_EQ(other.from_server(bad), ready('I').size());
  EXPECT_FALSE(other.commit_in_doubt());
}

TEST(Traffic, a_success_behind_a_cancelled_wait_does_not_pass) {
  const std::string warned = warning("WARNING", "SyncRepWaitForLSN");
  for (const std::string& tail : {complete() + ready('I'), ready('I')}) {
    Traffic traffic;
    EXPECT_EQ(traffic.from_server(warned + tail), warned.size());
    EXPECT_TRUE(traffic.commit_in_doubt());
    EXPECT_TRUE(traffic.server_at_boundary());
  }
}

TEST(Traffic, other_notices_pass) {
  for (const std::string& notice :
       {warning("NOTICE", "SyncRepWaitForLSN"), warning("WARNING", "exec_stmt_raise"),
        message('N', std::string(10'000, 'R')), message('N', {}), message('N', "RSync")}) {
    Traffic traffic;
    const std::string bytes = notice + complete() + ready('I');
    EXPECT_EQ(traffic.from_server(bytes), bytes.size());
    EXPECT_FALSE(traffic.commit_in_doubt());
  }
}

// However the bytes are cut, the same is seen and the same passes.
TEST(Traffic, cuts_change_nothing) {
  std::mt19937 dice(42);
  const std::string client = extended("") + simple_query("SELECT 1") + extended("x");
  const std::string server = message('S', "a\0b") + complete() + ready('I') + complete() +
                             ready('I') + warning("WARNING", "SyncRepWaitForLSN");
  const std::string all = server + complete() + ready('I');
  for (int round = 0; round < 2'000; ++round) {
    Traffic traffic;
    for (size_t at = 0; at < client.size();) {
      const size_t size = std::min<size_t>(1 + dice() % 9, client.size() - at);
      ASSERT_TRUE(traffic.from_client(std::string_view(client).substr(at, size)));
      at += size;
    }
    size_t passed = 0;
    while (passed < all.size()) {
      const size_t size = std::min<size_t>(1 + dice() % 9, all.size() - passed);
      const size_t allowed = traffic.from_server(std::string_view(all).substr(passed, size));
      passed += allowed;
      if (allowed < size) break;
    }
    ASSERT_EQ(passed, server.size());
    ASSERT_TRUE(traffic.commit_in_doubt());
  }
}

TEST(Traffic, any_bytes_are_survived) {
  std::mt19937 dice(99);
  for (int round = 0; round < 5'000; ++round) {
    Traffic traffic;
    std::string bytes(dice() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(dice() % 3 == 0 ? dice() : 0);
    traffic.from_client(bytes);
    EXPECT_LE(traffic.from_server(bytes), bytes.size());
  }
}

// --- routes ---

RouteView view_of(RouteView::State state, uint64_t term) {
  RouteView out;
  out.state = state;
  out.term = term;
  out.nodes = {{NodeId("p"), true, state == RouteView::State::open},
               {NodeId("s1"), false, true},
               {NodeId("s2"), false, true}};
  return out;
}

TEST(Routes, fates) {
  using State = RouteView::State;
  const Placed primary{NodeId("p"), 3, true};
  const Placed standby{NodeId("s1"), 3, false};
  const Placed left{NodeId("gone"), 3, false};
  const Placed gone_primary{NodeId("gone"), 3, true};
  RouteView planned = view_of(State::open, 4);
  planned.after_hold = true;
  struct Row {
    RouteView route;
    Fate of_primary;
    Fate of_standby;
  };
  const std::vector<Row> rows = {
      {view_of(State::open, 3), Fate::stay, Fate::stay},
      {view_of(State::open, 4), Fate::cut, Fate::stay},
      {planned, Fate::carry_now, Fate::stay},
      {view_of(State::hold, 3), Fate::carry, Fate::stay},
      {view_of(State::hold, 4), Fate::carry, Fate::stay},
      {view_of(State::down, 3), Fate::cut, Fate::stay},
      {view_of(State::down, 4), Fate::cut, Fate::stay},
      {view_of(State::gone, 3), Fate::cut, Fate::cut},
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(fate_of(rows[i].route, primary), rows[i].of_primary) << i;
    EXPECT_EQ(fate_of(rows[i].route, standby), rows[i].of_standby) << i;
    const bool over = rows[i].route.state == State::gone;
    EXPECT_EQ(fate_of(rows[i].route, left), over ? Fate::cut : Fate::carry_now) << i;
    EXPECT_NE(fate_of(rows[i].route, gone_primary), Fate::stay) << i;
  }
}

// Who reads is led away from the primary as soon as there is a standby, and left alone until then.
TEST(Routes, fates_of_readers_on_the_primary) {
  using State = RouteView::State;
  const Placed promoted{NodeId("p"), 2, false, "", EndpointKind::read_only};
  const Placed for_want{NodeId("p"), 3, true, "", EndpointKind::read_only};
  const auto alone = [](RouteView route) {
    for (auto& node : route.nodes) node.serves = node.serves && node.primary;
    return route;
  };
  struct Row {
    RouteView route;
    Fate of_promoted;
    Fate of_for_want;
  };
  const std::vector<Row> rows = {
      {view_of(State::open, 3), Fate::move, Fate::move},
      {alone(view_of(State::open, 3)), Fate::stay, Fate::stay},
      {view_of(State::hold, 3), Fate::carry, Fate::carry},
      {view_of(State::down, 4), Fate::move, Fate::cut},
      {alone(view_of(State::down, 4)), Fate::stay, Fate::cut},
      {view_of(State::gone, 3), Fate::cut, Fate::cut},
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(fate_of(rows[i].route, promoted), rows[i].of_promoted) << i;
    EXPECT_EQ(fate_of(rows[i].route, for_want), rows[i].of_for_want) << i;
  }
}

TEST(Routes, a_session_ends_with_its_user) {
  RouteView route = view_of(RouteView::State::hold, 3);
  const Placed ann{NodeId("p"), 3, true, "ann"};
  EXPECT_EQ(fate_of(route, ann), Fate::carry) << "a route that names nobody";
  route.verifiers = {{"ann", "v"}, {"bob", "v"}};
  EXPECT_EQ(fate_of(route, ann), Fate::carry);
  EXPECT_EQ(fate_of(route, Placed{NodeId("s1"), 3, false, "bob"}), Fate::stay);
  route.verifiers.erase("ann");
  EXPECT_EQ(fate_of(route, ann), Fate::cut);
  EXPECT_EQ(fate_of(route, Placed{NodeId("s1"), 3, false, "ann"}), Fate::cut);
  EXPECT_EQ(fate_of(route, Placed{NodeId("s1"), 3, false, "bob"}), Fate::stay);
}

TEST(Routes, after_hold_lasts_for_the_term) {
  v1::Route route;
  route.set_state(v1::ROUTE_STATE_HOLD);
  route.set_term(1);
  const RouteView hold = route_view(route, nullptr);
  route.set_state(v1::ROUTE_STATE_OPEN);
  route.set_term(2);
  const RouteView open = route_view(route, &hold);
  EXPECT_TRUE(open.after_hold);
  EXPECT_TRUE(route_view(route, &open).after_hold);
  route.set_term(3);
  EXPECT_FALSE(route_view(route, &open).after_hold);
  EXPECT_FALSE(route_view(route, nullptr).after_hold);
}

TEST(Routes, picks) {
  using State = RouteView::State;
  const auto picked = [](const RouteView& route, EndpointKind kind,
                         const std::vector<NodeId>& unreachable, const std::string& busy) {
    const NodeView* node = pick_node(route, kind, unreachable, [&busy](const NodeId& id) {
      return id.str() == busy ? 1u : 0u;
    });
    return node == nullptr ? std::string("-") : node->id.str();
  };
  const auto rw = EndpointKind::read_write;
  const auto ro = EndpointKind::read_only;
  const RouteView open = view_of(State::open, 1);
  EXPECT_EQ(picked(open, rw, {}, "p"), "p");
  EXPECT_EQ(picked(open, rw, {NodeId("p")}, ""), "-");
  EXPECT_EQ(picked(open, ro, {}, "s1"), "s2");
  EXPECT_EQ(picked(open, ro, {}, "s2"), "s1");
  EXPECT_EQ(picked(open, ro, {NodeId("s1"), NodeId("s2")}, ""), "p");
  EXPECT_EQ(picked(view_of(State::hold, 1), rw, {}, ""), "-");
  EXPECT_EQ(picked(view_of(State::hold, 1), ro, {}, ""), "s1");
  EXPECT_EQ(picked(view_of(State::down, 1), rw, {}, ""), "-");
  EXPECT_EQ(picked(view_of(State::gone, 1), ro, {}, ""), "-");
  // A company keeps together whatever the load, and where one of its nodes is lost.
  for (const char* company : {"app app", "u d", "x y"}) {
    const NodeView* first = pick_node(open, ro, {}, [](const NodeId&) { return 0u; }, company);
    for (const char* busy : {"s1", "s2"}) {
      const auto load = [busy](const NodeId& id) { return id.str() == busy ? 9u : 0u; };
      EXPECT_EQ(pick_node(open, ro, {}, load, company), first);
    }
    EXPECT_NE(pick_node(open, ro, {first->id}, [](const NodeId&) { return 0u; }, company), first);
  }
  RouteView lagging = open;
  lagging.nodes[1].lag_bytes = lagging.nodes[2].lag_bytes = int64_t{1} << 40;
  EXPECT_EQ(picked(lagging, ro, {}, ""), "p");
  RouteView stopped = open;
  stopped.nodes[1].serves = false;
  EXPECT_EQ(picked(stopped, ro, {}, "s2"), "s2");
}

}  // namespace
}  // namespace trunkline::proxy
