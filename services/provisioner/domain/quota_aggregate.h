// The quota aggregate (stream `quota-<project uuid>`): what all instances of a project may have
// together, counted over their nodes. That of the nil UUID is for every project without one of its
// own; without that one, too, kNoQuota holds. Pure.
//
// Rules: command_empty, uuid_malformed, quota_out_of_range: bad_value; uuid_in_use: conflict;
// quota_not_found: not_found.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/decision.h"
#include "base/ids.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::provisioner {

inline constexpr uint32_t kMaxQuotaInstances = 1'000'000;
inline constexpr uint32_t kMaxQuotaCpu = 1'000'000;
inline constexpr uint32_t kMaxQuotaRamMb = 1'000'000'000;
inline constexpr uint32_t kMaxQuotaDiskGb = 1'000'000'000;
inline constexpr char kDefaultQuotaId[] = "00000000-0000-0000-0000-000000000000";

struct Quota {
  uint32_t instances = kMaxQuotaInstances;
  uint32_t cpu = kMaxQuotaCpu;
  uint32_t ram_mb = kMaxQuotaRamMb;
  uint32_t disk_gb = kMaxQuotaDiskGb;
  bool operator==(const Quota&) const = default;
};
inline constexpr Quota kNoQuota{};

struct QuotaState {
  QuotaState() = default;
  explicit QuotaState(std::string project) : id(std::move(project)) {}

  std::string id;
  uint64_t version = 0;
  bool is_set = false;
  Quota quota;  // while it is set
  bool operator==(const QuotaState&) const = default;
};

struct QuotaFacts {};

Decision<v1::QuotaEvent> decide(const QuotaState& state, const v1::QuotaCommand& command,
                                const QuotaFacts& facts, TimePoint now);
void evolve(QuotaState& state, const v1::QuotaEvent& event, TimePoint recorded_at);

}  // namespace trunkline::provisioner
