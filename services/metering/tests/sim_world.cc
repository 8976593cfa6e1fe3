#include "sim_world.h"

#include <algorithm>

#include "base/ids.h"

namespace trunkline::metering {
namespace {

constexpr int64_t kBegin = int64_t{1'760'000'000'000} + 12'345;
constexpr int64_t kMinute = 60'000;

}  // namespace

SimWorld::SimWorld(const SimOptions& options) : options_(options), random_(options.seed) {
  now_ = kBegin;
  end_ms_ = kBegin + options.days * 24 * 60 * kMinute;
  rules_.length_ms = options.window_ms;
  rules_.grace_ms = std::min<int64_t>(5'000, options.window_ms / 4);
  for (int i = 0; i < options.hosts; ++i) {
    SimHost host;
    host.name = "host-" + std::to_string(i);
    host.agent = new_id("agent");
    host.clock_off_ms = random(-30'000, 30'000);
    hosts_.push_back(std::move(host));
  }
  for (int i = 0; i < options.proxies; ++i) {
    SimProxy proxy;
    proxy.id = "proxy-" + std::to_string(i);
    proxy.epoch = new_id("epoch");
    proxies_.push_back(std::move(proxy));
  }
  processes_.resize(2);
}

int64_t SimWorld::random(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
}

std::string SimWorld::new_id(const std::string& kind) {
  return uuid_from_name(kind + std::to_string(options_.seed) + "/" + std::to_string(++ids_));
}

void SimWorld::at(int64_t when, Work work) {
  later_.push({when, ++orders_, std::make_shared<Work>(std::move(work))});
}

// ---- the log -------------------------------------------------------------------------------

int64_t SimWorld::append(const std::string& stream, int64_t expected, const std::string& payload) {
  int64_t& version = versions_[stream];
  if (expected >= 0 && version != expected) {
    ++story_.conflicts;
    return 0;
  }
  SimEvent event;
  event.position = log_.empty() ? 1 : log_.back().position + random(1, 2);
  event.stream = stream;
  event.version = ++version;
  event.payload = payload;
  // A transaction may commit a while after it asked for the time.
  const int64_t late_ms = chance(3) ? random(0, 20'000) : random(0, 2);
  event.recorded_at = from_unix_us((log_now() - late_ms) * 1000 + random(0, 999));
  log_.push_back(std::move(event));
  return version;
}

void SimWorld::append(SimInstance& instance, const v1::InstanceEvent& event) {
  instance.version = append("instance-" + instance.id, -1, event.SerializeAsString());
}

// ---- customers and what the platform does for them -----------------------------------------

void SimWorld::customers() {
  if (now_ >= end_ms_) return;
  at(now_ + random(kMinute / 2, 40 * kMinute), [this] { customers(); });
  if (is_calm()) return;
  std::vector<SimInstance*> alive;
  for (auto& [id, instance] : instances_) {
    if (!instance->is_deleted) alive.push_back(instance.get());
  }
  if (alive.size() < static_cast<size_t>(options_.instances) && (alive.empty() || chance(40))) {
    return create();
  }
  SimInstance& one = *alive[static_cast<size_t>(random(0, static_cast<int64_t>(alive.size()) - 1))];
  const int64_t what = random(1, 100);
  if (what <= 30) {
    resize(one);
  } else if (what <= 60) {
    failover(one);
  } else if (what <= 75) {
    scale(one);
  } else if (what <= 85) {
    fail(one);
  } else {
    remove(one);
  }
}

void SimWorld::create() {
  ++story_.creates;
  auto made = std::make_unique<SimInstance>();
  SimInstance& instance = *made;
  instance.id = new_id("instance");
  instances_[instance.id] = std::move(made);
  v1::InstanceEvent event;
  auto* created = event.mutable_instance_created();
  created->set_project_id(uuid_from_name("project"));
  created->set_name("i" + std::to_string(ids_));
  created->mutable_size()->set_cpu(static_cast<uint32_t>(random(1, 16)));
  created->mutable_size()->set_ram_mb(static_cast<uint32_t>(random(256, 65'536)));
  created->mutable_size()->set_disk_gb(static_cast<uint32_t>(random(1, 1000)));
  append(instance, event);
  instance.order_version = instance.version;
  alive_.insert(instance.id);
  const int64_t count = random(1, 3);
  for (int64_t i = 0; i < count; ++i) place(instance);
  at(now_ + random(500, 90'000), [this, &instance] { activate(instance); });
}

void SimWorld::place(SimInstance& instance) {
  SimNode node;
  node.id = new_id("node");
  node.host = hosts_[static_cast<size_t>(random(0, options_.hosts - 1))].name;
  instance.nodes.push_back(node);
  v1::InstanceEvent event;
  event.mutable_node_placed()->set_node_id(node.id);
  event.mutable_node_placed()->mutable_address()->set_host(node.host);
  append(instance, event);
  const int64_t generation = instance.version;
  at(now_ + random(200, 30'000),
     [this, &instance, id = node.id, generation] { make(instance, id, generation); });
}

void SimWorld::make(SimInstance& instance, const std::string& node_id, int64_t generation) {
  const auto node = std::find_if(instance.nodes.begin(), instance.nodes.end(),
                                 [&](const SimNode& n) { return n.id == node_id; });
  if (node == instance.nodes.end()) return;
  for (SimHost& host : hosts_) {
    if (host.name != node->host || host.nodes.contains(node_id)) continue;
    host.nodes[node_id].instance = instance.id;
    host.nodes[node_id].epoch = new_id("epoch");
    alive_.insert(node_id);
  }
  // The host reports it for a while before it is recorded.
  at(now_ + random(10, chance(5) ? 30'000 : 500), [this, &instance, node_id, generation] {
    v1::InstanceEvent event;
    event.mutable_node_created()->set_node_id(node_id);
    event.mutable_node_created()->set_generation(static_cast<uint64_t>(generation));
    append(instance, event);
  });
}

void SimWorld::activate(SimInstance& instance) {
  if (instance.is_deleted) return;
  v1::InstanceEvent event;
  event.mutable_instance_activated();
  append(instance, event);
}

void SimWorld::resize(SimInstance& instance) {
  ++story_.resizes;
  v1::InstanceEvent event;
  auto* size = event.mutable_instance_resized()->mutable_size();
  size->set_cpu(static_cast<uint32_t>(random(1, 16)));
  size->set_ram_mb(static_cast<uint32_t>(random(256, 65'536)));
  size->set_disk_gb(static_cast<uint32_t>(random(1, 1000)));
  append(instance, event);
  const int64_t generation = instance.version;
  for (const SimNode& node : instance.nodes) {
    at(now_ + random(100, 5 * kMinute),
       [this, &instance, id = node.id, generation] { make(instance, id, generation); });
  }
  at(now_ + 6 * kMinute, [this, &instance] { activate(instance); });
  // Ordered again before all hosts have made what was ordered first.
  if (!chance(40)) return;
  at(now_ + random(500, 90'000), [this, &instance] {
    if (!instance.is_deleted) resize(instance);
  });
}

void SimWorld::remove_node(SimInstance& instance, size_t index) {
  const SimNode node = instance.nodes[index];
  instance.nodes.erase(instance.nodes.begin() + static_cast<ptrdiff_t>(index));
  v1::InstanceEvent event;
  if (chance(80)) {
    event.mutable_node_removal_started()->set_node_id(node.id);
    append(instance, event);
  }
  alive_.erase(node.id);
  at(now_ + random(1'000, 2 * kMinute), [this, &instance, node] {
    for (SimHost& host : hosts_) host.nodes.erase(node.id);
    v1::InstanceEvent removed;
    removed.mutable_node_removed()->set_node_id(node.id);
    append(instance, removed);
  });
}

void SimWorld::failover(SimInstance& instance) {
  ++story_.failovers;
  if (!instance.nodes.empty()) {
    remove_node(instance, static_cast<size_t>(
                              random(0, static_cast<int64_t>(instance.nodes.size()) - 1)));
  }
  place(instance);
  at(now_ + random(1'000, 3 * kMinute), [this, &instance] { activate(instance); });
}

void SimWorld::scale(SimInstance& instance) {
  v1::InstanceEvent event;
  event.mutable_instance_scaled()->set_nodes_number(1);
  append(instance, event);
  if (instance.nodes.size() > 1 && chance(50)) {
    remove_node(instance, 0);
  } else {
    place(instance);
  }
  at(now_ + random(1'000, 3 * kMinute), [this, &instance] { activate(instance); });
}

void SimWorld::fail(SimInstance& instance) {
  v1::InstanceEvent event;
  event.mutable_instance_failed()->set_step("place_nodes");
  append(instance, event);
  at(now_ + random(1'000, 20 * kMinute), [this, &instance] {
    if (instance.is_deleted) return;
    v1::InstanceEvent retried;
    retried.mutable_instance_retried();
    append(instance, retried);
    activate(instance);
  });
}

void SimWorld::remove(SimInstance& instance) {
  ++story_.deletes;
  instance.is_deleted = true;
  alive_.erase(instance.id);
  v1::InstanceEvent event;
  event.mutable_instance_deletion_started();
  append(instance, event);
  for (const SimNode& node : instance.nodes) alive_.erase(node.id);
  at(now_ + random(100, 5 * kMinute), [this, &instance] {
    for (const SimNode& node : instance.nodes) {
      for (SimHost& host : hosts_) host.nodes.erase(node.id);
      v1::InstanceEvent removed;
      removed.mutable_node_removed()->set_node_id(node.id);
      append(instance, removed);
    }
    instance.nodes.clear();
    v1::InstanceEvent deleted;
    deleted.mutable_instance_deleted();
    append(instance, deleted);
    for (SimProxy& proxy : proxies_) proxy.endpoints.erase(instance.id);
  });
}

// ---- what has gone wrong, and the whole run ------------------------------------------------

void SimWorld::run() {
  for (Process& process : processes_) start(process);
  at(now_ + 1'000, [this] { customers(); });
  for (size_t i = 0; i < hosts_.size(); ++i) {
    at(now_ + random(0, options_.report_ms), [this, i] { report(hosts_[i]); });
  }
  for (size_t i = 0; i < proxies_.size(); ++i) {
    at(now_ + random(0, options_.report_ms), [this, i] { report(proxies_[i]); });
  }
  for (size_t i = 0; i < processes_.size(); ++i) {
    at(now_ + 100 + static_cast<int64_t>(i) * 300, [this, i] { meter(processes_[i]); });
  }
  at(now_ + kMinute, [this] { trouble(); });
  while (!later_.empty()) {
    const Later next = later_.top();
    later_.pop();
    now_ = std::max(now_, next.when);
    (*next.work)();
  }
}

void SimWorld::trouble() {
  if (now_ >= end_ms_) return;
  at(now_ + random(kMinute, 60 * kMinute), [this] { trouble(); });
  if (is_calm()) {
    log_offset_ms_ = std::max<int64_t>(log_offset_ms_, 0);
    lost_percent_ = 0;
    for (SimHost& host : hosts_) host.silent_until = 0;
    for (SimProxy& proxy : proxies_) proxy.silent_until = 0;
    return;
  }
  SimHost& host = hosts_[static_cast<size_t>(random(0, options_.hosts - 1))];
  SimProxy& proxy = proxies_[static_cast<size_t>(random(0, options_.proxies - 1))];
  switch (random(1, 9)) {
    case 1:  // the agent begins anew, its files are there
      host.agent = new_id("agent");
      host.sequence = 0;
      break;
    case 2:
      if (!options_.epochs_are_lost || host.nodes.empty()) break;
      for (auto& [id, node] : host.nodes) {
        for (size_t i = 0; i < 5; ++i) node.before[i] += node.counters[i];
        node.counters = {};
        node.epoch = new_id("epoch");
        ++node.epochs;
      }
      break;
    case 3:
      if (!options_.epochs_are_lost) break;
      for (auto& [id, endpoint] : proxy.endpoints) {
        for (size_t i = 0; i < 5; ++i) {
          endpoint.before[i] += endpoint.counters[0][i] + endpoint.counters[1][i];
        }
        endpoint.counters[0] = endpoint.counters[1] = {};
      }
      proxy.epoch = new_id("epoch");
      proxy.sequence = 0;
      ++proxy.epochs;
      break;
    case 4: host.silent_until = now_ + random(kMinute, 600 * kMinute); break;
    case 5: proxy.silent_until = now_ + random(kMinute, 200 * kMinute); break;
    case 6:  // the log's clock steps, and is set right later
      log_offset_ms_ += random(-90'000, 10'000);
      ++story_.steps_back;
      at(now_ + random(kMinute, 30 * kMinute), [this] { log_offset_ms_ = 0; });
      break;
    case 7: lost_percent_ = random(0, 60); break;
    case 8:
      if (options_.length_changes && chance(20)) {
        rules_.length_ms = options_.window_ms * (rules_.length_ms == options_.window_ms ? 5 : 1);
      }
      break;
    default: {
      Process& process = processes_[static_cast<size_t>(random(0, 1))];
      crash(process, chance(20) ? random(kMinute, 240 * kMinute) : random(100, 20'000));
    }
  }
}

std::map<std::string, TrueCounters> SimWorld::true_nodes() const {
  std::map<std::string, TrueCounters> all;
  for (const SimHost& host : hosts_) {
    for (const auto& [id, node] : host.nodes) {
      TrueCounters& counters = all[id];
      counters.epochs = node.epochs;
      for (size_t i = 0; i < 5; ++i) counters.total[i] = node.before[i] + node.counters[i];
    }
  }
  return all;
}

std::map<std::string, TrueCounters> SimWorld::true_endpoints() const {
  std::map<std::string, TrueCounters> all;
  for (const SimProxy& proxy : proxies_) {
    for (const auto& [id, endpoint] : proxy.endpoints) {
      TrueCounters& counters = all[id];
      counters.epochs = std::max(counters.epochs, proxy.epochs);
      for (size_t i = 0; i < 5; ++i) {
        counters.total[i] +=
            endpoint.before[i] + endpoint.counters[0][i] + endpoint.counters[1][i];
      }
    }
  }
  return all;
}

}  // namespace trunkline::metering
