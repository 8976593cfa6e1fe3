#include "metering/domain/usage_evolve.h"

#include <algorithm>

#include "metering/domain/usage_fold.h"

namespace trunkline::metering {
namespace {

constexpr std::string_view kInstance = "instance-";
constexpr std::string_view kUsage = "usage-";

int64_t to_ms(TimePoint at) { return aligned(to_unix_us(at), 1000) / 1000; }

template <class Event>
std::optional<std::string> parse(const LogEvent& from, Event& event) {
  if (from.schema_version != 1) {
    return "schema version " + std::to_string(from.schema_version) + " is not known";
  }
  if (!event.ParseFromArray(from.payload.data(), static_cast<int>(from.payload.size()))) {
    return "the payload cannot be parsed";
  }
  return std::nullopt;
}

std::optional<std::string> take_instance(UsageState& state, const LogEvent& from,
                                         UsageChange& change) {
  const std::string id(from.stream.substr(kInstance.size()));
  int64_t at_ms = to_ms(from.recorded_at);
  if (InstanceState* instance = state.find_instance(id)) {
    at_ms = instance->last_ms = std::max(instance->last_ms, at_ms);
  }
  v1::InstanceEvent event;
  if (auto error = parse(from, event)) return error;
  evolve_instance(state, id, from.version, at_ms, event, change);
  return std::nullopt;
}

std::optional<std::string> take_usage(UsageState& state, const LogEvent& from,
                                      UsageChange& change) {
  const std::string id(from.stream.substr(kUsage.size()));
  // The version is what the next append must name, also after an event that cannot be read.
  const bool is_windows = id == windows_stream_uuid();
  (is_windows ? state.windows_version : state.sources[id].version) = from.version;
  v1::UsageEvent event;
  if (auto error = parse(from, event)) return error;
  switch (event.body_case()) {
    case v1::UsageEvent::kUsageMeasured:
      if (is_windows) return "usage is measured in the windows' stream";
      evolve_measured(state, id, from.version, to_ms(from.recorded_at), event.usage_measured());
      return std::nullopt;
    case v1::UsageEvent::kUsageWindowClosed:
      if (!is_windows) return "a window is closed in a source's stream";
      evolve_closed(state, from.position, to_ms(from.recorded_at), event.usage_window_closed(),
                    change);
      return std::nullopt;
    case v1::UsageEvent::BODY_NOT_SET: return "the event is of no known type";
  }
  return "the event is of no known type";
}

}  // namespace

bool is_folded(std::string_view stream) {
  return stream.starts_with(kInstance) || stream.starts_with(kUsage);
}

std::optional<std::string> evolve(UsageState& state, const LogEvent& event, UsageChange& change) {
  if (event.position <= state.position) return std::nullopt;
  state.position = event.position;
  if (event.stream.starts_with(kInstance)) return take_instance(state, event, change);
  if (event.stream.starts_with(kUsage)) return take_usage(state, event, change);
  return std::nullopt;
}

void change_rate(Account& account, const Amounts& rate, int64_t at_ms) {
  if (account.rate == rate) return;
  if (at_ms >= account.accounted_ms) {
    if (!is_zero(account.rate) && at_ms > account.accounted_ms) {
      account.pieces.push_back(rate_piece(account.accounted_ms, at_ms, account.rate));
    }
    account.accounted_ms = at_ms;
  } else {
    Amounts difference = rate;
    for (size_t i = 0; i < kMeters; ++i) difference[i] -= account.rate[i];
    account.pieces.push_back(rate_piece(at_ms, account.accounted_ms, difference));
  }
  account.rate = rate;
}

}  // namespace trunkline::metering
