// A primary and its voter on two hosts, for tests against real PostgreSQL servers.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "agent/keeper/proc_scan.h"
#include "agent/tests/test_host.h"

namespace trunkline::agent::testing {

using Clock = std::chrono::steady_clock;

inline double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

inline bool role_done(const v1::NodeReport& node, uint64_t generation) {
  return node.role().generation() == generation && node.role().state() == v1::TASK_STATE_SUCCEEDED;
}

inline bool is_fenced(const v1::NodeReport& node) {
  return node.reported_role() == v1::ROLE_FENCED && node.flush_lsn() > 0 &&
         node.role().state() == v1::TASK_STATE_SUCCEEDED;
}

// The process of a standby that replays, which stands still now; 0: there is none.
inline pid_t freeze_replay(const TestHost& host, const TestNode& node) {
  const pid_t pid = std::atoi(
      value(host, node, "select pid from pg_stat_activity where backend_type = 'startup'").c_str());
  if (pid > 0) ::kill(pid, SIGSTOP);
  return pid;
}

class FailoverTest : public ::testing::Test {
 protected:
  TestPlatform platform_;
  TestHost a_{platform_, "host-a", "127.31.77.21"};
  TestHost b_{platform_, "host-b", "127.31.77.22"};
  TestNode one_ = make_node(a_);
  TestNode two_ = make_node(b_);

  // `one` is primary with `two` as its voter.
  void form(uint32_t sync_number) {
    order_box(b_, two_);
    order_standby(b_, two_, one_);
    order_box(a_, one_);
    order_primary(a_, one_, 1, {two_.id});
    ASSERT_TRUE(b_.await_node(two_.id, is_streaming, seconds(60)));
    order_role(a_, one_, primary(2, 1, {two_.id}, sync_number, 2));
    ASSERT_TRUE(a_.await_node(one_.id, [](const auto& n) {
      return n.sync_version() == 2 && role_done(n, 2);
    }));
    ASSERT_TRUE(b_.await_node(two_.id, [](const auto& n) { return role_done(n, 1); }));
    query(a_, one_, "create table public.t (x int)");
    query(a_, one_, "insert into public.t select generate_series(1, 100)");
  }
  // And `three` of a third host, which has no vote, streams too.
  void form_with(TestHost& c, const TestNode& three) {
    form(0);
    order_box(c, three);
    order_standby(c, three, one_);
    v1::AssignRole role = primary(3, 1, {two_.id}, 0, 2);
    role.add_standby_node_ids(three.id);
    order_role(a_, one_, role);
    ASSERT_TRUE(c.await_node(three.id, is_streaming, seconds(60)));
  }
  static v1::AssignRole primary(uint64_t generation, uint64_t term,
                                const std::vector<std::string>& voters, uint32_t number,
                                uint64_t sync_version) {
    v1::AssignRole role;
    role.set_generation(generation);
    role.set_term(term);
    role.set_role(v1::ROLE_PRIMARY);
    role.set_opened_before(true);
    for (const auto& id : voters) {
      role.add_standby_node_ids(id);
      role.add_sync_candidates(id);
    }
    role.set_sync_number(number);
    role.set_sync_version(sync_version);
    role.set_timeline(static_cast<uint32_t>(term));
    return role;
  }
  static v1::AssignRole standby_of(const TestNode& upstream, const v1::NodeReport& report,
                                   uint64_t generation, uint64_t term) {
    v1::AssignRole role;
    role.set_generation(generation);
    role.set_term(term);
    role.set_role(v1::ROLE_STANDBY);
    role.set_upstream_node_id(upstream.id);
    *role.mutable_upstream() = upstream.address;
    *role.mutable_history() = report.history();
    return role;
  }
  std::optional<KeeperStatus> keeper(TestHost& host, const TestNode& node) {
    bool frozen = false;
    return keeper_status(host.node(node.id).control, &frozen);
  }
  // Until the keeper of `one` is in `state`; the last process of a server is gone a moment before
  // its keeper has heard so.
  bool await_keeper(const std::string& state, pid_t other_than = 0) {
    const auto until = Clock::now() + seconds(30);
    while (Clock::now() < until) {
      const auto status = keeper(a_, one_);
      if (status && status->state == state && status->keeper_pid != other_than) return true;
      ::usleep(5000);
    }
    return false;
  }
  bool dead(TestHost& host, const TestNode& node) {
    return postgres_processes_in(host.node(node.id).data).empty();
  }
  // Waits until no process of the server is left; when that was, on CLOCK_BOOTTIME.
  int64_t await_dead(TestHost& host, const TestNode& node) {
    const auto until = Clock::now() + seconds(20);
    while (!dead(host, node) && Clock::now() < until) ::usleep(1000);
    EXPECT_TRUE(dead(host, node));
    return boot_ms();
  }
  // Every row of `host`'s node, in an order of its own.
  std::string rows(TestHost& host, const TestNode& node) {
    return value(host, node, "select md5(string_agg(x::text, ',' order by x)) from public.t");
  }
  void promote_two(uint64_t generation, uint64_t term, const std::vector<std::string>& voters,
                   uint32_t number) {
    const auto start = Clock::now();
    order_role(b_, two_, primary(generation, term, voters, number, 3));
    ASSERT_TRUE(b_.await_node(two_.id, is_open));
    std::printf("task to open: %.0f ms\n", ms_since(start));
  }
};

}  // namespace trunkline::agent::testing
