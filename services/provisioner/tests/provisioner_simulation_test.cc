// Whole lives of instances under faults. A failing seed prints itself; TRUNKLINE_SIM_SEED=<n> runs
// that one alone and prints its history, TRUNKLINE_SIM_SEEDS=<n> runs more or fewer.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "provisioner/tests/sim_world.h"

namespace trunkline::provisioner::testing {
namespace {

uint64_t env_number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct Outcome {
  std::string trouble;
  uint64_t digest = 0;
  size_t events = 0;
  std::map<std::string, size_t> counts;
};

Outcome live(uint64_t seed) {
  Rng shape(seed ^ 0xABCDEF);
  const auto hosts = static_cast<uint32_t>(1 + shape.below(5));
  const auto instances = static_cast<uint32_t>(1 + shape.below(2));
  World world(seed, hosts, instances);
  for (int i = 0; i < 3; ++i) world.step();  // hosts are heard of
  Faults faults;
  if (shape.chance(80)) {
    faults = {.loss = shape.below(40), .repeat = shape.below(40), .host_fails = shape.below(4),
              .agent_dies = shape.below(6), .provisioner_dies = shape.below(25),
              .replication_sleeps = shape.below(20), .max_delay_ms = 20 + shape.below(1000)};
  }
  world.set_faults(faults);
  const bool troubled = shape.chance(50);
  const uint64_t busy = 5 + shape.below(40);
  world.customer();
  for (uint64_t i = 0; i < busy; ++i) {
    if (shape.chance(20)) world.customer();
    if (shape.chance(troubled ? 10 : 0)) world.administrator();
    world.step();
  }
  world.set_faults({});
  // Calm: what is in flight arrives, then everything must come true by itself.
  constexpr int kPatience = 1000;
  int quiet_steps = 0;
  for (int i = 0; i < kPatience && quiet_steps < 3; ++i) {
    if (i % 40 == 0) world.mend();
    world.step();
    quiet_steps = world.is_quiet() && world.why_not_converged().empty() ? quiet_steps + 1 : 0;
  }
  if (std::getenv("TRUNKLINE_SIM_SEED")) std::cout << world.history();
  Outcome out;
  for (const auto& violation : world.violations()) out.trouble += violation + "\n";
  if (quiet_steps < 3) {
    const std::string why = world.why_not_converged();
    out.trouble += "not converged: " + (why.empty() ? "never quiet" : why) + "\n";
  }
  out.digest = world.digest();
  out.events = world.events();
  out.counts = world.counts();
  return out;
}

TEST(ProvisionerSimulation, EveryLifeConverges) {
  const uint64_t only = env_number("TRUNKLINE_SIM_SEED", 0);
  const uint64_t first = only ? only : 1;
  const uint64_t last = only ? only : env_number("TRUNKLINE_SIM_SEEDS", 10'000);
  const auto begin = std::chrono::steady_clock::now();
  size_t events = 0;
  std::map<std::string, size_t> counts;
  int failed = 0;
  for (uint64_t seed = first; seed <= last && failed < 5; ++seed) {
    const Outcome outcome = live(seed);
    events += outcome.events;
    for (const auto& [what, count] : outcome.counts) counts[what] += count;
    if (outcome.trouble.empty()) continue;
    ++failed;
    ADD_FAILURE() << "TRUNKLINE_SIM_SEED=" << seed << ": " << outcome.trouble;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::cout << last - first + 1 << " seeds, " << events << " events, " << took.count() << " s";
  for (const auto& [what, count] : counts) std::cout << "\n  " << what << " " << count;
  std::cout << "\n";
  if (only || failed) return;
  // A simulation that never meets a thing proves nothing about it.
  for (const char* what : {"instance_failed", "instance_retried", "instance_deleted",
                           "node_removal_started", "node_removed", "database_activated",
                           "restart", "orphan", "drain", "undrain", "lost", "switchover",
                           "switchover for a restart", "change of a node that serves", "spread"}) {
    EXPECT_GT(counts[what], 0u) << what;
  }
  EXPECT_EQ(counts["quarantine"], 0u) << "the log knows every node that was ever ordered";
}

TEST(ProvisionerSimulation, OneSeedOneHistory) {
  for (uint64_t seed = 1; seed <= 50; ++seed) EXPECT_EQ(live(seed).digest, live(seed).digest);
}

}  // namespace
}  // namespace trunkline::provisioner::testing
