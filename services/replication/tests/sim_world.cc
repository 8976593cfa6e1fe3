#include "replication/tests/sim_world.h"

#include <algorithm>

namespace trunkline::replication::test {
namespace {

using Postgres = SimNode::Postgres;
constexpr milliseconds kReport{400};

}  // namespace

bool follows_by_timelines(const SimNode& node, const SimNode& upstream) {
  // Another system identifier: of a first primary that was replaced.
  if (!upstream.data.empty() && node.data.front().id != upstream.data.front().id) return false;
  for (size_t i = 0; i < node.data.size(); ++i) {
    if (i >= upstream.data.size()) return false;
    const Branch& own = node.data[i];
    const Branch& theirs = upstream.data[i];
    if (own.timeline != theirs.timeline || own.begin != theirs.begin) return false;
  }
  const size_t next = node.data.size();
  return next == upstream.data.size() ? node.flush_lsn <= upstream.flush_lsn
                                      : node.flush_lsn <= upstream.data[next].begin;
}

bool follows_in_truth(const SimNode& node, const SimNode& upstream) {
  for (size_t i = 0; i < node.data.size(); ++i) {
    if (i >= upstream.data.size() || !(node.data[i] == upstream.data[i])) return false;
  }
  return true;
}

bool SimNode::has(uint64_t branch, uint64_t lsn) const {
  for (size_t i = 0; i < data.size(); ++i) {
    if (data[i].id != branch) continue;
    return lsn <= (i + 1 < data.size() ? data[i + 1].begin : flush_lsn);
  }
  return false;
}

SimWorld::SimWorld(Dice& dice, TimePoint start) : now(start), dice_(dice) {
  for (Host& host : hosts_) {
    host.clock = SimClock::any(dice);
    host.agent_id = "agent-" + std::to_string(++agents_);
  }
}

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

// ---- the bus -------------------------------------------------------------------------------

TimePoint SimWorld::arrival() {
  if (!faults || !dice_.one_in(12)) return now + dice_.up_to(milliseconds(20));
  return now + dice_.up_to(milliseconds(dice_.one_in(4) ? 8000 : 1000));
}

template <class Message>
void SimWorld::post(std::vector<InFlight<Message>>& to, int host, const Message& message) {
  for (int copies = lose() ? 0 : faults && dice_.one_in(15) ? 2 : 1; copies > 0; --copies) {
    to.push_back({arrival(), host, message});
  }
}

template <class Message>
std::vector<SimWorld::InFlight<Message>> SimWorld::due(std::vector<InFlight<Message>>& from) {
  std::vector<InFlight<Message>> waiting;
  std::vector<InFlight<Message>> out;
  for (auto& in_flight : from) {
    (in_flight.due <= now ? out : waiting).push_back(std::move(in_flight));
  }
  from = std::move(waiting);
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.due < b.due; });
  return out;
}

void SimWorld::send(const v1::Task& task, int host) {
  if (task.has_assign_role()) {
    v1::Task document = task;
    document.mutable_assign_role()->clear_peers();  // no part of it, see add_peers()
    const std::string content = document.SerializeAsString();
    const auto [known, is_new] = task_contents_.emplace(task.task_id(), content);
    if (!is_new && known->second != content) {
      violations.push_back("task " + task.task_id() + " changed without a new generation");
    }
  }
  if (reaches(kBus, host)) post(tasks_, host, task);
}

void SimWorld::send(const v1::LeaseGrant& grant, int host) {
  if (reaches(kBus, host)) post(grants_, host, grant);
}

void SimWorld::take_messages() {
  for (auto& in_flight : due(tasks_)) {
    if (agent_runs(in_flight.host)) {
      take(in_flight.message);
    } else if (host_is_up(in_flight.host)) {  // it waits for an agent that is frozen
      tasks_.push_back(std::move(in_flight));
    }
  }
  for (auto& in_flight : due(grants_)) {
    if (agent_runs(in_flight.host)) {
      take(in_flight.message, in_flight.host);
    } else if (host_is_up(in_flight.host)) {
      grants_.push_back(std::move(in_flight));
    }
  }
  auto confirmations = std::move(confirmations_);
  confirmations_.clear();
  for (auto& c : confirmations) {
    SimNode* primary = find(c.primary);
    if (primary == nullptr || !runs(primary->host) || c.due > now) {
      if (primary != nullptr) confirmations_.push_back(std::move(c));
    } else if (const auto row = primary->confirmed.find(c.standby);
               row != primary->confirmed.end() && nodes[c.standby].connection == c.connection) {
      row->second = std::max(row->second, c.lsn);
    }
  }
}

void SimWorld::take(const v1::Task& task) {
  SimNode* node = find(task.node_id());
  if (node == nullptr) return;
  changed(*node);
  if (task.has_probe_upstream()) {
    const SimNode* upstream = node->role && node->role->role() == v1::ROLE_STANDBY
                                  ? find(node->role->upstream_node_id())
                                  : nullptr;
    node->probe_id = task.probe_upstream().probe_id();
    node->probe_answered = upstream != nullptr && runs(upstream->host) &&
                           linked(node->host, upstream->host) && upstream->sends();
    return;
  }
  const v1::AssignRole& role = task.assign_role();
  if (node->role && node->role->generation() >= role.generation()) return;
  if (node->role && role.term() < node->role->term()) return;
  node->role = role;
  node->refused.clear();
}

void SimWorld::take(const v1::LeaseGrant& grant, int index) {
  const Host& host = hosts_[index];
  const auto sent = host.sent.find(grant.sequence());
  if (grant.agent_id() != host.agent_id || sent == host.sent.end()) return;
  for (const auto& lease : grant.leases()) {
    SimNode* node = find(lease.node_id());
    if (node == nullptr || node->host != index || !node->role) continue;
    if (node->role->role() != v1::ROLE_PRIMARY || node->role->term() != lease.term()) continue;
    const TimePoint until = sent->second + milliseconds(lease.duration_ms());
    if (node->lease_term != lease.term()) node->lease_until = until;
    node->lease_term = lease.term();
    node->lease_until = std::max(node->lease_until, until);
  }
}

std::vector<v1::HostReport> SimWorld::arrivals() {
  std::vector<v1::HostReport> out;
  for (auto& in_flight : due(reports_)) out.push_back(std::move(in_flight.message));
  return out;
}

// ---- one tick ------------------------------------------------------------------------------

void SimWorld::tick() {
  if (faults) hurt();
  for (auto& [id, node] : nodes) {
    if (runs(node.host)) keep(node);
  }
  take_messages();
  for (auto& [id, node] : nodes) {
    if (agent_runs(node.host)) work(node);
  }
  replicate();
  write();
  report();
}

void SimWorld::stop(SimNode& node) {
  node.postgres = Postgres::stopped;
  node.stalled_until = TimePoint();
  node.streaming = false;
  node.recovers = false;
  node.confirmed.clear();
  node.beats.clear();
  changed(node);
}

// ---- replication and clients ---------------------------------------------------------------

bool SimWorld::can_stream(const SimNode& node, const SimNode& upstream) {
  const bool is_stuck = node.stuck_until > now ||
                        (node.stuck_generation != 0 &&
                         node.stuck_generation == node.role->generation());
  const bool talks = (upstream.sends() || upstream.postgres == Postgres::stopping) &&
                     upstream.slots.contains(node.id) && linked(node.host, upstream.host);
  if (is_stuck || !talks || node.postgres != Postgres::recovering || node.data.empty() ||
      node.busy_until > now || !follows_by_timelines(node, upstream)) {
    return false;
  }
  if (!follows_in_truth(node, upstream)) {
    violations.push_back("two branches share a timeline: " + node.id + " follows " + upstream.id);
  }
  return true;
}

void SimWorld::replicate() {
  for (auto& [id, node] : nodes) {
    if (!runs(node.host)) continue;
    SimNode* upstream = node.role && node.role->role() == v1::ROLE_STANDBY &&
                                node.taken == v1::ROLE_STANDBY
                            ? find(node.role->upstream_node_id())
                            : nullptr;
    const bool streams =
        upstream != nullptr && runs(upstream->host) && can_stream(node, *upstream);
    if (streams != node.streaming) {
      changed(node);
      if (upstream != nullptr) changed(*upstream);
    }
    if (upstream != nullptr && !streams) upstream->confirmed.erase(id);
    if (streams && !node.streaming) {
      node.connection = ++connections_;
      upstream->confirmed[id] = 0;
    }
    node.streaming = streams;
    if (!streams) continue;
    node.heard_upstream = now;
    const uint64_t behind = upstream->flush_lsn - node.flush_lsn;
    node.data = upstream->data;
    node.flush_lsn += dice_.one_in(3) ? dice_.below(static_cast<uint32_t>(behind) + 1) : behind;
    // It may be behind the switch to the newest branches.
    while (node.data.size() > 1 && node.data.back().begin > node.flush_lsn) node.data.pop_back();
    upstream->confirmed.try_emplace(id, 0);
    confirmations_.push_back({now + dice_.up_to(milliseconds(80)), upstream->id, id,
                              node.connection, node.flush_lsn});
  }
  for (auto& [id, node] : nodes) {
    if (node.postgres == Postgres::stopping && runs(node.host)) finish_stopping(node);
  }
}

void SimWorld::finish_stopping(SimNode& node) {
  const bool all_have_it =
      std::all_of(nodes.begin(), nodes.end(), [&](const auto& other) {
        const SimNode& n = other.second;
        const bool follows = n.streaming && n.role && n.role->upstream_node_id() == node.id;
        return !follows || n.flush_lsn >= node.flush_lsn;
      });
  if (all_have_it || now >= node.stop_at_latest) stop(node);
}

void SimWorld::write() {
  int open = 0;
  for (auto& [id, node] : nodes) {
    if (!node.serves() || !runs(node.host)) continue;
    if (!may_serve(node)) {
      stop(node);
      continue;
    }
    if (first_open_term > 0 && node.term >= first_open_term) ++open;
    if (node.in_force.number > 0 && sync_is_promised) {
      std::vector<uint64_t> have;
      for (const auto& candidate : node.in_force.candidates) {
        const auto row = node.confirmed.find(candidate);
        if (row != node.confirmed.end()) have.push_back(row->second);
      }
      std::sort(have.rbegin(), have.rend());
      if (have.size() >= node.in_force.number) {
        const uint64_t lsn = std::min(have[node.in_force.number - 1], node.flush_lsn);
        const Branch& branch = node.data.back();
        if (lsn > branch.begin) acknowledged[branch.id] = std::max(acknowledged[branch.id], lsn);
      }
    }
    if (!node.stalls(now)) node.flush_lsn += dice_.below(100);
  }
  if (open > 1) violations.push_back("two nodes accept writes");
}

// ---- reports -------------------------------------------------------------------------------

void SimWorld::report() {
  for (int i = 0; i < kHosts; ++i) {
    Host& host = hosts_[i];
    const TimePoint clock = host.clock.at(now);
    if (!agent_runs(i) || (!host.changed && host.next_report > clock)) continue;
    host.changed = false;
    host.next_report = clock + kReport;
    v1::HostReport report;
    report.set_host(host_name(i));
    report.set_agent_id(host.agent_id);
    report.set_sequence(++host.sequence);
    report.set_sent_unix_us(to_unix_us(now));
    host.sent[host.sequence] = clock;
    host.sent.erase(host.sequence - 100);
    for (auto& [id, node] : nodes) {
      if (node.host != i || !node.boxed) continue;
      if (node.flush_lsn != node.received_lsn) node.received_seen = clock;
      node.received_lsn = node.flush_lsn;
      *report.add_nodes() = report_of(node);
    }
    if (reaches(i, kBus)) post(reports_, i, report);
  }
}

v1::NodeReport SimWorld::report_of(const SimNode& node) const {
  v1::NodeReport out;
  out.set_node_id(node.id);
  out.set_instance_id("i");
  if (node.role) {
    out.mutable_role()->set_generation(node.role->generation());
    out.mutable_role()->set_state(node.done_generation == node.role->generation()
                                      ? v1::TASK_STATE_SUCCEEDED
                                  : node.refused.empty() ? v1::TASK_STATE_IN_PROGRESS
                                                         : v1::TASK_STATE_FAILED);
    if (!node.refused.empty()) out.mutable_role()->mutable_failure()->set_code(node.refused);
  }
  out.set_reported_role(node.taken);
  out.set_term(node.term);
  const bool is_being_copied = node.busy_until > now && node.postgres == Postgres::stopped;
  if (!is_being_copied) {
    out.set_timeline(node.timeline());
    out.set_flush_lsn(node.flush_lsn);
    for (size_t i = 1; i < node.data.size(); ++i) {
      auto* begin = out.add_history();
      begin->set_timeline(node.data[i].timeline);
      begin->set_begin_lsn(node.data[i].begin);
    }
  }
  out.mutable_probe()->set_probe_id(node.probe_id);
  out.mutable_probe()->set_answered(node.probe_answered);
  out.set_upstream_silent_ms(
      node.heard_upstream == TimePoint() ? -1 : 1 + (now - node.heard_upstream).count() / 1000);
  if (node.taken == v1::ROLE_FENCED) {
    out.set_upstream_silent_ms((this->clock(node) - node.received_seen).count() / 1000);
  }
  switch (node.postgres) {
    case Postgres::stopped:
      if (node.recovers && node.taken == v1::ROLE_PRIMARY) {
        out.set_postgres(v1::POSTGRES_STATE_STARTING);
        out.set_recovers(true);
        break;
      }
      out.set_wal_end_exact(!is_being_copied);
      out.set_postgres(v1::POSTGRES_STATE_STOPPED);
      break;
    case Postgres::starting:
    case Postgres::closed:
      out.set_postgres(v1::POSTGRES_STATE_STARTING);
      break;
    case Postgres::recovering:
      out.set_postgres(v1::POSTGRES_STATE_RECOVERING);
      break;
    case Postgres::stopping:
    case Postgres::open:
      out.set_postgres(v1::POSTGRES_STATE_OPEN);
      break;
  }
  if (!node.serves()) return out;
  if (node.stalls(now)) {
    out.set_stalled_ms(static_cast<uint32_t>((now - node.stalled_since).count() / 1000));
  }
  out.set_sync_version(node.in_force.version);
  for (const auto& slot : node.slots) out.add_slots(slot);
  for (const auto& [id, flush_lsn] : node.confirmed) {
    auto* row = out.add_standbys();
    row->set_node_id(id);
    row->set_state("streaming");
    row->set_flush_lsn(flush_lsn);
  }
  return out;
}

}  // namespace trunkline::replication::test
