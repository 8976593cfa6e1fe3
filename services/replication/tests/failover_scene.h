// A settled group that something happens to, for tests of failover and switchover.
#pragma once

#include <gtest/gtest.h>

#include "replication/domain/group_failover.h"
#include "replication/tests/group_builder.h"

namespace trunkline::replication::test {

struct Scene : Settled {
  explicit Scene(int nodes = 3, uint32_t sync = 1) : Settled(nodes, sync) {}

  // So long, with reports of these hosts every 0.2 s; the table runs, probes go out unanswered.
  std::vector<std::string> pass(double s, const std::vector<int>& reporting) {
    std::vector<std::string> rules;
    for (const TimePoint end = group.now + milliseconds(static_cast<int>(s * 1000));
         group.now < end;) {
      group.now += milliseconds(100);
      if (++steps % 2 == 0) {
        for (int i : reporting) hosts.send(group, i);
      }
      for (const std::string& rule : group.run()) {
        if (rules.empty() || rules.back() != rule) rules.push_back(rule);
      }
      const auto probes = due_probes(InstanceId("i"), group.state, group.facts, group.now);
      if (!probes.empty()) {
        note_probe(group.facts, probes[0].task.probe_upstream().probe_id(), group.now);
      }
    }
    return rules;
  }
  void crash(int i) { hosts.at(i).set_postgres(v1::POSTGRES_STATE_STOPPED); }
  // Takes FENCED; a primary stops, and is stopped cleanly.
  void fence(int i) {
    for (const auto& task : tasks(InstanceId("i"), group.state)) {
      if (task.task.node_id() != node(i).str()) continue;
      hosts.obey_task(i, task.task.assign_role());
    }
    if (hosts.at(i).postgres() == v1::POSTGRES_STATE_OPEN) {
      crash(i);
      hosts.at(i).set_wal_end_exact(true);
    }
    hosts.at(i).clear_standbys();
    hosts.send(group, i);
  }
  bool is_fenced_task(int i) {
    for (const auto& task : tasks(InstanceId("i"), group.state)) {
      if (task.task.node_id() == node(i).str()) {
        return task.task.assign_role().role() == v1::ROLE_FENCED;
      }
    }
    return false;
  }
  std::string rule() { return rule_now(group); }
  v1::PrimaryAssigned promoted() const {
    for (auto e = group.events.rbegin(); e != group.events.rend(); ++e) {
      if (e->has_primary_assigned()) return e->primary_assigned();
    }
    return {};
  }
  // The primary's host is silent until a failover is under way.
  void lose_primary() {
    pass(1.6, {1, 2});
    ASSERT_NE(failover_under_way(group.state), nullptr) << rule();
  }
  int steps = 0;
};

}  // namespace trunkline::replication::test
