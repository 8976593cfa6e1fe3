// Building groups and reports for tests: a state only ever grows by events, as in the log.
#pragma once

#include <string>
#include <vector>

#include "replication/domain/group_decide.h"
#include "replication/domain/group_evolve.h"
#include "replication/domain/group_facts.h"
#include "replication/domain/group_react.h"
#include "replication/domain/group_table.h"
#include "trunkline/v1/report.pb.h"

namespace trunkline::replication::test {

inline NodeId node(int i) {
  return NodeId("00000000-0000-4000-8000-00000000000" + std::to_string(i));
}
inline std::string host(int i) {
  return std::string("host-") + static_cast<char>('a' + i);
}
inline TimePoint at(double s) {
  return from_unix_us(1'800'000'000'000'000 + static_cast<int64_t>(s * 1e6));
}

inline v1::GroupCommand membership(uint32_t nodes_number, uint32_t sync_replica_number,
                                   const std::vector<int>& nodes,
                                   const std::vector<int>& leaving = {}, bool deleting = false) {
  v1::GroupCommand out;
  auto* c = out.mutable_sync_membership();
  c->set_nodes_number(nodes_number);
  c->set_sync_replica_number(sync_replica_number);
  c->set_deleting(deleting);
  for (int i : nodes) {
    auto* m = c->add_members();
    m->set_node_id(node(i).str());
    m->mutable_address()->set_host(host(i));
    m->mutable_address()->set_address("127.0.0.1" + std::to_string(i));
    m->mutable_address()->set_port(5432);
    for (int l : leaving) m->set_leaving(m->leaving() || l == i);
  }
  return out;
}

// A group with its facts, driven as the shell drives it.
class Group {
 public:
  GroupState state;
  GroupFacts facts;
  TimePoint now = at(0);
  std::vector<v1::GroupEvent> events;

  // Decides and folds; the decision is returned.
  Decision<v1::GroupEvent> handle(const v1::GroupCommand& command) {
    notice(facts, state, now);
    auto decision = decide(state, command, facts, now);
    if (auto* accepted = std::get_if<std::vector<v1::GroupEvent>>(&decision)) {
      for (const auto& event : *accepted) {
        evolve(state, event, now);
        events.push_back(event);
      }
    }
    return decision;
  }
  // One decision of the table; the rule that matched.
  std::string step() {
    notice(facts, state, now);
    const Verdict verdict = judge(state, facts, now);
    if (verdict.decision) {
      v1::GroupCommand c;
      *c.mutable_apply_decision()->mutable_decision() = *verdict.decision;
      c.mutable_apply_decision()->set_group_version(state.version);
      handle(c);
    }
    return verdict.rule;
  }
  // Records what reports say and decides until the table waits; all the rules that assigned, and
  // the one that waits.
  std::vector<std::string> run() {
    std::vector<std::string> rules;
    for (int i = 0; i < 100; ++i) {
      for (const auto& command : commands_from_reports(state, facts, now)) handle(command);
      const uint64_t before = state.version;
      rules.push_back(step());
      if (state.version == before) break;
    }
    return rules;
  }
};

// Nodes as their hosts report them; send() hands one report of every host to the group.
class Hosts {
 public:
  explicit Hosts(int count) : nodes(static_cast<size_t>(count)), present(nodes.size(), true) {
    for (int i = 0; i < count; ++i) nodes[static_cast<size_t>(i)].set_node_id(node(i).str());
  }
  v1::NodeReport& at(int i) { return nodes[static_cast<size_t>(i)]; }

  // The node does what its newest task says, without failure.
  void obey(Group& group) {
    for (const auto& task : tasks(InstanceId("i"), group.state)) {
      for (auto& n : nodes) {
        if (n.node_id() == task.task.node_id()) take(n, task.task.assign_role());
      }
    }
  }
  void obey_task(int i, const v1::AssignRole& role) { take(at(i), role); }
  void open(int i, uint64_t flush_lsn = 0x3000000) {
    at(i).set_postgres(v1::POSTGRES_STATE_OPEN);
    at(i).set_timeline(1);
    at(i).set_flush_lsn(flush_lsn);
  }
  void stream(int primary, int standby, uint64_t flush_lsn = 0x3000000) {
    at(standby).set_postgres(v1::POSTGRES_STATE_RECOVERING);
    at(standby).set_timeline(at(primary).timeline());
    at(standby).set_flush_lsn(flush_lsn);
    v1::StandbyReport* row = nullptr;
    for (auto& r : *at(primary).mutable_standbys()) {
      if (r.node_id() == node(standby).str()) row = &r;
    }
    if (row == nullptr) row = at(primary).add_standbys();
    row->set_node_id(node(standby).str());
    row->set_state("streaming");
    row->set_flush_lsn(flush_lsn);
  }
  void stop_streaming(int primary, int standby) {
    auto& rows = *at(primary).mutable_standbys();
    for (int i = rows.size() - 1; i >= 0; --i) {
      if (rows[i].node_id() == node(standby).str()) rows.DeleteSubrange(i, 1);
    }
  }
  void send(Group& group) {
    for (size_t i = 0; i < nodes.size(); ++i) send(group, static_cast<int>(i));
  }
  void send(Group& group, int i) {
    v1::HostReport report;
    report.set_host(host(i));
    report.set_agent_id("agent");
    report.set_sequence(++sequence);
    report.set_sent_unix_us(to_unix_us(group.now));
    if (present[static_cast<size_t>(i)]) *report.add_nodes() = at(i);
    observe(group.facts, group.state, report, group.now);
  }

  std::vector<v1::NodeReport> nodes;
  std::vector<bool> present;
  uint64_t sequence = 0;

 private:
  static void take(v1::NodeReport& n, const v1::AssignRole& role) {
    n.mutable_role()->set_generation(role.generation());
    n.mutable_role()->set_state(v1::TASK_STATE_SUCCEEDED);
    n.set_reported_role(role.role());
    n.set_term(role.term());
    n.set_sync_version(role.sync_version());
    *n.mutable_slots() = role.standby_node_ids();
  }
};

// A settled group of `count` nodes, node 0 its primary.
inline void form(Group& group, Hosts& hosts, int count, uint32_t sync) {
  std::vector<int> all;
  for (int i = 0; i < count; ++i) all.push_back(i);
  group.handle(membership(static_cast<uint32_t>(count), sync, all));
  group.run();
  hosts.obey(group);
  hosts.open(0);
  for (int i = 1; i < count; ++i) hosts.stream(0, i);
  hosts.send(group);
  group.run();
  hosts.obey(group);
  hosts.send(group);
  group.run();
}

struct Settled {
  Group group;
  Hosts hosts{5};
  Settled(int nodes = 3, uint32_t sync = 1) { form(group, hosts, nodes, sync); }
};

// The rule that matches now.
inline std::string rule_now(const Group& group) {
  return judge(group.state, group.facts, group.now).rule;
}

// Every host reports twice a second for so long.
inline void sleep(Group& group, Hosts& hosts, int for_s) {
  for (int i = 0; i < 2 * for_s; ++i) {
    group.now += milliseconds(500);
    hosts.send(group);
  }
}

}  // namespace trunkline::replication::test
