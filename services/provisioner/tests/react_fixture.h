// The fixture of the reactor's tests: an instance, the reports of its hosts, and a clock.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "provisioner/domain/instance_react.h"
#include "provisioner/domain/steps.h"
#include "provisioner/tests/instance_builders.h"

namespace trunkline::provisioner::testing {

// An instance, what its hosts report and the time; each test turns one knob.
class React : public ::testing::Test {
 protected:
  // Nodes 0…count-1 on host-a, host-b, …; nothing made yet.
  void order(uint32_t nodes, uint32_t sync) { scene_.after_order(nodes, sync); }
  void placed(uint32_t nodes, uint32_t sync) {
    order(nodes, sync);
    scene_.after(place(0, nodes));
    take();
  }
  // Made, formed with node 0 as the primary, ACTIVE, at rest.
  void active(uint32_t nodes, uint32_t sync) {
    scene_.after_active(nodes, sync);
    take();
    for (uint32_t i = 0; i < nodes; ++i) made(i);
    membership(nodes, sync);
    opened(0);
    settled_group(nodes, sync);
  }
  void decide(const Command& command) {
    InstanceFacts facts = offered();
    facts.left = left_;
    state_ = play(state_, command, facts);
    now_ = std::max(now_, kStart + seconds(state_.version));
  }
  static InstanceState play(InstanceState state, const Command& command,
                            const InstanceFacts& facts = offered()) {
    const auto decision = provisioner::decide(state, command, facts,
                                              kStart + seconds(state.version) + milliseconds(500));
    const auto* events = std::get_if<std::vector<Event>>(&decision);
    EXPECT_TRUE(events) << trunkline::testing::describe(decision);
    if (!events) return state;
    for (const Event& event : *events) evolve(state, event, kStart + seconds(state.version));
    return state;
  }
  void take() {
    state_ = scene_.state();
    now_ = kStart + seconds(state_.version);
  }

  v1::NodeReport& report(uint32_t ordinal) {
    auto& node = reports_[ordinal];
    node.set_node_id(node_id(ordinal));
    node.set_instance_id(kInstance.str());
    return node;
  }
  void made(uint32_t ordinal) {
    auto& task = *report(ordinal).mutable_ensure();
    task.set_generation(find_node(state_, NodeId(node_id(ordinal)))->ensure_generation);
    task.set_state(v1::TASK_STATE_SUCCEEDED);
  }
  void failed(v1::TaskReport& task, uint64_t generation, const char* code, uint32_t tries) {
    task.set_generation(generation);
    task.set_state(v1::TASK_STATE_FAILED);
    task.set_tries(tries);
    task.mutable_failure()->set_code(code);
    task.mutable_failure()->set_message("it broke");
  }
  void group(const v1::GroupEvent& event) {
    evolve_from_group(state_, event, state_.group.version + 1, now_);
  }
  void membership(uint32_t nodes, uint32_t sync, int leaving = -1) {
    v1::GroupEvent event;
    auto& e = *event.mutable_group_membership_changed();
    for (uint32_t i = 0; i < nodes; ++i) {
      e.add_members()->set_node_id(node_id(i));
      e.mutable_members(static_cast<int>(i))->set_leaving(static_cast<int>(i) == leaving);
    }
    e.set_sync_replica_number(sync);
    group(event);
  }
  void opened(uint32_t ordinal) {
    v1::GroupEvent event;
    event.mutable_primary_assigned()->set_node_id(node_id(ordinal));
    group(event);
    event.mutable_primary_opened()->set_node_id(node_id(ordinal));
    group(event);
  }
  void streams(uint32_t ordinal) {
    v1::GroupEvent event;
    event.mutable_standby_streaming()->set_node_id(node_id(ordinal));
    group(event);
  }
  void failover_started(uint32_t from) {
    v1::GroupEvent event;
    event.mutable_failover_started()->set_from_node_id(node_id(from));
    group(event);
  }
  void detached(uint32_t ordinal) {
    v1::GroupEvent event;
    event.mutable_node_detached()->set_node_id(node_id(ordinal));
    group(event);
  }
  void settled_group(uint32_t nodes, uint32_t sync) {
    v1::GroupEvent event;
    for (uint32_t i = 0; i < nodes; ++i) {
      event.mutable_group_settled()->add_node_ids(node_id(i));
    }
    event.mutable_group_settled()->set_sync_replica_number(sync);
    group(event);
  }

  // Which node's report is on which host: node i on the i-th, unless node 1 shares host-a, and node
  // 3 is placed on host-b then.
  bool is_on(uint32_t ordinal, uint32_t host) const {
    if (shared_ && ordinal == 1) return host == 0;
    if (shared_ && ordinal == 3) return host == 1;
    return ordinal == host;
  }
  std::vector<Action> actions() {
    ReportBook book;
    for (uint32_t i = 0; i < 8; ++i) {
      if (silent_.contains(i)) continue;
      v1::HostReport host;
      host.set_host("host-" + std::string(1, static_cast<char>('a' + i)));
      host.set_agent_id("agent");
      host.set_sequence(1);
      for (const auto& [ordinal, node] : reports_) {
        if (is_on(ordinal, i)) *host.add_nodes() = node;
      }
      book.take(host, now_ - report_age_);
    }
    return react(state_, book, {now_, watching_since_, left_});
  }
  // "ensure 0", "place 2", "record_node_created 0": tasks and commands with the node's ordinal.
  std::vector<std::string> outline() {
    std::vector<std::string> out;
    for (const Action& action : actions()) {
      if (const auto* need = std::get_if<NeedPlacement>(&action)) {
        out.push_back("place " + std::to_string(need->needs.count) +
                      (need->needs.last_chance ? " now" : "") +
                      (need->needs.spreads ? " to spread" : ""));
      } else if (const auto* send = std::get_if<SendTask>(&action)) {
        const char* what = send->task.has_ensure_node()   ? "ensure "
                           : send->task.has_remove_node() ? "remove "
                                                          : "objects ";
        out.push_back(what + ordinal(send->task.node_id()));
      } else {
        out.push_back(outline(std::get<IssueCommand>(action).command));
      }
    }
    return out;
  }
  static std::string outline(const Command& c) {
    if (c.has_record_node_created()) {
      return "record_node_created " + ordinal(c.record_node_created().node_id());
    }
    if (c.has_start_node_removal()) {
      return "start_node_removal " + ordinal(c.start_node_removal().node_id()) + " " +
             c.start_node_removal().why();
    }
    if (c.has_record_node_removed()) {
      return "record_node_removed " + ordinal(c.record_node_removed().node_id());
    }
    if (c.has_record_step_failed()) {
      return "record_step_failed " + c.record_step_failed().step() + " " +
             c.record_step_failed().failure().code();
    }
    if (c.has_record_writes()) return "record_writes " + c.record_writes().why();
    if (c.has_record_objects_applied()) {
      return "record_objects_applied with " +
             std::to_string(c.record_objects_applied().failures_size()) + " failures";
    }
    return c.has_record_group_settled() ? "record_group_settled" : c.ShortDebugString();
  }
  static std::string ordinal(const std::string& id) {
    for (uint32_t i = 0; i < 8; ++i) {
      if (node_id(i) == id) return std::to_string(i);
    }
    return id;
  }
  std::string failure_message() {
    for (const Action& action : actions()) {
      const auto* issue = std::get_if<IssueCommand>(&action);
      if (issue && issue->command.has_record_step_failed()) {
        return issue->command.record_step_failed().failure().message();
      }
    }
    return "";
  }

  Scene scene_;
  InstanceState state_;
  std::map<uint32_t, v1::NodeReport> reports_;
  std::set<uint32_t> silent_;
  LeftHosts left_;
  bool shared_ = false;
  TimePoint now_ = kStart;
  milliseconds report_age_{100};
  TimePoint watching_since_ = kStart - seconds(3600);
};

}  // namespace trunkline::provisioner::testing
