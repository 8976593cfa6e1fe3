#include "lookup/io/live_store.h"

#include <algorithm>
#include <mutex>

#include "base/ids.h"
#include "lookup/domain/json_writer.h"

namespace trunkline::lookup {
namespace {

constexpr size_t kMaxHosts = 20'000;
constexpr size_t kMaxProxies = 100;
constexpr int kMaxReasons = 16;
// A proxy says all that it knows once a minute.
constexpr auto kProxySilentAfter = std::chrono::seconds(90);
constexpr size_t kMaxOrphanBytes = 100'000;
constexpr auto kSilentAfter = std::chrono::seconds(10);

std::string_view to_string(v1::PostgresState state) {
  switch (state) {
    case v1::POSTGRES_STATE_STOPPED: return "stopped";
    case v1::POSTGRES_STATE_STARTING: return "starting";
    case v1::POSTGRES_STATE_RECOVERING: return "recovering";
    case v1::POSTGRES_STATE_OPEN: return "open";
    default: return "";
  }
}

void append_number(std::string& out, std::string_view key, uint64_t value) {
  out += ",\"";
  out += key;
  out += "\":";
  out += std::to_string(value);
}

void append_text(std::string& out, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  out += ",\"";
  out += key;
  out += "\":\"";
  append_json_text(out, value);
  out += '"';
}

std::string by_host(std::string_view host, std::string_view node_id) {
  std::string key(host);
  key += '/';
  key += node_id;
  return key;
}

// A node in the text of an instance's document, as render.cc writes it:
// {"uuid":"…","host":"…"[,"role":"…"],… Inside a JSON string every quote has a backslash before
// it, so these marks are found nowhere else.
struct NodeSpot {
  std::string_view id;
  std::string_view host;
  bool is_primary = false;
  size_t insert_at = 0;
};

std::vector<NodeSpot> find_nodes(std::string_view json) {
  constexpr std::string_view kNodes = ",\"nodes\":[", kNode = "{\"uuid\":\"",
                             kHost = "\",\"host\":\"", kPrimary = "\",\"role\":\"primary\"";
  std::vector<NodeSpot> spots;
  const size_t nodes = json.find(kNodes);
  if (nodes == std::string_view::npos) return spots;
  for (size_t at = json.find(kNode, nodes); at != std::string_view::npos;
       at = json.find(kNode, at + kNode.size())) {
    const size_t id = at + kNode.size();
    const size_t host = id + 36 + kHost.size();
    if (json.substr(std::min(id + 36, json.size()), kHost.size()) != kHost) continue;
    size_t end = host;
    while (end < json.size() && json[end] != '"') end += json[end] == '\\' ? 2 : 1;
    if (end >= json.size()) break;
    spots.push_back({json.substr(id, 36), json.substr(host, end - host),
                     json.substr(end, kPrimary.size()) == kPrimary, end + 1});
  }
  return spots;
}

// Before the closing brace.
std::string with_members(std::string_view json, const std::string& members) {
  std::string out(json.substr(0, json.size() - 1));
  out += members;
  out += '}';
  return out;
}

}  // namespace

void LiveStore::forget(const HostLive& host, const std::string& name) {
  for (const std::string& key : host.nodes) nodes_.erase(key);
  for (const std::string& key : host.standbys) standbys_.erase(key);
  for (const std::string& key : host.databases) {
    const auto it = databases_.find(key);
    if (it != databases_.end() && it->second.host == name) databases_.erase(it);
  }
}

void LiveStore::take(const std::string& subject_host, const v1::HostReport& report,
                     TimePoint now) {
  if (report.host() != subject_host) return;
  const std::string id = uuid_from_name("host/" + subject_host);
  const std::unique_lock lock(mutex_);
  if (!hosts_.contains(id) && hosts_.size() >= kMaxHosts) return;
  HostLive& host = hosts_[id];
  if (host.agent_id == report.agent_id() && report.sequence() <= host.sequence &&
      host.sequence != 0) {
    return;
  }
  forget(host, subject_host);
  host = {report.agent_id(), report.sequence(), report.disk_free_gb(), report.cgroup_limits(),
          report.cgroup_note(), report.nodes_apart(), report.nodes_apart_note(), now, {}, {}, {},
          {}};
  for (const v1::NodeReport& node : report.nodes()) {
    if (node.quarantined() && host.orphans.size() < kMaxOrphanBytes) {
      host.orphans += std::string(host.orphans.empty() ? "" : ",") + "{\"node\":\"";
      append_json_text(host.orphans, node.node_id());
      host.orphans += "\",\"instance\":\"";
      append_json_text(host.orphans, node.instance_id());
      host.orphans += '"';
      append_number(host.orphans, "data_bytes", node.data_bytes());
      host.orphans += '}';
    }
    host.nodes.push_back(by_host(subject_host, node.node_id()));
    nodes_[host.nodes.back()] = {node.postgres(), node.data_bytes(), node.connections(),
                                 node.restarts(), now};
    for (const v1::StandbyReport& standby : node.standbys()) {
      host.standbys.push_back(by_host(subject_host, standby.node_id()));
      standbys_[host.standbys.back()] = {standby.sync_state(), standby.lag_bytes(), now};
    }
    if (node.postgres() != v1::POSTGRES_STATE_OPEN) continue;
    for (const v1::DatabaseReport& database : node.databases()) {
      const std::string key = node.instance_id() + "/" + database.database_id();
      databases_[key] = {subject_host, database.bytes(), now};
      host.databases.push_back(key);
    }
  }
}

void LiveStore::append_node(std::string& out, std::string_view node_id, std::string_view host,
                            bool is_primary, std::string_view primary_host) const {
  const auto node = nodes_.find(by_host(host, node_id));
  if (node == nodes_.end()) return;
  const NodeLive& live = node->second;
  const auto standby = standbys_.find(by_host(primary_host, node_id));
  if (is_primary) {
    append_number(out, "lag_bytes", 0);
  } else if (standby != standbys_.end()) {
    append_number(out, "lag_bytes", standby->second.lag_bytes);
    append_text(out, "sync_state", standby->second.sync_state);
  }
  append_text(out, "postgres", to_string(live.postgres));
  append_number(out, "data_bytes", live.data_bytes);
  append_number(out, "connections", live.connections);
  append_number(out, "restarts", live.restarts);
  append_text(out, "reported_at", format_rfc3339(live.reported_at));
}

std::string LiveStore::with_instance(std::string_view json) const {
  const std::vector<NodeSpot> spots = find_nodes(json);
  if (spots.empty()) return std::string(json);
  std::string_view primary_host;
  for (const NodeSpot& spot : spots) {
    if (spot.is_primary) primary_host = spot.host;
  }
  std::string out;
  out.reserve(json.size() + spots.size() * 200);
  size_t copied = 0;
  const std::shared_lock lock(mutex_);
  for (const NodeSpot& spot : spots) {
    out += json.substr(copied, spot.insert_at - copied);
    copied = spot.insert_at;
    append_node(out, spot.id, spot.host, spot.is_primary, primary_host);
  }
  out += json.substr(copied);
  const std::string pinned = pinned_members(json);
  return pinned.empty() ? out : with_members(out, pinned);
}

void LiveStore::take_traffic(const std::string& proxy, const v1::TrafficReport& report,
                             TimePoint now) {
  if (report.proxy_id() != proxy) return;
  const std::unique_lock lock(mutex_);
  if (!proxies_.contains(proxy) && proxies_.size() >= kMaxProxies) return;
  ProxyLive& live = proxies_[proxy];
  if (live.epoch != report.epoch()) live = {report.epoch(), 0, {}, now};
  if (report.sequence() < live.sequence) return;
  live.sequence = report.sequence();
  live.reported_at = now;
  for (const auto& entry : report.endpoints()) {
    const std::string key = entry.instance_id() + (entry.read_only() ? "/ro" : "/rw");
    if (entry.pinned_sessions() == 0) {
      live.pinned.erase(key);
      continue;
    }
    Pinned& pinned = live.pinned[key];
    pinned = {entry.pinned_sessions(), {}};
    for (int i = 0; i < std::min(entry.pinned_size(), kMaxReasons); ++i) {
      pinned.why[entry.pinned(i).why()] = entry.pinned(i).sessions();
    }
  }
}

std::string LiveStore::pinned_members(std::string_view json) const {
  constexpr std::string_view kUuid = "{\"uuid\":\"";
  if (!json.starts_with(kUuid)) return {};
  const std::string instance(json.substr(kUuid.size(), 36));
  const auto now = std::chrono::system_clock::now();
  Pinned all;
  for (const auto& [name, proxy] : proxies_) {
    if (now - proxy.reported_at > kProxySilentAfter) continue;
    for (const char* endpoint : {"/ro", "/rw"}) {
      const auto found = proxy.pinned.find(instance + endpoint);
      if (found == proxy.pinned.end()) continue;
      all.sessions += found->second.sessions;
      for (const auto& [why, sessions] : found->second.why) all.why[why] += sessions;
    }
  }
  if (all.sessions == 0) return {};
  std::string out = ",\"pinned_sessions\":{\"sessions\":" + std::to_string(all.sessions);
  out += ",\"why\":[";
  for (const auto& [why, sessions] : all.why) {
    if (out.back() == '}') out += ',';
    out += "{\"reason\":\"";
    append_json_text(out, why);
    out += "\",\"sessions\":" + std::to_string(sessions) + "}";
  }
  return out + "]}";
}

std::string LiveStore::with_database(std::string_view json, const std::string& instance_id,
                                     const std::string& database_id) const {
  const std::shared_lock lock(mutex_);
  const auto it = databases_.find(instance_id + "/" + database_id);
  if (it == databases_.end()) return std::string(json);
  std::string members;
  append_number(members, "size_bytes", it->second.bytes);
  append_text(members, "reported_at", format_rfc3339(it->second.reported_at));
  return with_members(json, members);
}

std::string LiveStore::with_host(std::string_view json, const std::string& host_id,
                                 const HostUsage& usage) const {
  std::string members;
  members += ",\"placed\":{\"nodes\":" + std::to_string(usage.nodes);
  append_number(members, "cpu", static_cast<uint64_t>(usage.cpu));
  append_number(members, "ram", static_cast<uint64_t>(usage.ram_mb));
  append_number(members, "disk_size", static_cast<uint64_t>(usage.disk_gb));
  members += '}';
  const std::shared_lock lock(mutex_);
  const auto it = hosts_.find(host_id);
  if (it == hosts_.end()) return with_members(json, members + ",\"available\":false");
  const HostLive& host = it->second;
  const auto age = std::chrono::system_clock::now() - host.reported_at;
  members += age < kSilentAfter ? ",\"available\":true" : ",\"available\":false";
  append_number(members, "disk_free", host.disk_free_gb);
  members += host.cgroup_limits ? ",\"cgroup_limits\":true" : ",\"cgroup_limits\":false";
  append_text(members, "cgroup_note", host.cgroup_note);
  members += host.nodes_apart ? ",\"nodes_apart\":true" : ",\"nodes_apart\":false";
  append_text(members, "nodes_apart_note", host.nodes_apart_note);
  append_number(members, "nodes_reported", host.nodes.size());
  members += ",\"orphans\":[" + host.orphans + "]";
  append_text(members, "reported_at", format_rfc3339(host.reported_at));
  return with_members(json, members);
}

}  // namespace trunkline::lookup
