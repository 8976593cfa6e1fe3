#include "telemetry/sampling.h"

#include <gtest/gtest.h>

namespace trunkline::telemetry {
namespace {

TEST(ReadSampling, TruthTable) {
  struct Row {
    const char* sampler;
    const char* argument;
    bool parent_based;
    bool off;
    double ratio;
    bool understood;
  };
  const Row rows[] = {
      {"", "", true, false, kReadRatio, true},
      {"", "0.5", true, false, 0.5, true},
      {"", "0", true, false, 0, true},
      {"always_on", "", false, false, 1, true},
      {"always_off", "", false, true, kReadRatio, true},
      {"traceidratio", "0.25", false, false, 0.25, true},
      {"parentbased_always_on", "", true, false, 1, true},
      {"parentbased_always_off", "", true, true, kReadRatio, true},
      {"parentbased_traceidratio", "1", true, false, 1, true},
      {"traceidratio", "2", false, false, kReadRatio, false},
      {"traceidratio", "-0.1", false, false, kReadRatio, false},
      {"traceidratio", "nan", false, false, kReadRatio, false},
      {"traceidratio", "0.5x", false, false, kReadRatio, false},
      {"jaeger_remote", "", true, false, kReadRatio, false},
  };
  for (const Row& row : rows) {
    std::string why_not;
    const Sampling got = read_sampling(row.sampler, row.argument, &why_not);
    const std::string name = std::string(row.sampler) + " " + row.argument;
    EXPECT_EQ(got.parent_based, row.parent_based) << name;
    EXPECT_EQ(got.off, row.off) << name;
    EXPECT_EQ(got.ratio, row.ratio) << name;
    EXPECT_EQ(why_not.empty(), row.understood) << name;
  }
}

TEST(IsSampled, TruthTable) {
  constexpr uint64_t kLow = 1;
  constexpr uint64_t kHigh = UINT64_MAX;
  const Sampling rules{true, false, 0.5};
  const Sampling deaf{false, false, 0.5};
  const Sampling off{true, true, 0.5};
  struct Row {
    const char* name;
    Sampling sampling;
    std::optional<bool> parent;
    Weight weight;
    uint64_t number;
    bool sampled;
  };
  const Row rows[] = {
      {"a read below the ratio", rules, {}, Weight::read, kLow, true},
      {"a read above it", rules, {}, Weight::read, kHigh, false},
      {"a change above it", rules, {}, Weight::change, kHigh, true},
      {"a sampled parent", rules, true, Weight::read, kHigh, true},
      {"a parent that is not", rules, false, Weight::change, kLow, false},
      {"a parent that is not asked", deaf, false, Weight::change, kHigh, true},
      {"off", off, {}, Weight::change, kLow, false},
      {"off, yet the caller samples", off, true, Weight::change, kLow, true},
      {"all", {true, false, 1}, {}, Weight::read, kHigh, true},
      {"none of the reads", {true, false, 0}, {}, Weight::read, 0, false},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(is_sampled(row.sampling, row.parent, row.weight, row.number), row.sampled)
        << row.name;
  }
}

}  // namespace
}  // namespace trunkline::telemetry
