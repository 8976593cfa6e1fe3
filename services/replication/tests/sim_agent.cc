// What keepers and agents do in SimWorld.
#include <algorithm>

#include "replication/tests/sim_world.h"

namespace trunkline::replication::test {
namespace {

using Postgres = SimNode::Postgres;
constexpr uint64_t kFirstLsn = 0x3000000;
// As the keeper has them.
constexpr milliseconds kReplyLease{1500};
constexpr milliseconds kBeat{200};
// Shorter than the agent's, so that many a run comes to it.
constexpr milliseconds kLeaseOverdue{1500};

}  // namespace

// ---- the keeper ----------------------------------------------------------------------------

bool SimWorld::may_serve(const SimNode& node) const {
  const TimePoint clock = hosts_[node.host].clock.at(now);
  if (node.in_force.candidates.empty()) return true;
  if (node.lease_term == node.term && clock < node.lease_until) return true;
  return clock < node.reply_until;
}

void SimWorld::keep(SimNode& node) {
  if (!node.sends()) return;
  const TimePoint clock = hosts_[node.host].clock.at(now);
  const size_t need = std::max<size_t>(node.in_force.number, 1);
  std::erase_if(node.beats, [&](const auto& beat) {
    const auto answered = std::count_if(
        node.in_force.candidates.begin(), node.in_force.candidates.end(), [&](const auto& id) {
          const auto row = node.confirmed.find(id);
          return row != node.confirmed.end() && row->second >= beat.first;
        });
    if (static_cast<size_t>(answered) < need) return clock - beat.second > kReplyLease;
    node.reply_until = std::max(node.reply_until, beat.second + kReplyLease);
    return true;
  });
  if (!may_serve(node) && node.serves()) return stop(node);
  if (may_serve(node) && !node.serves()) {
    if (clock >= node.lease_until || node.lease_term != node.term) ++reopened;
    return open(node);
  }
  if (clock < node.beat_at || node.stalls(now)) return;
  node.beat_at = clock + kBeat;
  node.flush_lsn += 8;
  node.beats.emplace_back(node.flush_lsn, clock);
}

// ---- the agent -----------------------------------------------------------------------------

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
    case v1::ROLE_FENCED:
      return work_fenced(node);
    default:
      violations.push_back("a role that no agent knows was assigned to " + node.id);
  }
}

void SimWorld::done(SimNode& node) {
  if (node.done_generation == node.role->generation()) return;
  node.done_generation = node.role->generation();
  node.term = node.role->term();
  node.taken = node.role->role();
  changed(node);
}

void SimWorld::work_fenced(SimNode& node) {
  if (node.postgres == Postgres::stopping) return;
  if (node.postgres == Postgres::closed) return stop(node);
  if (node.serves()) {
    const milliseconds patience(node.role->patience_ms());
    if (patience == milliseconds(0)) return stop(node);
    if (node.parting_generation != node.role->generation()) {
      node.parting_generation = node.role->generation();
      node.clients_leave_at = now + dice_.up_to(dice_.one_in(3) ? patience : milliseconds(200));
    }
    if (now < node.clients_leave_at) return;
    node.postgres = Postgres::stopping;  // a shutdown checkpoint, and the standbys get it
    node.flush_lsn += 40;
    node.stop_at_latest = now + milliseconds(1500);
    return;
  }
  node.streaming = false;
  done(node);
}

void SimWorld::apply_settings(SimNode& node) {
  const auto& wanted = node.role->standby_node_ids();
  node.slots = std::set<std::string>(wanted.begin(), wanted.end());
  std::erase_if(node.confirmed, [&](const auto& row) { return !node.slots.contains(row.first); });
  if (node.in_force.version == node.role->sync_version()) return;
  node.in_force.version = node.role->sync_version();
  node.in_force.number = node.role->sync_number();
  const auto& candidates = node.role->sync_candidates();
  node.in_force.candidates = std::set<std::string>(candidates.begin(), candidates.end());
  if (node.in_force.number == 0) acknowledged.clear();  // from now on the order allows a loss
}

void SimWorld::open(SimNode& node) {
  const bool promotes = node.role->timeline() > node.timeline();
  if (promotes) {
    node.data.push_back({++branches_, node.flush_lsn, node.role->timeline()});
    ++promotions;
  }
  if (promotes && loss_is_accepted) {
    std::erase_if(acknowledged, [&](const auto& w) { return !node.has(w.first, w.second); });
    loss_is_accepted = false;
  }
  for (const auto& [branch, lsn] : acknowledged) {
    if (node.has(branch, lsn)) continue;
    violations.push_back("an acknowledged write is lost: " + node.id + " opens without " +
                         std::to_string(lsn) + " of branch " + std::to_string(branch));
  }
  node.postgres = Postgres::open;
  node.opened_term = node.term;
  node.beats.clear();
  node.confirmed.clear();
  node.beat_at = TimePoint();
  node.busy_until = now + dice_.up_to(milliseconds(50));
  changed(node);
}

void SimWorld::work_as_primary(SimNode& node) {
  if (node.postgres == Postgres::stopping) return;
  if (node.data.empty()) {
    if (node.role->opened_before()) {
      node.refused = "data_lost";
      return changed(node);
    }
    node.data = {{++branches_, 0, 1}};
    node.flush_lsn = kFirstLsn;
    node.busy_until = now + dice_.up_to(milliseconds(150));
    return;
  }
  if (!node.role->opened_before() && node.taken != v1::ROLE_PRIMARY && node.wiped) {
    node.refused = "another_nodes_data";
    return changed(node);
  }
  if (node.postgres == Postgres::closed && node.term == node.role->term()) return;
  if (!node.serves()) {
    node.streaming = false;
    node.term = node.role->term();
    node.taken = v1::ROLE_PRIMARY;
    apply_settings(node);
    node.reply_until = TimePoint();  // what voters answered in another life counts no more
    return may_serve(node) ? open(node) : await_lease(node);
  }
  node.fenced_since = TimePoint();
  if (node.done_generation == node.role->generation()) return;
  apply_settings(node);
  done(node);
  node.busy_until = now + dice_.up_to(milliseconds(100));
}

void SimWorld::await_lease(SimNode& node) {
  const TimePoint clock = hosts_[node.host].clock.at(now);
  if (node.fenced_since == TimePoint()) node.fenced_since = clock;
  if (clock - node.fenced_since < kLeaseOverdue || node.opened_term != node.term) return;
  node.fenced_since = TimePoint();
  node.postgres = Postgres::closed;
  node.flush_lsn += 16;  // the end of its recovery
  node.beats.clear();
  node.confirmed.clear();
  node.beat_at = TimePoint();
  changed(node);
}

void SimWorld::work_as_standby(SimNode& node) {
  if (node.sends() || node.postgres == Postgres::stopping) return stop(node);
  const SimNode* upstream = find(node.role->upstream_node_id());
  const bool can_reach = upstream != nullptr && upstream->sends() && runs(upstream->host) &&
                         linked(node.host, upstream->host) && upstream->slots.contains(node.id);
  const bool is_forked =
      can_reach && !node.data.empty() && !follows_by_timelines(node, *upstream);
  if (node.data.empty() || is_forked) {
    node.streaming = false;
    if (!can_reach) return;
    node.postgres = Postgres::stopped;
    if (is_forked) wipe(node);  // pg_rewind or a base backup: in between it has nothing
    if (is_forked) return changed(node);
    node.data = upstream->data;
    node.flush_lsn = upstream->flush_lsn;
    node.wiped = false;
    node.busy_until = now + dice_.up_to(milliseconds(faults ? 3000 : 300));
    return;
  }
  if (node.postgres != Postgres::recovering) {
    node.postgres = Postgres::recovering;
    return changed(node);
  }
  done(node);
}

void SimWorld::wipe(SimNode& node) {
  node.data.clear();
  node.flush_lsn = 0;
  node.wiped = true;
}

}  // namespace trunkline::replication::test
