#include "metering/domain/webhook_delivery.h"

#include <algorithm>

namespace trunkline::metering {
namespace {

constexpr int kGone = 410;

// The receiver understood and says no: it will say so again.
bool is_refusal(int status) {
  constexpr int kTimeout = 408, kTooEarly = 425, kTooMany = 429;
  return status >= 400 && status < 500 && status != kTimeout && status != kTooEarly &&
         status != kTooMany;
}

milliseconds pause_after(const DeliveryPolicy& policy, uint32_t tries, uint32_t random) {
  auto pause = policy.first_pause;
  for (uint32_t i = 1; i < tries && pause < policy.longest_pause; ++i) pause *= 2;
  pause = std::min(pause, policy.longest_pause);
  // Between a half and all of it, so that many that failed together do not come back together.
  const auto half = pause.count() / 2;
  return milliseconds(half + static_cast<int64_t>((static_cast<uint64_t>(pause.count() - half) *
                                                   random) >> 32));
}

}  // namespace

DeliveryVerdict judge(const DeliveryPolicy& policy, const DeliveryResult& result, TimePoint now,
                      uint32_t random, DeliveryTries* tries) {
  if (result.status >= 200 && result.status < 300) {
    *tries = {};
    return DeliveryVerdict::delivered;
  }
  if (result.status == kGone) return DeliveryVerdict::disabled;
  if (tries->tries == 0) tries->first_at = now;
  ++tries->tries;
  if (is_refusal(result.status)) ++tries->refused;
  if (tries->refused >= policy.refusals || now - tries->first_at >= policy.give_up_after) {
    *tries = {};
    return DeliveryVerdict::dead;
  }
  milliseconds pause = pause_after(policy, tries->tries, random);
  if (result.retry_after) {
    pause = std::max(pause, std::min(*result.retry_after, policy.longest_wish));
  }
  tries->next_at = now + pause;
  return DeliveryVerdict::again;
}

std::string_view trouble_of(const DeliveryPolicy& policy, const DeliveryTries& tries,
                            int64_t dead_letters, TimePoint now) {
  if (tries.tries > 0 && now - tries.first_at >= policy.trouble_after) return "receiver_away";
  return dead_letters > 0 ? "dead_letters" : "";
}

std::optional<milliseconds> parse_retry_after(std::string_view text) {
  if (text.empty() || text.size() > 9) return std::nullopt;
  int64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return milliseconds(value * 1000);
}

}  // namespace trunkline::metering
