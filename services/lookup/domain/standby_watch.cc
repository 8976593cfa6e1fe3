#include "lookup/domain/standby_watch.h"

#include <algorithm>
#include <utility>

namespace trunkline::lookup {
namespace {

constexpr size_t kMaxHosts = 20'000;

}  // namespace

void StandbyWatch::take(const v1::HostReport& report, Monotonic now) {
  if (!hosts_.contains(report.host()) && hosts_.size() >= kMaxHosts) return;
  if (now - last_ > kDeaf) hearing_ = now;
  last_ = now;
  Host& host = hosts_[report.host()];
  const auto before = std::move(host.lag_bytes);
  host.heard = now;
  host.nodes.clear();
  host.lag_bytes.clear();
  for (const v1::NodeReport& node : report.nodes()) {
    host.nodes.push_back({node.node_id(), node.instance_id()});
    for (const v1::StandbyReport& standby : node.standbys()) {
      host.lag_bytes[standby.node_id()] = standby.lag_bytes();
      const auto it = before.find(standby.node_id());
      const bool lagged = it != before.end() && it->second > kLagging;
      if ((standby.lag_bytes() > kLagging) != lagged) changed_.insert(node.instance_id());
    }
  }
}

bool StandbyWatch::is_silent(const Host& host, Monotonic now) const {
  return now - last_ <= kDeaf && now - std::max(host.heard, hearing_) > kSilent;
}

std::set<std::string> StandbyWatch::changed(Monotonic now) {
  for (auto& [name, host] : hosts_) {
    const bool silent = is_silent(host, now);
    if (silent == host.silent) continue;
    host.silent = silent;
    for (const Node& node : host.nodes) changed_.insert(node.instance_id);
  }
  return std::exchange(changed_, {});
}

void StandbyWatch::put_into(v1::Route& route, Monotonic now) const {
  const Host* primary = nullptr;
  for (const v1::RouteNode& node : route.nodes()) {
    const auto host = hosts_.find(node.address().host());
    if (node.primary() && host != hosts_.end()) primary = &host->second;
  }
  if (primary != nullptr && is_silent(*primary, now)) primary = nullptr;
  for (v1::RouteNode& node : *route.mutable_nodes()) {
    if (node.primary()) continue;
    const auto host = hosts_.find(node.address().host());
    if (host != hosts_.end() && is_silent(host->second, now)) node.set_serves(false);
    node.set_lag_bytes(-1);
    if (primary == nullptr) continue;
    const auto lag = primary->lag_bytes.find(node.node_id());
    if (lag != primary->lag_bytes.end()) node.set_lag_bytes(static_cast<int64_t>(lag->second));
  }
}

}  // namespace trunkline::lookup
