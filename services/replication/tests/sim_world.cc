#include "replication/tests/sim_world.h"

#include <algorithm>

namespace trunkline::replication::test {
namespace {

using Data = SimNode::Data;
using Postgres = SimNode::Postgres;
constexpr uint64_t kFirstLsn = 0x3000000;

}  // namespace

void SimWorld::place(const std::string& id, int host) {
  SimNode& node = nodes[id];
  node.id = id;
  node.host = host;
  node.busy_until = now + dice_.up_to(milliseconds(300));
}

void SimWorld::remove(const std::string& id) {
  if (SimNode* node = find(id)) changed(*node);
  nodes.erase(id);
}

void SimWorld::send(const v1::Task& task, int host) {
  const auto [known, is_new] = task_contents_.emplace(task.task_id(), task.SerializeAsString());
  if (!is_new && known->second != task.SerializeAsString()) {
    violations.push_back("task " + task.task_id() + " changed without a new generation");
  }
  for (int copies = lose() ? 0 : faults && dice_.one_in(10) ? 2 : 1; copies > 0; --copies) {
    tasks_.push_back({arrival(), host, task});
  }
}

void SimWorld::tick() {
  if (faults) hurt();
  take_tasks();
  for (auto& [id, node] : nodes) work(node);
  replicate();
  write();
  report();
}

void SimWorld::hurt() {
  for (Host& host : hosts_) {
    if (dice_.one_in(400)) host.away_until = now + dice_.up_to(milliseconds(15000));
    if (dice_.one_in(300)) {
      host.agent_id = "agent-" + std::to_string(++agents_);
      host.sequence = 0;
    }
  }
  for (auto& [id, node] : nodes) {
    if (!dice_.one_in(250)) continue;
    switch (dice_.below(4)) {
      case 0:  // the postmaster dies
        node.postgres = Postgres::stopped;
        node.busy_until = now + dice_.up_to(milliseconds(400));
        break;
      case 1:  // the standby's data is lost
        if (node.data != Data::standby) break;
        node.data = Data::none;
        node.wiped = true;
        node.flush_lsn = 0;
        node.postgres = Postgres::stopped;
        break;
      case 2:
        node.stuck_until = now + dice_.up_to(milliseconds(20000));
        break;
      case 3:  // only a new assignment helps
        node.stuck_generation = node.role ? node.role->generation() : 0;
        break;
    }
    node.streaming = false;
    changed(node);
  }
}

void SimWorld::take_tasks() {
  std::vector<TaskInFlight> waiting;
  std::swap(waiting, tasks_);
  for (auto& in_flight : waiting) {
    if (in_flight.due > now) {
      tasks_.push_back(std::move(in_flight));
    } else if (hosts_[in_flight.host].away_until <= now) {
      take(in_flight.task);
    }
  }
}

void SimWorld::take(const v1::Task& task) {
  SimNode* node = find(task.node_id());
  if (node == nullptr) return;
  const v1::AssignRole& role = task.assign_role();
  if (node->role && node->role->generation() >= role.generation()) return;
  node->role = role;
  node->refused.clear();
  changed(*node);
}

void SimWorld::work(SimNode& node) {
  if (node.busy_until > now) return;
  if (!node.boxed) {
    node.boxed = true;
    changed(node);
  }
  if (!node.role || !node.refused.empty()) return;
  switch (node.role->role()) {
    case v1::ROLE_PRIMARY:
      return work_as_primary(node);
    case v1::ROLE_STANDBY:
      return work_as_standby(node);
    default:
      violations.push_back("a role that no agent knows was assigned to " + node.id);
  }
}

void SimWorld::work_as_primary(SimNode& node) {
  if (node.data == Data::standby) {
    node.refused = "promotion_not_available";
    return changed(node);
  }
  if (node.data == Data::none) {
    if (node.role->opened_before()) {
      node.refused = "data_lost";
      return changed(node);
    }
    node.data = Data::primary;
    node.data_of = node.id;
    node.flush_lsn = kFirstLsn;
    node.busy_until = now + dice_.up_to(milliseconds(150));
    return;
  }
  if (node.postgres != Postgres::open) {
    node.postgres = Postgres::open;
    node.term = node.role->term();
    node.busy_until = now + dice_.up_to(milliseconds(50));
    return changed(node);
  }
  if (node.done_generation == node.role->generation()) return;
  const auto& wanted = node.role->standby_node_ids();
  node.slots = std::set<std::string>(wanted.begin(), wanted.end());
  if (node.in_force.version != node.role->sync_version()) {
    node.in_force.version = node.role->sync_version();
    node.in_force.number = node.role->sync_number();
    const auto& candidates = node.role->sync_candidates();
    node.in_force.candidates = std::set<std::string>(candidates.begin(), candidates.end());
  }
  node.term = node.role->term();
  node.done_generation = node.role->generation();
  node.busy_until = now + dice_.up_to(milliseconds(100));
  changed(node);
}

void SimWorld::work_as_standby(SimNode& node) {
  if (node.data == Data::primary) {
    node.refused = "rejoin_not_available";
    return changed(node);
  }
  const SimNode* upstream = find(node.role->upstream_node_id());
  const bool can_follow = upstream != nullptr && upstream->postgres == Postgres::open &&
                          upstream->slots.contains(node.id);
  if (node.data == Data::none || node.data_of != node.role->upstream_node_id()) {
    node.postgres = Postgres::stopped;
    if (!can_follow) return;
    node.data = Data::standby;
    node.data_of = upstream->id;
    node.flush_lsn = upstream->flush_lsn;
    node.wiped = false;
    node.busy_until = now + dice_.up_to(milliseconds(faults ? 3000 : 300));
    return;
  }
  if (node.postgres != Postgres::recovering) {
    node.postgres = Postgres::recovering;
    return changed(node);
  }
  if (node.done_generation == node.role->generation()) return;
  node.term = node.role->term();
  node.done_generation = node.role->generation();
  changed(node);
}

void SimWorld::replicate() {
  for (auto& [id, node] : nodes) {
    const SimNode* upstream = node.role && node.role->role() == v1::ROLE_STANDBY
                                  ? find(node.role->upstream_node_id())
                                  : nullptr;
    const bool is_stuck =
        node.stuck_until > now || (node.stuck_generation != 0 && node.role &&
                                   node.stuck_generation == node.role->generation());
    const bool streams = upstream != nullptr && node.postgres == Postgres::recovering &&
                         node.data_of == upstream->id && upstream->postgres == Postgres::open &&
                         upstream->slots.contains(node.id) && !is_stuck;
    if (streams != node.streaming) changed(*(upstream != nullptr ? upstream : &node));
    node.streaming = streams;
    if (!streams || node.flush_lsn >= upstream->flush_lsn) continue;
    const uint64_t behind = upstream->flush_lsn - node.flush_lsn;
    node.flush_lsn += dice_.one_in(2) ? behind : dice_.below(static_cast<uint32_t>(behind) + 1);
  }
}

bool SimWorld::confirmed(const SyncConfig& config, uint64_t lsn) {
  const auto has = [&](const std::string& id) {
    const SimNode* node = find(id);
    return node != nullptr && node->streaming && node->flush_lsn >= lsn;
  };
  return std::count_if(config.candidates.begin(), config.candidates.end(), has) >=
         static_cast<int64_t>(config.number);
}

void SimWorld::write() {
  for (auto& [id, node] : nodes) {
    if (node.postgres != Postgres::open || node.data != Data::primary) continue;
    // Commits that waited are acknowledged when the set that is in force now has confirmed them.
    for (uint64_t lsn = node.flush_lsn; lsn > acknowledged_lsn;
         lsn -= std::min<uint64_t>(lsn, 40)) {
      if (!confirmed(node.in_force, lsn)) continue;
      acknowledged_lsn = lsn;
      break;
    }
    if (node.flush_lsn < acknowledged_lsn + 4000) node.flush_lsn += dice_.below(100);
  }
}

void SimWorld::report() {
  for (int i = 0; i < kHosts; ++i) {
    Host& host = hosts_[i];
    if (!host.changed && host.next_report > now) continue;
    host.changed = false;
    host.next_report = now + milliseconds(500);
    if (host.away_until > now || lose()) continue;
    v1::HostReport out;
    out.set_host(host_name(i));
    out.set_agent_id(host.agent_id);
    out.set_sequence(++host.sequence);
    out.set_sent_unix_us(to_unix_us(now));
    for (const auto& [id, node] : nodes) {
      if (node.host == i && node.boxed) *out.add_nodes() = report_of(node);
    }
    if (faults && dice_.one_in(12)) reports_.push_back({arrival(), out});
    reports_.push_back({arrival(), std::move(out)});
  }
}

v1::NodeReport SimWorld::report_of(const SimNode& node) const {
  v1::NodeReport out;
  out.set_node_id(node.id);
  if (node.role) {
    out.mutable_role()->set_generation(node.role->generation());
    out.mutable_role()->set_state(node.done_generation == node.role->generation()
                                      ? v1::TASK_STATE_SUCCEEDED
                                  : node.refused.empty() ? v1::TASK_STATE_IN_PROGRESS
                                                         : v1::TASK_STATE_FAILED);
    if (!node.refused.empty()) out.mutable_role()->mutable_failure()->set_code(node.refused);
  }
  if (node.data != Data::none) {
    out.set_reported_role(node.data == Data::primary ? v1::ROLE_PRIMARY : v1::ROLE_STANDBY);
  }
  out.set_term(node.term);
  out.set_timeline(1);
  out.set_flush_lsn(node.flush_lsn);
  switch (node.postgres) {
    case Postgres::stopped:
      out.set_postgres(v1::POSTGRES_STATE_STOPPED);
      break;
    case Postgres::starting:
      out.set_postgres(v1::POSTGRES_STATE_STARTING);
      break;
    case Postgres::recovering:
      out.set_postgres(v1::POSTGRES_STATE_RECOVERING);
      break;
    case Postgres::open:
      out.set_postgres(v1::POSTGRES_STATE_OPEN);
      break;
  }
  if (node.postgres != Postgres::open) return out;
  out.set_sync_version(node.in_force.version);
  for (const auto& slot : node.slots) out.add_slots(slot);
  for (const auto& [id, standby] : nodes) {
    if (!standby.streaming || standby.data_of != node.id) continue;
    auto* row = out.add_standbys();
    row->set_node_id(id);
    row->set_state("streaming");
    row->set_flush_lsn(standby.flush_lsn);
  }
  return out;
}

std::vector<v1::HostReport> SimWorld::arrivals() {
  std::vector<ReportInFlight> waiting;
  std::vector<ReportInFlight> due;
  for (auto& in_flight : reports_) {
    (in_flight.due <= now ? due : waiting).push_back(std::move(in_flight));
  }
  reports_ = std::move(waiting);
  std::stable_sort(due.begin(), due.end(),
                   [](const auto& a, const auto& b) { return a.due < b.due; });
  std::vector<v1::HostReport> out;
  for (auto& in_flight : due) out.push_back(std::move(in_flight.report));
  return out;
}

}  // namespace trunkline::replication::test
