// What breaks in SimWorld, and how it heals.
#include "replication/tests/sim_world.h"

namespace trunkline::replication::test {

using Postgres = SimNode::Postgres;

void SimWorld::heal() {
  for (Host& host : hosts_) {
    if (host.is_destroyed) continue;
    host.down_until = host.frozen_until = host.agent_frozen_until = TimePoint();
  }
  for (auto& row : cut_) {
    for (TimePoint& until : row) until = TimePoint();
  }
  for (auto& [id, node] : nodes) node.stalled_until = TimePoint();
}

// Probabilities are those of one tick of 50 ms.
void SimWorld::hurt() {
  if (hardness > 0) hurt_network();
  for (int i = 0; i < kHosts; ++i) {
    if (hardness > 0) hurt_host(hosts_[i], i);
  }
  for (auto& [id, node] : nodes) {
    if (dice_.one_in(600 / (hardness + 1)) && !is_destroyed(node.host)) hurt_node(node);
  }
}

void SimWorld::hurt_network() {
  const auto until = now + dice_.up_to(milliseconds(9000));
  const auto any = [&] { return static_cast<int>(dice_.below(kHosts + 1)); };
  switch (dice_.below(1200 / hardness)) {
    case 0:  // one way
      cut_[any()][any()] = until;
      break;
    case 1: {  // two machines, or one and the bus
      const int a = any();
      const int b = any();
      cut_[a][b] = cut_[b][a] = until;
      break;
    }
    case 2: {  // one machine from all others, or the bus from all
      const int alone = any();
      for (int i = 0; i <= kHosts; ++i) cut_[i][alone] = cut_[alone][i] = until;
      break;
    }
    case 3: {  // two parts; the bus is in one of them
      bool side[kHosts + 1];
      for (bool& s : side) s = dice_.one_in(2);
      for (int a = 0; a <= kHosts; ++a) {
        for (int b = 0; b <= kHosts; ++b) {
          if (side[a] != side[b]) cut_[a][b] = until;
        }
      }
      break;
    }
    case 4: {  // some machines hear each other and not the bus
      for (int a = 0; a < kHosts; ++a) {
        if (dice_.one_in(2)) cut_[a][kBus] = cut_[kBus][a] = until;
      }
      break;
    }
  }
}

void SimWorld::cut_power(int index, TimePoint until) {
  Host& host = hosts_[index];
  host.down_until = until;
  for (auto& [id, node] : nodes) {
    if (node.host != index) continue;
    stop(node);
    node.lease_until = node.reply_until = TimePoint();
    node.received_lsn = 0;
    node.busy_until = std::max(node.busy_until, until + milliseconds(500));
  }
  host.agent_id = "agent-" + std::to_string(++agents_);
  host.sequence = 0;
  host.sent.clear();
}

void SimWorld::destroy_host(int index) {
  cut_power(index, now + std::chrono::hours(1000));
  hosts_[index].is_destroyed = true;
}

void SimWorld::hurt_host(Host& host, int index) {
  if (host.is_destroyed) return;
  switch (dice_.below(2500 / hardness)) {
    case 0:
      cut_power(index, now + dice_.up_to(milliseconds(12000)));
      break;
    case 1:
      host.frozen_until = now + dice_.up_to(milliseconds(6000));
      break;
    case 2:
    case 3:
      host.agent_frozen_until = now + dice_.up_to(milliseconds(9000));
      break;
    case 4:
    case 5:
    case 6:
      host.agent_id = "agent-" + std::to_string(++agents_);
      host.sequence = 0;
      host.sent.clear();
      break;
  }
}

void SimWorld::hurt_node(SimNode& node) {
  if (node.serves() && dice_.one_in(6)) {  // its disk hangs, or its postmaster
    node.stalled_since = now;
    node.stalled_until = now + dice_.up_to(milliseconds(dice_.one_in(3) ? 30000 : 4000));
    return;
  }
  switch (dice_.below(8)) {
    case 0:
    case 1:
    case 2:
    case 3: {  // the postmaster dies, or one of its processes
      const bool recovers = node.serves() && dice_.one_in(2);
      stop(node);
      node.recovers = recovers;
      node.busy_until = now + dice_.up_to(milliseconds(dice_.one_in(3) ? 4000 : 400));
      break;
    }
    case 4:  // the standby's data is lost
      if (node.taken != v1::ROLE_STANDBY || node.role->role() != v1::ROLE_STANDBY) return;
      if (!primary_is_open) return;
      stop(node);
      wipe(node);
      break;
    case 5:
    case 6:
      node.stuck_until = now + dice_.up_to(milliseconds(15000));
      break;
    case 7:  // only a new assignment helps
      node.stuck_generation = node.role ? node.role->generation() : 0;
      break;
  }
  changed(node);
}

}  // namespace trunkline::replication::test
