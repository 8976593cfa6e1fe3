// The bus and metering's part of the simulated world.
#include <algorithm>

#include "sim_world.h"

namespace trunkline::metering {
namespace {

// Reports are split, so that parts of one may be lost.
constexpr size_t kNodesAPart = 3;

LogEvent as_log_event(const SimEvent& event) {
  return {event.position, event.stream, event.version, 1, event.payload, event.recorded_at};
}

}  // namespace

void SimWorld::deliver(std::function<void(HeardBook&)> take) {
  for (Process& process : processes_) {
    if (!process.is_up) continue;
    const int copies = is_calm() ? 1 : (chance(static_cast<int>(lost_percent_)) ? 0 : 1);
    if (copies == 0) ++story_.lost;
    for (int i = 0; i < copies + (copies > 0 && !is_calm() && chance(5) ? 1 : 0); ++i) {
      const int64_t delay = !is_calm() && chance(10) ? random(0, 40'000) : random(0, 5);
      at(now_ + delay, [&process, take] {
        if (process.is_up) take(process.book);
      });
    }
  }
}

void SimWorld::report(SimHost& host) {
  if (now_ >= end_ms_) return;
  at(now_ + options_.report_ms, [this, &host] { report(host); });
  for (auto& [id, node] : host.nodes) {
    if (chance(30)) continue;  // idle
    node.counters[0] += static_cast<uint64_t>(random(0, 1'000));
    node.counters[1] += static_cast<uint64_t>(random(0, 10'000'000));
    node.counters[2] += static_cast<uint64_t>(random(0, 1'000'000));
    node.counters[3] += static_cast<uint64_t>(random(0, 1'000'000));
    node.counters[4] += static_cast<uint64_t>(random(0, 10'000));
    if (chance(20)) node.used_mb = static_cast<uint64_t>(random(10, 100'000));
  }
  if (is_calm()) host.silent_until = 0;
  if (now_ < host.silent_until) return;
  ++host.sequence;
  std::vector<v1::HostStats> parts(std::max<size_t>(1, (host.nodes.size() + kNodesAPart - 1) /
                                                           kNodesAPart));
  size_t count = 0;
  for (const auto& [id, node] : host.nodes) {
    auto* stats = parts[count++ / kNodesAPart].add_nodes();
    stats->set_node_id(id);
    stats->set_instance_id(node.instance);
    auto* counters = stats->mutable_counters();
    counters->set_epoch(node.epoch);
    counters->set_transactions(node.counters[0]);
    counters->set_wal_bytes(node.counters[1]);
    counters->set_read_bytes(node.counters[2]);
    counters->set_write_bytes(node.counters[3]);
    counters->set_cpu_ms(node.counters[4]);
    counters->set_used_mb(node.used_mb);
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].set_host(host.name);
    parts[i].set_agent_id(host.agent);
    parts[i].set_sequence(host.sequence);
    parts[i].set_part(static_cast<uint32_t>(i));
    parts[i].set_parts(static_cast<uint32_t>(parts.size()));
    parts[i].set_sent_unix_us((now_ + host.clock_off_ms) * 1000);
    deliver([name = host.name, part = parts[i]](HeardBook& book) { book.take(name, part); });
  }
}

void SimWorld::report(SimProxy& proxy) {
  if (now_ >= end_ms_) return;
  at(now_ + options_.report_ms, [this, &proxy] { report(proxy); });
  for (const auto& [id, instance] : instances_) {
    if (instance->is_deleted || !chance(70)) continue;
    Counters& counters = proxy.endpoints[id].counters[chance(70) ? 0 : 1];
    counters[0] += static_cast<uint64_t>(random(0, 1'000'000));
    counters[1] += static_cast<uint64_t>(random(0, 9'000'000));
    counters[2] += static_cast<uint64_t>(random(0, 50));
    counters[3] += static_cast<uint64_t>(random(0, 100'000));
  }
  if (is_calm()) proxy.silent_until = 0;
  if (now_ < proxy.silent_until) return;
  ++proxy.sequence;
  // The roles of an instance may be in different parts.
  v1::TrafficReport parts[2];
  for (const auto& [id, endpoint] : proxy.endpoints) {
    for (int role = 0; role < 2; ++role) {
      auto* traffic = parts[role].add_endpoints();
      traffic->set_instance_id(id);
      traffic->set_read_only(role == 1);
      traffic->set_bytes_in(endpoint.counters[role][0]);
      traffic->set_bytes_out(endpoint.counters[role][1]);
      traffic->set_connections(endpoint.counters[role][2]);
      traffic->set_connection_ms(endpoint.counters[role][3]);
    }
  }
  for (uint32_t i = 0; i < 2; ++i) {
    parts[i].set_proxy_id(proxy.id);
    parts[i].set_epoch(proxy.epoch);
    parts[i].set_sequence(proxy.sequence);
    parts[i].set_part(i);
    parts[i].set_parts(2);
    deliver([id = proxy.id, part = parts[i]](HeardBook& book) { book.take(id, part); });
  }
}

// From the snapshot, or now and then from the log's beginning.
void SimWorld::start(Process& process) {
  process = Process();
  process.is_up = true;
  v1::UsageSnapshot snapshot;
  if (!snapshot_.empty() && !chance(5) && snapshot.ParseFromString(snapshot_)) {
    process.state = *load(snapshot);
    const auto first = std::upper_bound(
        log_.begin(), log_.end(), process.state.position,
        [](int64_t position, const SimEvent& event) { return position < event.position; });
    process.folded = static_cast<size_t>(first - log_.begin());
  } else {
    ++story_.refolds;
  }
}

void SimWorld::crash(Process& process, int64_t down_ms) {
  ++story_.crashes;
  process.is_up = false;
  at(now_ + down_ms, [this, &process] { start(process); });
}

void SimWorld::fold(Process& process) {
  // What is appended comes a little later, in order, and not all at once.
  const size_t seen = chance(10) ? log_.size() - log_.size() % 3 : log_.size();
  while (process.folded < seen) {
    const SimEvent& event = log_[process.folded++];
    UsageChange change;
    if (const auto error = evolve(process.state, as_log_event(event), change)) {
      faults_.push_back(*error);
    }
    keep(change, event.position);
  }
}

// The database: what was written is the same when it is made again.
void SimWorld::keep(const UsageChange& change, int64_t position) {
  for (const UsageRecord& record : change.records) {
    const auto [place, is_new] = records_.emplace(std::pair(position, record.ordinal), record);
    if (is_new && position <= checkpoint_) faults_.push_back("a record came after the checkpoint");
    if (!is_new && !(place->second == record)) faults_.push_back("a record is another one now");
    if (is_new && record.is_correction) ++story_.corrections;
  }
  checkpoint_ = std::max(checkpoint_, position);
}

void SimWorld::meter(Process& process) {
  const bool is_over = now_ >= end_ms_ + 3 * 5 * options_.window_ms;
  if (is_over) return;
  at(now_ + options_.window_ms / 20, [this, &process] { meter(process); });
  if (!process.is_up) return;
  fold(process);
  const int64_t end_ms = window_end(rules_, log_now());
  for (const auto& [id, heard] : process.book.sources()) {
    const auto events = decide_measure(process.state, heard, end_ms);
    if (events.empty()) continue;
    const auto known = process.state.sources.find(id);
    int64_t version = known == process.state.sources.end() ? 0 : known->second.version;
    for (const v1::UsageMeasured& measured : events) {
      v1::UsageEvent event;
      *event.mutable_usage_measured() = measured;
      version = append("usage-" + id, version, event.SerializeAsString());
      if (version == 0) break;
    }
    if (chance(1) && !is_calm()) return crash(process, random(100, 60'000));
    fold(process);
    process.book.measured(id, process.state);
  }
  if (const auto closed = decide_close(process.state, rules_, log_now())) {
    v1::UsageEvent event;
    *event.mutable_usage_window_closed() = *closed;
    append("usage-" + windows_stream_uuid(), process.state.windows_version,
           event.SerializeAsString());
    if (chance(1) && !is_calm()) return crash(process, random(100, 60'000));
    fold(process);
    if (chance(2)) {
      v1::UsageSnapshot snapshot;
      save(process.state, &snapshot);
      snapshot_ = snapshot.SerializeAsString();
    }
  }
}

}  // namespace trunkline::metering
