#include "metering/domain/heard_book.h"

#include <algorithm>

#include "base/ids.h"

namespace trunkline::metering {
namespace {

// Fewer than the fold keeps: what it has forgotten would count anew.
constexpr size_t kEpochsHeard = kEpochsKept / 2;

void grow(HeardItem& item, const std::string& epoch, bool is_read_only, const Counters& total) {
  for (HeardItem::Epoch& known : item.epochs) {
    if (known.epoch != epoch || known.is_read_only != is_read_only) continue;
    for (size_t i = 0; i < total.size(); ++i) known.total[i] = std::max(known.total[i], total[i]);
    return;
  }
  item.epochs.push_back({epoch, is_read_only, total});
  const size_t roles = item.is_node ? 1 : 2;
  if (item.epochs.size() > roles * kEpochsHeard) item.epochs.erase(item.epochs.begin());
}

}  // namespace

std::vector<EpochCounters> HeardItem::totals() const {
  std::vector<EpochCounters> totals;
  for (const Epoch& part : epochs) {
    auto found = std::find_if(totals.begin(), totals.end(),
                              [&](const EpochCounters& t) { return t.epoch == part.epoch; });
    if (found == totals.end()) found = totals.insert(found, {part.epoch, {}});
    for (size_t i = 0; i < part.total.size(); ++i) found->total[i] += part.total[i];
  }
  return totals;
}

HeardSource& HeardBook::begin(const std::string& source, const std::string& run,
                              uint64_t sequence) {
  HeardSource& heard = sources_[source_uuid(source)];
  heard.source = source;
  ++heard.messages;
  if (heard.run != run || sequence > heard.sequence) {
    heard.run = run;
    heard.sequence = sequence;
    heard.parts.clear();
    heard.named.clear();
  }
  return heard;
}

void HeardBook::end_part(HeardSource& heard, uint64_t sequence, uint32_t part, uint32_t parts) {
  if (sequence != heard.sequence) return;
  heard.parts.insert(part);
  if (heard.parts.size() < std::max(parts, 1U)) return;
  heard.has_whole = true;
  heard.whole = heard.named;
}

bool HeardBook::take(const std::string& host, const v1::HostStats& stats) {
  if (stats.host() != host || host.empty()) return false;
  HeardSource& heard = begin("host:" + host, stats.agent_id(), stats.sequence());
  const bool is_newest = stats.sequence() == heard.sequence;
  for (const v1::NodeStats& node : stats.nodes()) {
    if (!is_uuid(node.node_id()) || node.counters().epoch().empty()) continue;
    HeardItem& item = heard.items[node.node_id()];
    const bool is_new = item.epochs.empty();
    item.instance_id = node.instance_id();
    item.is_node = true;
    item.is_heard = true;
    const v1::NodeCounters& counters = node.counters();
    if (is_newest || is_new) item.used_mb = counters.used_mb();
    grow(item, counters.epoch(), false,
         {counters.transactions(), counters.wal_bytes(), counters.read_bytes(),
          counters.write_bytes(), counters.cpu_ms()});
    if (is_newest) heard.named.insert(node.node_id());
  }
  end_part(heard, stats.sequence(), stats.part(), stats.parts());
  return true;
}

bool HeardBook::take(const std::string& proxy, const v1::TrafficReport& report) {
  if (report.proxy_id() != proxy || proxy.empty() || report.epoch().empty()) return false;
  HeardSource& heard = begin("proxy:" + proxy, report.epoch(), report.sequence());
  for (const v1::EndpointTraffic& endpoint : report.endpoints()) {
    if (!is_uuid(endpoint.instance_id())) continue;
    HeardItem& item = heard.items[endpoint.instance_id()];
    item.instance_id = endpoint.instance_id();
    item.is_heard = true;
    grow(item, report.epoch(), endpoint.read_only(),
         {endpoint.bytes_in(), endpoint.bytes_out(), endpoint.connections(),
          endpoint.connection_ms(), 0});
    if (report.sequence() == heard.sequence) heard.named.insert(endpoint.instance_id());
  }
  end_part(heard, report.sequence(), report.part(), report.parts());
  return true;
}

void HeardBook::measured(const std::string& source_id, const UsageState& state) {
  const auto found = sources_.find(source_id);
  if (found == sources_.end()) return;
  HeardSource& heard = found->second;
  heard.has_whole = false;
  const auto is_over = [&](const HeardItem& item, const std::string& id) {
    if (item.is_node) {
      const NodeState* node = state.find_node(id);
      return node != nullptr ? node->is_gone : !item.is_heard;
    }
    const InstanceState* instance = state.find_instance(id);
    return instance != nullptr ? instance->gone.contains(source_id) : !item.is_heard;
  };
  std::erase_if(heard.items, [&](const auto& entry) { return is_over(entry.second, entry.first); });
  for (auto& [id, item] : heard.items) item.is_heard = false;
}

}  // namespace trunkline::metering
