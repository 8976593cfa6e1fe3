#include "api-gateway/io/refusal_counts.h"

#include <utility>

#include "api-gateway/domain/origin.h"
#include "runtime/random.h"

namespace trunkline::gateway {
namespace {

constexpr char kNobody[] = "00000000-0000-0000-0000-000000000000";

v1::Command command_of(const std::string& token_id, TimePoint from, TimePoint to) {
  v1::Command command;
  command.set_command_id(runtime::new_uuid());
  command.set_correlation_id(command.command_id());
  command.set_aggregate_id(token_id.empty() ? kNobody : token_id);
  command.set_actor(token_id.empty() ? "unknown" : "token:" + token_id);
  command.set_issued_unix_us(to_unix_us(to));
  auto* refusals = command.mutable_token()->mutable_record_refusals();
  refusals->set_from_unix_us(to_unix_us(from));
  refusals->set_to_unix_us(to_unix_us(to));
  return command;
}

}  // namespace

RefusalCounts::RefusalCounts(CommandClient& commands, std::chrono::milliseconds window)
    : commands_(commands), counts_any_(window.count() > 0), since_(runtime::now()) {
  if (!counts_any_) return;
  ticker_ = std::make_unique<runtime::Ticker>(window, [this] { send(); });
}

void RefusalCounts::note(const Caller& caller, int status, const std::string& client_address) {
  if (status != 401 && status != 403 && status != 404) return;
  const std::lock_guard lock(mutex_);
  if (!counts_any_) return;
  const bool room = counts_.size() < kMostTokens || counts_.contains(caller.token_id);
  Count& count = counts_[room ? caller.token_id : std::string()];
  if (room) count.caller = caller;
  count.client_address = client_address;
  ++count.by_status[status];
}

void RefusalCounts::send() {
  std::map<std::string, Count> counts;
  TimePoint from;
  const TimePoint to = runtime::now();
  {
    const std::lock_guard lock(mutex_);
    counts.swap(counts_);
    from = std::exchange(since_, to);
  }
  for (const auto& [token_id, count] : counts) {
    v1::Command command = command_of(token_id, from, to);
    for (const auto& [status, number] : count.by_status) {
      auto* refusal = command.mutable_token()->mutable_record_refusals()->add_refusals();
      refusal->set_status(static_cast<uint32_t>(status));
      refusal->set_count(number);
    }
    if (!token_id.empty()) command.mutable_origin()->set_role(role_name(count.caller.role));
    command.mutable_origin()->set_project_id(count.caller.project_id);
    command.mutable_origin()->set_client_address(count.client_address);
    commands_.send(std::move(command), [](const CommandClient::Outcome&) {});
  }
}

void RefusalCounts::stop() {
  ticker_.reset();
  send();
}

}  // namespace trunkline::gateway
