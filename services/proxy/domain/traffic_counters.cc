#include "proxy/domain/traffic_counters.h"

#include <algorithm>
#include <utility>

namespace trunkline::proxy {

uint64_t ConnectionClock::settle(std::chrono::microseconds now) {
  const auto passed = std::max(now - settled_, std::chrono::microseconds(0));
  settled_ = std::max(settled_, now);
  return static_cast<uint64_t>(passed.count()) * open_;
}

uint64_t ConnectionClock::opened(std::chrono::microseconds now) {
  const uint64_t passed = settle(now);
  ++open_;
  return passed;
}

uint64_t ConnectionClock::closed(std::chrono::microseconds now) {
  const uint64_t passed = settle(now);
  if (open_ > 0) --open_;
  return passed;
}

std::vector<v1::TrafficReport> TrafficRounds::round(const std::vector<EndpointTotals>& all,
                                                    bool whole, size_t most_a_part) {
  std::vector<v1::TrafficReport> out(1);
  for (const auto& [endpoint, totals] : all) {
    const auto [place, fresh] =
        told_.try_emplace({endpoint.instance, endpoint.kind}, TrafficTotals());
    if (!fresh && !whole && place->second == totals) continue;
    place->second = totals;
    if (static_cast<size_t>(out.back().endpoints_size()) == most_a_part) out.emplace_back();
    auto* entry = out.back().add_endpoints();
    entry->set_instance_id(endpoint.instance.str());
    entry->set_read_only(endpoint.kind == EndpointKind::read_only);
    entry->set_bytes_in(totals.bytes_in);
    entry->set_bytes_out(totals.bytes_out);
    entry->set_connections(totals.connections_opened);
    entry->set_connection_ms(totals.connection_us / 1000);
    entry->set_open(static_cast<uint32_t>(totals.connections_open));
    entry->set_pinned_sessions(totals.tied_sessions);
    for (size_t tie = 0; tie < kTies; ++tie) {
      if (totals.tied[tie] == 0) continue;
      auto* pinned = entry->add_pinned();
      pinned->set_why(std::string(tie_text(Tie{static_cast<uint8_t>(tie)})));
      pinned->set_sessions(totals.tied[tie]);
    }
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].set_part(static_cast<uint32_t>(i));
    out[i].set_parts(static_cast<uint32_t>(out.size()));
  }
  return out;
}

}  // namespace trunkline::proxy
