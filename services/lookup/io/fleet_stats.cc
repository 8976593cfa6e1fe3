#include "lookup/io/fleet_stats.h"

#include <algorithm>
#include <mutex>

#include "base/ids.h"

namespace trunkline::lookup {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMostHosts = 20'000;
constexpr size_t kMostNodesAHost = 10'000;
constexpr int kMostStatements = 10;
constexpr size_t kLongestQuery = 500;
constexpr auto kForgetAfter = std::chrono::minutes(10);
constexpr auto kDatabaseEvery = std::chrono::seconds(55);

int64_t ms_between(TimePoint from, TimePoint to) {
  return std::chrono::duration_cast<milliseconds>(to - from).count();
}
int64_t to_ms(TimePoint at) { return to_unix_us(at) / 1000; }

// Cut between characters.
void shorten(std::string* text) {
  if (text->size() <= kLongestQuery) return;
  size_t end = kLongestQuery;
  while (end > 0 && (static_cast<unsigned char>((*text)[end]) & 0xC0) == 0x80) --end;
  text->resize(end);
}

void keep_little(v1::NodeStats& stats) {
  if (!stats.has_server()) return;
  auto* statements = stats.mutable_server()->mutable_statements();
  while (statements->size() > kMostStatements) statements->RemoveLast();
  for (auto& statement : *statements) shorten(statement.mutable_query());
}

void copy_figures(const v1::NodeStats& from, v1::NodeStats* to) {
  *to->mutable_counters() = from.counters();
  to->set_node_id(from.node_id());
  to->set_instance_id(from.instance_id());
  if (!from.has_server()) return;
  const v1::ServerStats& server = from.server();
  v1::ServerStats& out = *to->mutable_server();
  out.set_primary(server.primary());
  out.set_replication_lag_bytes(server.replication_lag_bytes());
  out.set_replication_lag_ms(server.replication_lag_ms());
  out.set_xid_age(server.xid_age());
}

}  // namespace

void FleetStats::take(const std::string& subject_host, const v1::HostStats& stats, TimePoint now) {
  if (stats.host() != subject_host) return;
  const std::unique_lock lock(mutex_);
  if (!hosts_.contains(subject_host) && hosts_.size() >= kMostHosts) return;
  Host& host = hosts_[subject_host];
  if (host.agent_id == stats.agent_id() && stats.sequence() < host.sequence) return;
  if (host.agent_id != stats.agent_id() || stats.sequence() > host.sequence) {
    const int64_t elapsed_us = stats.sent_unix_us() - host.sent_us;
    HostNow& shown = host.now;
    shown.cpu_cores.reset();
    if (host.sent_us > 0 && elapsed_us > 0 && stats.cpu_busy_ms() >= host.cpu_busy_ms) {
      shown.cpu_cores = static_cast<double>(stats.cpu_busy_ms() - host.cpu_busy_ms) * 1000 /
                        static_cast<double>(elapsed_us);
    }
    shown.host = subject_host;
    shown.at = now;
    shown.memory_mb = stats.memory_mb();
    shown.memory_available_mb = stats.memory_available_mb();
    shown.load_1m = stats.load_1m();
    host.agent_id = stats.agent_id();
    host.sequence = stats.sequence();
    host.cpu_busy_ms = stats.cpu_busy_ms();
    host.sent_us = stats.sent_unix_us();
    std::erase_if(host.nodes,
                  [&](const auto& node) { return now - node.second.at > kForgetAfter; });
  }
  for (const auto& node : stats.nodes()) {
    if (!is_uuid(node.node_id()) || !is_uuid(node.instance_id())) continue;
    if (host.nodes.size() >= kMostNodesAHost && !host.nodes.contains(node.node_id())) continue;
    take_node(stats, node, host.nodes[node.node_id()], now);
  }
}

void FleetStats::take_node(const v1::HostStats& head, const v1::NodeStats& stats, Node& node,
                           TimePoint now) {
  const bool first = node.sequence == 0;
  const bool same_agent = node.agent_id == head.agent_id();
  if (!first && same_agent && head.sequence() <= node.sequence) return;
  // Between two messages of one agent its own clock knows best.
  int64_t elapsed_ms = first ? 0 : ms_between(node.at, now);
  if (!first && same_agent && head.sent_unix_us() > node.sent_us) {
    elapsed_ms = (head.sent_unix_us() - node.sent_us) / 1000;
  }
  node.values = node_values(stats, first ? nullptr : &node.stats, elapsed_ms);
  node.agent_id = head.agent_id();
  node.sequence = head.sequence();
  node.sent_us = head.sent_unix_us();
  node.at = now;
  node.stats = stats;
  keep_little(node.stats);
  if (history_ == nullptr) return;
  history_->add(NodeSample{stats.instance_id(), stats.node_id(), to_ms(now),
                           stats.server().primary(), node.values});
  if (stats.server().primary()) remember_databases(stats, node, now);
}

void FleetStats::remember_databases(const v1::NodeStats& stats, Node& node, TimePoint now) {
  for (const auto& database : stats.server().databases()) {
    if (!is_uuid(database.database_id())) continue;
    const auto before = node.databases.find(database.database_id());
    const bool known = before != node.databases.end();
    if (known && now - before->second.at < kDatabaseEvery) continue;
    history_->add(DatabaseSample{
        stats.instance_id(), database.database_id(), to_ms(now),
        database_values(database, known ? &before->second.stats : nullptr,
                        known ? ms_between(before->second.at, now) : 0)});
    node.databases[database.database_id()] = {database, now};
  }
  std::erase_if(node.databases, [&](const auto& d) { return now - d.second.at > kForgetAfter; });
}

void FleetStats::fill(std::vector<ShownNode>& nodes, Detail detail) const {
  const std::shared_lock lock(mutex_);
  for (ShownNode& node : nodes) {
    const auto host = hosts_.find(node.host);
    if (host == hosts_.end()) continue;
    const auto found = host->second.nodes.find(node.id);
    if (found == host->second.nodes.end()) continue;
    node.known = true;
    node.at = found->second.at;
    if (detail == Detail::all) {
      node.stats = found->second.stats;
    } else {
      copy_figures(found->second.stats, &node.stats);
    }
    node.values = found->second.values;
  }
}

std::map<std::string, HostNow> FleetStats::hosts() const {
  const std::shared_lock lock(mutex_);
  std::map<std::string, HostNow> out;
  for (const auto& [name, host] : hosts_) out.emplace(name, host.now);
  return out;
}

}  // namespace trunkline::lookup
