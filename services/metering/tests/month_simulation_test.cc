// A month of life bills exactly what an independent recomputation from the log bills, whatever
// dies, is late or is lost. TRUNKLINE_METERING_SEEDS: how many more seeds; TRUNKLINE_METERING_DAYS:
// of each.
#include <gtest/gtest.h>

#include <cstdlib>

#include "sim_world.h"

namespace trunkline::metering {
namespace {

int64_t from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

Usage sum(const SimWorld& world) {
  Usage usage;
  for (const auto& [key, record] : world.records()) {
    add(usage[{record.instance_id, record.node_id, record.window.start_ms}], record.amounts);
  }
  std::erase_if(usage, [](const auto& entry) { return is_zero(entry.second); });
  return usage;
}

void expect_same(const Usage& billed, const Usage& oracle) {
  int64_t off = 0;
  for (const auto& [key, amounts] : oracle) {
    const auto found = billed.find(key);
    if (found != billed.end() && found->second == amounts) continue;
    if (++off > 3) continue;
    const auto& [instance, node, start] = key;
    for (size_t i = 0; i < kMeters; ++i) {
      const int64_t is = found == billed.end() ? 0 : found->second[i];
      EXPECT_EQ(is, amounts[i]) << meters()[i].column << " of " << instance << "/" << node
                                << " in the window from " << start;
    }
  }
  for (const auto& [key, amounts] : billed) {
    if (oracle.contains(key)) continue;
    if (++off > 6) continue;
    ADD_FAILURE() << "billed, but not used: " << std::get<0>(key) << "/" << std::get<1>(key)
                  << " in the window from " << std::get<2>(key);
  }
  EXPECT_EQ(off, 0) << "of " << oracle.size();
}

// The same records with the same ids come from the log alone.
void expect_same_after_rebuild(const SimWorld& world) {
  UsageState state;
  size_t count = 0;
  int64_t off = 0;
  for (const SimEvent& event : world.log()) {
    UsageChange change;
    evolve(state, {event.position, event.stream, event.version, 1, event.payload,
                   event.recorded_at}, change);
    for (const UsageRecord& record : change.records) {
      const auto found = world.records().find({event.position, record.ordinal});
      off += found == world.records().end() || !(found->second == record);
      ++count;
    }
  }
  EXPECT_EQ(off, 0);
  EXPECT_EQ(count, world.records().size());
}

void expect_sound(const SimWorld& world) {
  std::set<std::string> ids;
  std::set<UsageKey> originals;
  for (const auto& [key, record] : world.records()) {
    EXPECT_TRUE(ids.insert(record.id).second);
    EXPECT_FALSE(is_zero(record.amounts));
    if (record.is_correction) continue;
    EXPECT_TRUE(originals
                    .insert({record.instance_id, record.node_id, record.window.start_ms})
                    .second);
  }
}

// What agents and proxies really counted: never more than that is billed, and all of it where no
// counter was lost.
void expect_all_counted(const SimWorld& world, bool all) {
  std::map<std::string, Counters> billed;
  const Meter of_node[] = {Meter::transactions, Meter::wal_bytes, Meter::read_bytes,
                           Meter::write_bytes, Meter::cpu_seconds};
  const Meter of_endpoint[] = {Meter::bytes_in, Meter::bytes_out, Meter::connections,
                               Meter::connection_seconds};
  for (const auto& [key, record] : world.records()) {
    const bool is_node = !record.node_id.empty();
    Counters& counters = billed[is_node ? record.node_id : record.instance_id];
    for (size_t i = 0; i < (is_node ? 5 : 4); ++i) {
      counters[i] += static_cast<uint64_t>(
          at(record.amounts, is_node ? of_node[i] : of_endpoint[i]));
    }
  }
  auto truth = world.true_nodes();
  truth.merge(world.true_endpoints());
  for (const auto& [id, counted] : truth) {
    for (size_t i = 0; i < 5; ++i) {
      EXPECT_LE(billed[id][i], counted.total[i]) << id;
      if (all && world.is_alive(id)) {
        EXPECT_EQ(billed[id][i], counted.total[i]) << id;
      }
    }
  }
}

void run(const SimOptions& options) {
  SCOPED_TRACE("seed " + std::to_string(options.seed));
  SimWorld world(options);
  world.run();
  EXPECT_EQ(world.faults(), std::vector<std::string>());
  expect_same(sum(world), oracle(world.log()));
  expect_same_after_rebuild(world);
  expect_sound(world);
  expect_all_counted(world, !options.epochs_are_lost);
  const SimWorld::Story& story = world.story();
  std::cout << "seed " << options.seed << ": " << world.log().size() << " events, "
            << world.records().size() << " records (" << story.corrections << " corrections), "
            << story.creates << " created, " << story.resizes << " resized, " << story.failovers
            << " failovers, " << story.deletes << " deleted, " << story.crashes << " crashes ("
            << story.refolds << " refolds), " << story.conflicts << " conflicts, " << story.lost
            << " messages lost, " << story.steps_back << " steps of the log's clock\n";
  EXPECT_GT(story.corrections, 0);
  EXPECT_GT(story.crashes, 0);
}

TEST(MonthSimulation, AMonthOfTenMinuteWindows) {
  SimOptions options;
  options.seed = 20261;
  options.days = 30;
  options.window_ms = 600'000;
  options.report_ms = 200'000;
  run(options);
}

TEST(MonthSimulation, DaysOfMinuteWindows) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.length_changes = seed != 2;
    run(options);
  }
}

TEST(MonthSimulation, NoCounterIsLostSoAllIsBilled) {
  for (uint64_t seed = 11; seed <= 13; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.epochs_are_lost = false;
    options.calm_ms = 30 * 60'000;
    run(options);
  }
}

TEST(MonthSimulation, MoreSeeds) {
  const int64_t count = from_environment("TRUNKLINE_METERING_SEEDS", 0);
  if (count == 0) GTEST_SKIP() << "TRUNKLINE_METERING_SEEDS is not set";
  for (int64_t seed = 0; seed < count && !HasFailure(); ++seed) {
    SimOptions options;
    options.seed = 1000 + static_cast<uint64_t>(seed);
    options.days = from_environment("TRUNKLINE_METERING_DAYS", 1);
    options.epochs_are_lost = seed % 2 == 0;
    options.calm_ms = options.epochs_are_lost ? 0 : 30 * 60'000;
    options.length_changes = seed % 3 != 0;
    run(options);
  }
}

}  // namespace
}  // namespace trunkline::metering
