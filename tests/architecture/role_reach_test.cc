// Every role that replication can assign is one that an agent can reach: whatever state the node is
// in when the task comes, the agent's table leads to the role, or to a refusal that is named here.
// Replication's side is role_document() over every kind of group that the log can tell; the agent's
// side is its converge table, walked with steps that succeed.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "agent/domain/converge_table.h"
#include "agent/io/task_codec.h"
#include "replication/domain/group_react.h"
#include "replication/domain/group_state.h"

namespace trunkline {
namespace {

using agent::DataState;
using agent::Lineage;
using agent::Manifest;
using agent::NodeRole;
using agent::PostgresState;
using agent::RoleSpec;
using agent::Seen;
using agent::Step;
using replication::AssignedRole;
using replication::FailoverKind;
using replication::GroupState;

constexpr uint64_t kTerm = 3;
constexpr int kMostSteps = 60;  // a walk that is longer goes round in circles

std::string node_id(int number) {
  return "00000000-0000-4000-8000-00000000000" + std::to_string(number);
}

// --- what replication can assign

GroupState group(bool ever_open, uint32_t primary_timeline, uint32_t sync_number, bool voters) {
  GroupState out;
  out.version = 9;
  out.nodes_number = 3;
  out.term = kTerm;
  out.ever_open = ever_open;
  out.primary_open = ever_open;
  out.primary_timeline = primary_timeline;
  if (ever_open) out.history = {{2, 0x4000000}};
  for (int i = 0; i < 3; ++i) {
    replication::Member member;
    member.id = NodeId(node_id(i));
    member.address = {HostName("host-" + std::to_string(i)), "a", "127.0.0.1", 5433};
    member.role = i == 0 ? AssignedRole::primary : AssignedRole::standby;
    member.term = kTerm;
    member.role_generation = 5;
    if (i > 0) member.upstream = NodeId(node_id(0));
    if (i > 0 && voters) out.sync_applied.candidates.insert(member.id);
    out.members.push_back(member);
  }
  out.primary = out.members[0].id;
  out.sync_applied.version = voters ? 4 : 0;
  out.sync_applied.number = sync_number;
  return out;
}

std::vector<GroupState> all_groups() {
  std::vector<GroupState> out;
  for (const bool ever_open : {false, true}) {
    for (const uint32_t timeline : {0u, 3u}) {
      for (const bool voters : {false, true}) {
        for (const uint32_t sync : {0u, 1u}) {
          const GroupState settled = group(ever_open, timeline, voters ? sync : 0, voters);
          out.push_back(settled);
          for (const FailoverKind kind : {FailoverKind::failover, FailoverKind::switchover,
                                          FailoverKind::override_by_operator}) {
            GroupState failing = settled;
            failing.term = kTerm + 1;
            failing.primary = {};
            failing.failover = {.term = kTerm + 1, .kind = kind, .from = settled.primary};
            out.push_back(failing);
            GroupState promoted = failing;
            promoted.primary = NodeId(node_id(1));
            promoted.failover->is_over = true;
            promoted.members[1].role = AssignedRole::primary;
            promoted.members[1].term = kTerm + 1;
            out.push_back(promoted);
            promoted.members[0].role = AssignedRole::standby;
            promoted.members[0].upstream = promoted.primary;
            promoted.members[0].term = kTerm + 1;
            out.push_back(promoted);
          }
        }
      }
    }
  }
  return out;
}

// Each kind of assignment once, as an agent reads it from the wire.
std::vector<RoleSpec> all_roles() {
  std::vector<RoleSpec> out;
  for (const GroupState& state : all_groups()) {
    for (const auto& task : replication::tasks(InstanceId(node_id(9)), state)) {
      std::string node, error;
      const auto assignment = agent::read_task(task.task, &node, &error);
      EXPECT_TRUE(assignment) << error << "\n" << task.task.ShortDebugString();
      if (!assignment) continue;
      const auto& role = std::get<RoleSpec>(assignment->body);
      if (std::find(out.begin(), out.end(), role) == out.end()) out.push_back(role);
    }
  }
  return out;
}

// --- what an agent makes of it

struct Node {
  Manifest manifest;
  Seen seen;
};

bool runs(const Seen& seen) {
  return seen.postmaster_alive || seen.keeper_alive;
}

void stop(Seen& s) {
  s.keeper_alive = s.postmaster_alive = s.data_gone_under_postmaster = false;
  s.keeper_fenced = s.keeper_closed = s.keeper_held = s.guard_differs = false;
  s.postgres = PostgresState::stopped;
  s.files_in_force = true;
  s.restart_pending = s.port_in_use = s.promoting = false;
  s.quick_deaths = 0;
  s.receiver_ended = true;
}

void put_data(Node& node, DataState data) {
  stop(node.seen);
  node.seen.data = data;
  node.seen.lineage = Lineage::follows;
  node.seen.cannot_follow.clear();
  node.seen.files_differ = true;
  node.manifest.formed = true;
}

// What the world does while a node waits: servers come up, leases are granted, histories told.
void let_time_pass(Seen& s) {
  if (s.postmaster_alive && !s.keeper_closed && !s.keeper_fenced) {
    s.postgres = s.data == DataState::standby ? PostgresState::recovering : PostgresState::open;
    s.quick_deaths = 0;
  } else if (s.keeper_alive && !s.keeper_held && !s.keeper_fenced) {
    s.postmaster_alive = true;  // the keeper starts it again
    s.postgres = PostgresState::starting;
  }
  s.lease_held = true;
  s.keeper_fenced = s.keeper_closed = false;
  s.end_known = true;
  if (s.lineage == Lineage::newer) s.lineage = Lineage::follows;
}

// The step has succeeded.
void take(Step step, Node& node) {
  Seen& s = node.seen;
  switch (step) {
    case Step::wait:
    case Step::await_lease: return let_time_pass(s);
    case Step::make_box: s.box_ready = true; return;
    case Step::create_from_template: return put_data(node, DataState::primary);
    case Step::take_base_backup:
    case Step::replace_by_base_backup:
      put_data(node, DataState::standby);
      s.data_unsynced = true;
      return;
    case Step::write_files:
      s.files_differ = false;
      s.files_in_force = !s.postmaster_alive;
      return;
    case Step::start:
      s.keeper_alive = s.postmaster_alive = true;
      s.postgres = PostgresState::starting;
      s.guard_differs = !node.manifest.role->sync_candidates.empty();
      s.receiver_ended = node.manifest.role->role == NodeRole::fenced;
      return;
    case Step::adopt: s.keeper_alive = true; return;
    case Step::kill_without_data:
    case Step::stop_quarantined:
    case Step::stop_for_disk: return stop(s);
    case Step::restart:
      s.restart_pending = false;
      s.postgres = PostgresState::starting;
      return;
    case Step::reload: s.files_in_force = true; return;
    case Step::start_closed:
      s.postmaster_alive = s.keeper_closed = true;
      s.keeper_fenced = false;
      return;
    case Step::set_guard: s.guard_differs = false; return;
    case Step::release_keeper: s.keeper_held = false; return;
    case Step::promote:
      s.data = DataState::primary;
      s.postgres = PostgresState::open;
      return;
    case Step::await_promotion:
      s.data = DataState::primary;
      s.postgres = PostgresState::open;
      s.promoting = false;
      return;
    case Step::withdraw_promotion: return stop(s);
    case Step::resume_promotion:
      stop(s);
      s.promotion_cut = false;
      s.data = DataState::standby;
      return;
    case Step::become_standby:
    case Step::rewind: return put_data(node, DataState::standby);
    case Step::checkpoint_and_part: s.patience_over = true; return;
    case Step::stop_primary: return stop(s);
    case Step::end_receiver: s.receiver_ended = true; return;
    case Step::apply_slots: s.slots_differ = false; return;
    case Step::confirm_sync_set: s.sync_confirmed = s.sync_armed = true; return;
    case Step::sync_data: s.data_unsynced = false; return;
    case Step::apply_objects: s.objects_differ = false; return;
    case Step::check_objects: s.objects_check_due = false; return;
    case Step::none:
    case Step::remove:
    case Step::refuse: return;
  }
}

struct End {
  std::string rule;  // of the last decision; "" if there was none
  std::string way;   // the rules before it
  Node node;
};

End walk(Node node) {
  std::string way;
  for (int i = 0; i < kMostSteps; ++i) {
    const agent::Decision decision = decide_step(node.manifest, node.seen);
    way += decision.rule + " ";
    if (decision.step == Step::none || decision.step == Step::refuse) {
      return {decision.rule, way, node};
    }
    take(decision.step, node);
  }
  return {"", way, node};
}

bool has_role(const RoleSpec& role, const End& end) {
  const Seen& s = end.node.seen;
  switch (role.role) {
    case NodeRole::primary:
      return end.rule == "as_ordered" && s.data == DataState::primary &&
             s.postgres == PostgresState::open && !s.guard_differs && !s.keeper_fenced &&
             !s.keeper_closed;
    case NodeRole::standby:
      // It may be on a timeline already that the log has yet to hear of.
      return end.rule == "as_ordered" && s.data == DataState::standby &&
             s.postgres == PostgresState::recovering && s.lineage != Lineage::rewind &&
             s.lineage != Lineage::replace;
    case NodeRole::fenced:
      return end.rule == "fenced_primary_stopped"
                 ? s.data == DataState::primary && !runs(s)
                 : end.rule == "fenced_standby" && s.receiver_ended && s.end_known;
    case NodeRole::none: return false;
  }
  return false;
}

// Where an agent must not do as it is told: replication is answered, and decides anew.
bool may_refuse(const RoleSpec& role, const Node& from, const std::string& rule) {
  const bool no_data =
      from.seen.data == DataState::absent || from.seen.data == DataState::unsynced;
  if (rule == "port_in_use") return from.seen.port_in_use;
  if (rule == "primary_crash_loop") return from.seen.quick_deaths >= agent::kCrashLoopDeaths;
  if (rule == "fenced_without_data") return role.role == NodeRole::fenced && no_data;
  if (rule == "primary_data_lost") return role.role == NodeRole::primary && no_data;
  if (rule == "promotion_not_fenced") {
    return role.role == NodeRole::primary && role.timeline == 0 &&
           (from.seen.data == DataState::standby || from.seen.promotion_cut);
  }
  return false;
}

// --- where it may start from

struct Flag {
  const char* name;
  void (*turn)(Seen&);
};
const Flag kFlags[] = {
    {"box_not_ready", [](Seen& s) { s.box_ready = false; }},
    {"data_unsynced", [](Seen& s) { s.data_unsynced = true; }},
    {"data_gone", [](Seen& s) {
       s.data_gone_under_postmaster = s.postmaster_alive;
       if (s.postmaster_alive) s.data = DataState::absent;
     }},
    {"keeper_dead", [](Seen& s) { s.keeper_alive = false; }},
    {"postmaster_dead", [](Seen& s) {
       s.postmaster_alive = false;
       s.postgres = PostgresState::stopped;
     }},
    {"starting", [](Seen& s) {
       if (s.postmaster_alive) s.postgres = PostgresState::starting;
     }},
    {"crash_loop", [](Seen& s) { s.quick_deaths = agent::kCrashLoopDeaths; }},
    {"files_differ", [](Seen& s) { s.files_differ = true; }},
    {"files_not_in_force", [](Seen& s) { s.files_in_force = false; }},
    {"restart_pending", [](Seen& s) { s.restart_pending = true; }},
    {"slots_differ", [](Seen& s) { s.slots_differ = true; }},
    {"sync_not_confirmed", [](Seen& s) { s.sync_confirmed = s.sync_armed = false; }},
    {"objects_differ", [](Seen& s) { s.objects_differ = s.objects_check_due = true; }},
    {"port_in_use", [](Seen& s) { s.port_in_use = true; }},
    {"cannot_follow", [](Seen& s) { s.cannot_follow = "its slot is lost"; }},
    {"left_history", [](Seen& s) { s.lineage = Lineage::rewind; }},
    {"other_history", [](Seen& s) { s.lineage = Lineage::replace; }},
    {"newer_history", [](Seen& s) { s.lineage = Lineage::newer; }},
    {"guard_differs", [](Seen& s) { s.guard_differs = true; }},
    {"no_lease", [](Seen& s) { s.lease_held = false; }},
    {"keeper_fenced", [](Seen& s) {
       s.keeper_fenced = true;
       s.postmaster_alive = false;
       s.postgres = PostgresState::stopped;
     }},
    {"keeper_closed", [](Seen& s) {
       s.keeper_closed = true;
       s.postgres = PostgresState::starting;
     }},
    {"lease_overdue", [](Seen& s) { s.lease_overdue = true; }},
    {"keeper_held", [](Seen& s) {
       s.keeper_held = true;
       s.postmaster_alive = false;
       s.postgres = PostgresState::stopped;
     }},
    {"promotion_cut", [](Seen& s) {
       s.promotion_cut = true;
       s.keeper_alive = s.keeper_held = s.data == DataState::standby;
       s.postmaster_alive = false;
       s.postgres = PostgresState::stopped;
     }},
    {"promoting", [](Seen& s) {
       s.promoting = s.postmaster_alive && s.postgres == PostgresState::recovering;
     }},
    {"receives", [](Seen& s) { s.receiver_ended = false; }},
    {"replays", [](Seen& s) { s.end_known = false; }},
    {"patience", [](Seen& s) { s.patience_over = false; }},
};

// A keeper holds from a promotion on: a server that died in it is never just started again.
void tell_cut(Node& node) {
  Seen& s = node.seen;
  const bool promoting = node.manifest.role->role == NodeRole::primary && s.keeper_alive;
  if (promoting && s.keeper_held && !s.postmaster_alive && s.data == DataState::standby) {
    s.promotion_cut = true;
  }
}

Node node_with(const RoleSpec& role, DataState data, bool running) {
  Node out;
  out.manifest.node_id = node_id(0);
  out.manifest.ensure = agent::EnsureSpec{1, "postgresql-15", {1, 512, 8}, {}};
  out.manifest.role = role;
  out.manifest.formed = data != DataState::absent;
  Seen& s = out.seen;
  s.image_here = s.box_ready = s.lease_held = s.end_known = true;
  s.data = data;
  s.receiver_ended = true;
  if (running && (data == DataState::primary || data == DataState::standby)) {
    s.keeper_alive = s.postmaster_alive = true;
    s.postgres = data == DataState::primary ? PostgresState::open : PostgresState::recovering;
  }
  return out;
}

class RoleReach : public ::testing::Test {
 protected:
  void check(Node from, const std::string& how) {
    tell_cut(from);
    const RoleSpec& role = *from.manifest.role;
    const End end = walk(from);
    ++walks_;
    if (has_role(role, end)) {
      ++reached_[role.role];
      return;
    }
    if (may_refuse(role, from, end.rule)) {
      refused_.insert(end.rule);
      return;
    }
    ADD_FAILURE() << "role " << static_cast<int>(role.role) << " (timeline " << role.timeline
                  << ") from data " << static_cast<int>(from.seen.data) << " " << how
                  << "\nends in \"" << end.rule << "\" by: " << end.way;
  }

  template <class Do>
  void from_everywhere(Do what) {
    for (const RoleSpec& role : roles_) {
      for (const auto data : {DataState::absent, DataState::unsynced, DataState::primary,
                              DataState::standby}) {
        for (const bool running : {false, true}) what(node_with(role, data, running));
      }
    }
  }

  const std::vector<RoleSpec> roles_ = all_roles();
  std::map<NodeRole, int> reached_;
  std::set<std::string> refused_;
  int walks_ = 0;
};

TEST_F(RoleReach, every_kind_of_assignment_is_there) {
  std::set<std::string> kinds;
  for (const RoleSpec& role : roles_) {
    switch (role.role) {
      case NodeRole::primary:
        kinds.insert(role.timeline == 0 ? "first primary" : "promotion");
        if (!role.sync_candidates.empty()) kinds.insert("primary with voters");
        break;
      case NodeRole::standby:
        kinds.insert(role.history.empty() ? "first standby" : "standby of a history");
        break;
      case NodeRole::fenced:
        kinds.insert(role.patience_ms > 0 ? "fenced with patience" : "fenced");
        break;
      case NodeRole::none: break;
    }
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"first primary", "promotion", "primary with voters",
                                          "first standby", "standby of a history", "fenced",
                                          "fenced with patience"}));
}

TEST_F(RoleReach, is_reached_from_every_state_and_any_two_troubles) {
  from_everywhere([&](const Node& start) {
    check(start, "as it is");
    for (const Flag& one : kFlags) {
      Node troubled = start;
      one.turn(troubled.seen);
      check(troubled, one.name);
      for (const Flag& two : kFlags) {
        Node more = troubled;
        two.turn(more.seen);
        check(more, std::string(one.name) + " " + two.name);
      }
    }
  });
  EXPECT_GT(walks_, 10'000);
  for (const auto role : {NodeRole::primary, NodeRole::standby, NodeRole::fenced}) {
    EXPECT_GT(reached_[role], 1'000) << static_cast<int>(role);
  }
  EXPECT_EQ(refused_, (std::set<std::string>{"fenced_without_data", "port_in_use",
                                             "primary_crash_loop", "primary_data_lost",
                                             "promotion_not_fenced"}));
}

TEST_F(RoleReach, is_reached_from_many_troubles_at_once) {
  std::mt19937 dice(20'261'121);
  for (int round = 0; round < 300 && !HasFailure(); ++round) {
    from_everywhere([&](Node start) {
      std::string how;
      for (const Flag& flag : kFlags) {
        if (dice() % 4 != 0) continue;
        flag.turn(start.seen);
        how += std::string(flag.name) + " ";
      }
      check(start, how);
    });
  }
}

}  // namespace
}  // namespace trunkline
