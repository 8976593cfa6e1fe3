#include "provisioner/domain/quota_aggregate.h"

#include "provisioner/domain/instance_rules.h"

namespace trunkline::provisioner {
namespace {

using QuotaDecision = Decision<v1::QuotaEvent>;

Broken check_most(const char* field, uint32_t value, uint32_t most) {
  if (value <= most) return std::nullopt;
  return reject(RejectionBlame::bad_value, "quota_out_of_range",
                std::string(field) + " must be from 0 to " + std::to_string(most) + ", not " +
                    std::to_string(value));
}

QuotaDecision set(const QuotaState& state, const Quota& quota) {
  if (auto b = check_uuid("uuid", state.id)) return *b;
  if (auto b = check_most("instances", quota.instances, kMaxQuotaInstances)) return *b;
  if (auto b = check_most("cpu", quota.cpu, kMaxQuotaCpu)) return *b;
  if (auto b = check_most("ram", quota.ram_mb, kMaxQuotaRamMb)) return *b;
  if (auto b = check_most("disk_size", quota.disk_gb, kMaxQuotaDiskGb)) return *b;
  if (state.is_set && state.quota == quota) return ignore("the quota is like this already");
  v1::QuotaEvent event;
  auto& e = *event.mutable_quota_set();
  e.set_instances(quota.instances);
  e.set_cpu(quota.cpu);
  e.set_ram_mb(quota.ram_mb);
  e.set_disk_gb(quota.disk_gb);
  return accept(std::vector{std::move(event)});
}

QuotaDecision create(const QuotaState& state, const v1::CreateQuota& c) {
  if (state.is_set) {
    return reject(RejectionBlame::conflict, "uuid_in_use",
                  "project " + state.id + " has a quota already: change that");
  }
  return set(state, {.instances = c.instances(), .cpu = c.cpu(), .ram_mb = c.ram_mb(),
                     .disk_gb = c.disk_gb()});
}

Rejection not_found(const QuotaState& state) {
  return reject(RejectionBlame::not_found, "quota_not_found",
                "project " + state.id + " has no quota of its own");
}

QuotaDecision update(const QuotaState& state, const v1::UpdateQuota& c) {
  if (!state.is_set) return not_found(state);
  Quota quota = state.quota;
  if (c.has_instances()) quota.instances = c.instances();
  if (c.has_cpu()) quota.cpu = c.cpu();
  if (c.has_ram_mb()) quota.ram_mb = c.ram_mb();
  if (c.has_disk_gb()) quota.disk_gb = c.disk_gb();
  return set(state, quota);
}

QuotaDecision remove(const QuotaState& state) {
  if (!state.is_set) return not_found(state);
  v1::QuotaEvent event;
  event.mutable_quota_deleted();
  return accept(std::vector{std::move(event)});
}

}  // namespace

QuotaDecision decide(const QuotaState& state, const v1::QuotaCommand& command, const QuotaFacts&,
                     TimePoint) {
  switch (command.body_case()) {
    case v1::QuotaCommand::kCreateQuota: return create(state, command.create_quota());
    case v1::QuotaCommand::kUpdateQuota: return update(state, command.update_quota());
    case v1::QuotaCommand::kDeleteQuota: return remove(state);
    case v1::QuotaCommand::BODY_NOT_SET: break;
  }
  return reject(RejectionBlame::bad_value, "command_empty", "the command has no body");
}

void evolve(QuotaState& state, const v1::QuotaEvent& event, TimePoint) {
  ++state.version;
  switch (event.body_case()) {
    case v1::QuotaEvent::kQuotaSet: {
      const auto& e = event.quota_set();
      state.is_set = true;
      state.quota = {.instances = e.instances(), .cpu = e.cpu(), .ram_mb = e.ram_mb(),
                     .disk_gb = e.disk_gb()};
      return;
    }
    case v1::QuotaEvent::kQuotaDeleted:
      state.is_set = false;
      state.quota = {};
      return;
    case v1::QuotaEvent::BODY_NOT_SET: return;
  }
}

}  // namespace trunkline::provisioner
