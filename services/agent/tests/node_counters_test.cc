// Counters that only grow, from sources that begin anew: truth tables.
#include "agent/domain/node_counters.h"

#include <gtest/gtest.h>

#include <functional>

namespace trunkline::agent {
namespace {

ServerReading primary(uint32_t timeline, uint64_t lsn) {
  ServerReading out;
  out.primary = true;
  out.timeline = timeline;
  out.flush_lsn = lsn;
  out.bgwriter_reset = out.archiver_reset = "1";
  out.databases[5] = {"-", 100};
  return out;
}

ServerReading standby(uint32_t timeline, std::vector<TimelineSwitch> history = {}) {
  ServerReading out = primary(timeline, 0);
  out.primary = false;
  out.history = std::move(history);
  return out;
}

CounterState after(const std::vector<ServerReading>& servers) {
  CounterState state;
  for (const auto& server : servers) {
    CounterReading reading;
    reading.server = server;
    state = advance(std::move(state), reading);
  }
  return state;
}

TEST(NodeCounters, WalIsCountedOverRestartsAndReigns) {
  const std::vector<TimelineSwitch> two = {{2, 5000}};
  const std::vector<TimelineSwitch> three = {{2, 5000}, {3, 7000}};
  const auto with = [](ServerReading r, std::vector<TimelineSwitch> history) {
    r.history = std::move(history);
    return r;
  };
  const struct {
    const char* what;
    std::vector<ServerReading> seen;
    uint64_t wal;
  } rows[] = {
      {"first seen", {primary(1, 1000)}, 0},
      {"goes on", {primary(1, 1000), primary(1, 1700)}, 700},
      {"the same again", {primary(1, 1000), primary(1, 1700), primary(1, 1700)}, 700},
      {"an end before the known one", {primary(1, 1700), primary(1, 1000)}, 0},
      {"a standby writes none", {standby(1), standby(1)}, 0},
      {"promoted: from the switch on", {standby(1), with(primary(2, 5300), two)}, 300},
      {"promoted, history not readable", {standby(1), primary(2, 5300), primary(2, 5400)}, 100},
      {"deposed: up to the switch", {primary(1, 1000), standby(2, two)}, 4000},
      {"deposed: once", {primary(1, 1000), standby(2, two), standby(2, two)}, 4000},
      {"deposed: what it wrote behind the switch is gone", {primary(1, 5100), standby(2, two)}, 0},
      {"deposed: the history comes late", {primary(1, 1000), standby(2), standby(2, two)}, 4000},
      {"still on its old timeline", {primary(1, 1000), standby(1), standby(2, two)}, 4000},
      {"deposed and promoted again",
       {primary(1, 1000), standby(2, two), with(primary(3, 7200), three)},
       4200},
      {"promoted again, not seen in between",
       {primary(1, 1000), with(primary(3, 7200), three)},
       4200},
      {"own switch without a stop between",
       {primary(1, 1000), with(primary(2, 5300), two)},
       4300},
  };
  for (const auto& row : rows) EXPECT_EQ(after(row.seen).wal_bytes, row.wal) << row.what;
}

TEST(NodeCounters, TransactionsAreNeitherLostNorCountedTwice) {
  const auto with = [](std::map<uint32_t, DatabaseTransactions> databases,
                       const char* bgwriter = "1", const char* archiver = "1") {
    ServerReading out = primary(1, 1000);
    out.databases = std::move(databases);
    out.bgwriter_reset = bgwriter;
    out.archiver_reset = archiver;
    return out;
  };
  const struct {
    const char* what;
    std::vector<ServerReading> seen;
    uint64_t transactions;
  } rows[] = {
      {"first seen", {with({{5, {"-", 100}}})}, 0},
      {"goes on", {with({{5, {"-", 100}}}), with({{5, {"-", 130}}})}, 30},
      {"a database more", {with({{5, {"-", 1}}}), with({{5, {"-", 1}}, {6, {"-", 7}}})}, 7},
      {"a database less", {with({{5, {"-", 1}}, {6, {"-", 7}}}), with({{5, {"-", 2}}})}, 1},
      {"crash: fewer than before", {with({{5, {"-", 100}}}), with({{5, {"-", 40}}}, "2", "2")}, 40},
      {"crash: more than before",
       {with({{5, {"-", 100}}}), with({{5, {"-", 140}}}, "2", "2")},
       140},
      {"crash of which only the decrease tells",
       {with({{5, {"-", 100}}}), with({{5, {"-", 40}}})},
       40},
      {"somebody reset the background writer's numbers",
       {with({{5, {"-", 100}}}), with({{5, {"-", 140}}}, "2", "1")},
       40},
      {"somebody reset the database's", {with({{5, {"-", 100}}}), with({{5, {"9", 140}}})}, 140},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(after(row.seen).transactions, row.transactions) << row.what;
  }
}

TEST(NodeCounters, ProcessesCountFromTheirStart) {
  const struct {
    const char* what;
    std::vector<SourceCount> seen;
    uint64_t total;
  } rows[] = {
      {"first seen", {{"a", 50}}, 0},
      {"goes on", {{"a", 50}, {"a", 70}}, 20},
      {"no process", {{"a", 50}, {"", 0}, {"a", 70}}, 20},
      {"another one", {{"a", 50}, {"b", 30}}, 30},
      {"another one that has done more", {{"a", 50}, {"b", 80}}, 80},
      {"a child was missed and comes back", {{"a", 50}, {"a", 40}, {"a", 60}}, 10},
  };
  for (const auto& row : rows) {
    CounterState state;
    for (const auto& source : row.seen) {
      CounterReading reading;
      reading.cpu_ms = reading.read_bytes = reading.write_bytes = source;
      state = advance(state, reading);
    }
    EXPECT_EQ(state.cpu_ms, row.total) << row.what;
    EXPECT_EQ(state.read_bytes, row.total) << row.what;
    EXPECT_EQ(state.write_bytes, row.total) << row.what;
  }
}

TEST(NodeCounters, ASilentServerChangesNothingOfItsOwn) {
  const CounterState before = after({primary(1, 1000), primary(1, 1700)});
  EXPECT_EQ(advance(before, CounterReading{}), before);
}

TEST(NodeCounters, HistoryIsAskedForWhenATimelineIsNew) {
  const CounterState none;
  const CounterState reigned = after({primary(2, 1000)});
  EXPECT_FALSE(needs_history(none, true, 1));
  EXPECT_TRUE(needs_history(none, true, 2));
  EXPECT_FALSE(needs_history(none, false, 2));
  EXPECT_FALSE(needs_history(reigned, true, 2));
  EXPECT_TRUE(needs_history(reigned, true, 3));
  EXPECT_FALSE(needs_history(reigned, false, 2));
  EXPECT_TRUE(needs_history(reigned, false, 3));
}

}  // namespace
}  // namespace trunkline::agent
