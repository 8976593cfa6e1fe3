// The agent against real PostgreSQL servers: roles, restarts, removal.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "agent/domain/postgres_settings.h"
#include "agent/io/upstream_probe.h"
#include "agent/keeper/proc_scan.h"
#include "agent/tests/test_host.h"
#include "bus/too_large.h"

namespace trunkline::agent::testing {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool role_done(const v1::NodeReport& node, uint64_t generation) {
  return node.role().generation() == generation && node.role().state() == v1::TASK_STATE_SUCCEEDED;
}

class HostTest : public ::testing::Test {
 protected:
  TestPlatform platform_;
  TestHost a_{platform_, "host-a", "127.31.77.11"};

  TestNode open_primary() {
    TestNode node = make_node(a_);
    order_box(a_, node);
    order_primary(a_, node);
    EXPECT_TRUE(a_.await_node(node.id, is_open));
    return node;
  }
};

TEST_F(HostTest, FirstPrimaryOpensFromTheTemplate) {
  const TestNode node = make_node(a_);
  const auto start = Clock::now();
  order_box(a_, node);
  order_primary(a_, node);
  ASSERT_TRUE(a_.await_node(node.id, is_open));
  std::printf("order to open: %.3f s\n", seconds_since(start));
  EXPECT_EQ(value(a_, node, "select 1"), "1");
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) {
    return n.ensure().state() == v1::TASK_STATE_SUCCEEDED && role_done(n, 1);
  }));
  const auto report = a_.newest_node(node.id);
  EXPECT_EQ(report.reported_role(), v1::ROLE_PRIMARY);
  EXPECT_EQ(report.term(), 1u);
  EXPECT_EQ(report.timeline(), 1u);
  EXPECT_GT(report.flush_lsn(), 0u);
  EXPECT_EQ(value(a_, node, "show data_checksums"), "on");
}

TEST_F(HostTest, TwoPrimariesHaveTheirOwnSystemIdentifier) {
  const TestNode one = open_primary();
  const TestNode two = open_primary();
  const std::string sql = "select system_identifier from pg_control_system()";
  EXPECT_NE(value(a_, one, sql), value(a_, two, sql));
}

TEST_F(HostTest, StandbyFollowsOverTlsAndTheSyncSetIsApplied) {
  TestHost b(platform_, "host-b", "127.31.77.12");
  const TestNode primary = make_node(a_);
  const TestNode standby = make_node(b);
  order_box(b, standby);
  order_standby(b, standby, primary);
  order_box(a_, primary);
  order_primary(a_, primary, 1, {standby.id});
  ASSERT_TRUE(a_.await_node(primary.id, is_open));
  const auto start = Clock::now();
  ASSERT_TRUE(b.await_node(standby.id, is_streaming));
  std::printf("primary open to standby streaming: %.3f s\n", seconds_since(start));
  ASSERT_TRUE(a_.await_node(primary.id, [&](const auto& n) {
    return n.standbys_size() == 1 && n.standbys(0).node_id() == standby.id &&
           n.standbys(0).state() == "streaming" && n.slots_size() == 1;
  }));
  EXPECT_EQ(
      value(a_, primary, "select ssl from pg_stat_ssl s join pg_stat_replication r using (pid)"),
      "t");
  query(a_, primary, "create table public.t as select 42 as x");
  EXPECT_TRUE(await_value(b, standby, "select x from public.t", "42"));
  ASSERT_TRUE(b.await_node(standby.id, [](const auto& n) { return role_done(n, 1); }));
  EXPECT_EQ(b.newest_node(standby.id).reported_role(), v1::ROLE_STANDBY);

  order_primary(a_, primary, 2, {standby.id}, {standby.id}, 2);
  ASSERT_TRUE(a_.await_node(primary.id, [&](const auto& n) {
    return n.sync_version() == 2 && n.standbys_size() == 1 &&
           n.standbys(0).sync_state() == "quorum" && role_done(n, 2);
  }));
  EXPECT_EQ(value(a_, primary, "show synchronous_standby_names"), "ANY 1 (\"" + standby.id + "\")");
  order_primary(a_, primary, 3, {standby.id}, {}, 3);
  ASSERT_TRUE(a_.await_node(primary.id, [&](const auto& n) {
    return n.sync_version() == 3 && n.standbys_size() == 1 && n.standbys(0).sync_state() == "async";
  }));

  order_remove(b, standby);
  ASSERT_TRUE(b.await([](const auto& report) { return report.nodes_size() == 0; }));
  order_primary(a_, primary, 4, {}, {}, 3);
  ASSERT_TRUE(a_.await_node(primary.id,
                            [&](const auto& n) { return role_done(n, 4) && n.slots_size() == 0; }));
  EXPECT_EQ(value(a_, primary, "select count(*) from pg_replication_slots"), "0");
}

TEST_F(HostTest, StandbyWithoutDataOrWithAnotherSystemIsRebuilt) {
  const TestNode primary = make_node(a_);
  const TestNode other = open_primary();
  const TestNode standby = make_node(a_);
  order_box(a_, standby);
  order_standby(a_, standby, primary);
  order_box(a_, primary);
  order_primary(a_, primary, 1, {standby.id});
  ASSERT_TRUE(a_.await_node(standby.id, is_streaming));

  // Its directory is taken from under it.
  query(a_, primary, "create table public.t as select 1 as x");
  rename_path(a_.node(standby.id).data, a_.node(standby.id).dir + "/lost");
  ASSERT_TRUE(a_.await_node(standby.id, [](const auto& n) { return !is_streaming(n); }));
  ASSERT_TRUE(a_.await_node(standby.id, is_streaming));
  EXPECT_TRUE(await_value(a_, standby, "select x from public.t", "1"));

  // It is assigned to a group that its data does not belong to.
  query(a_, other, "create table public.u as select 2 as x");
  order_primary(a_, other, 2, {standby.id});
  order_standby(a_, standby, other, 2);
  EXPECT_TRUE(await_value(a_, standby, "select x from public.u", "2", "postgres", seconds(30)));
}

TEST_F(HostTest, RemoveLeavesNothing) {
  const TestNode node = open_primary();
  const NodePaths paths = a_.node(node.id);
  ASSERT_FALSE(postgres_processes_in(paths.data).empty());
  const auto start = Clock::now();
  order_remove(a_, node);
  ASSERT_TRUE(a_.await([](const auto& report) { return report.nodes_size() == 0; }));
  std::printf("order to removed: %.3f s\n", seconds_since(start));
  EXPECT_TRUE(postgres_processes_in(paths.data).empty());
  EXPECT_FALSE(exists(paths.dir));
  EXPECT_FALSE(exists(paths.socket_dir));
  EXPECT_FALSE(exists(a_.paths().manifests_dir + "/" + node.id + ".json"));
  for (const char* controller : {"cpu", "memory"}) {
    ChildProcess find(
        {"/usr/bin/find", std::string("/sys/fs/cgroup/") + controller, "-name", node.id},
        NodeUser{}, false);
    ASSERT_TRUE(find.wait(seconds(10)));
    EXPECT_EQ(find.output().find(node.id), std::string::npos) << find.output();
  }
}

TEST_F(HostTest, KilledPostmasterIsRestartedInPlace) {
  const TestNode node = open_primary();
  const pid_t before = running_postmaster(a_.node(node.id).data);
  ASSERT_GT(before, 0);
  const auto start = Clock::now();
  ::kill(before, SIGKILL);
  ASSERT_TRUE(
      a_.await_node(node.id, [](const auto& n) { return n.restarts() == 1 && is_open(n); }));
  std::printf("kill -9 of postmaster to open: %.3f s\n", seconds_since(start));
  EXPECT_NE(running_postmaster(a_.node(node.id).data), before);
}

TEST_F(HostTest, KilledKeeperIsReplacedWithoutTouchingTheServer) {
  const TestNode node = open_primary();
  const NodePaths paths = a_.node(node.id);
  bool frozen = false;
  const auto keeper = keeper_status(paths.control, &frozen);
  ASSERT_TRUE(keeper);
  ::kill(keeper->keeper_pid, SIGKILL);
  std::optional<KeeperStatus> next;
  for (int i = 0; i < 500 && (!next || next->keeper_pid == keeper->keeper_pid); ++i) {
    ::usleep(10'000);
    next = keeper_status(paths.control, &frozen);
  }
  ASSERT_TRUE(next);
  EXPECT_NE(next->keeper_pid, keeper->keeper_pid);
  EXPECT_EQ(next->postmaster_pid, keeper->postmaster_pid);
  EXPECT_EQ(next->restarts, 0u);
  // The adopted postmaster is kept as well as an own child.
  ::kill(next->postmaster_pid, SIGKILL);
  ASSERT_TRUE(
      a_.await_node(node.id, [](const auto& n) { return n.restarts() == 1 && is_open(n); }));
}

TEST_F(HostTest, KeeperAndPostmasterKilledTogetherComeBack) {
  const TestNode node = open_primary();
  bool frozen = false;
  const auto keeper = keeper_status(a_.node(node.id).control, &frozen);
  ASSERT_TRUE(keeper);
  ::kill(keeper->keeper_pid, SIGKILL);
  ::kill(keeper->postmaster_pid, SIGKILL);
  ASSERT_TRUE(
      a_.await_node(node.id, [](const auto& n) { return n.restarts() == 1 && is_open(n); }));
}

TEST_F(HostTest, AgentRestartTouchesNothingAndRemembersEverything) {
  const TestNode node = make_node(a_);
  order_box(a_, node, 3);
  order_primary(a_, node, 5);
  ASSERT_TRUE(a_.await_node(node.id, is_open));
  const pid_t before = running_postmaster(a_.node(node.id).data);
  a_.stop_agent();
  EXPECT_EQ(running_postmaster(a_.node(node.id).data), before);
  a_.start_agent();
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) {
    return is_open(n) && n.ensure().generation() == 3 && role_done(n, 5);
  }));
  EXPECT_EQ(running_postmaster(a_.node(node.id).data), before);
  EXPECT_EQ(a_.newest_node(node.id).restarts(), 0u);
}

TEST_F(HostTest, NodesComeBackByTheAgentAlone) {
  const TestNode node = open_primary();
  query(a_, node, "create table public.t as select 7 as x");
  a_.stop_agent();
  stop_all_nodes(a_.options(), seconds(10));
  EXPECT_TRUE(postgres_processes_in(a_.node(node.id).data).empty());
  a_.start_agent();
  ASSERT_TRUE(a_.await_node(node.id, is_open));
  EXPECT_EQ(value(a_, node, "select x from public.t"), "7");
}

TEST_F(HostTest, LostPrimaryDataIsNotMadeAnew) {
  const TestNode node = open_primary();
  a_.stop_agent();
  stop_all_nodes(a_.options(), seconds(10));
  remove_tree(a_.node(node.id).data);
  a_.start_agent();
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) {
    return n.role().state() == v1::TASK_STATE_FAILED && n.role().failure().code() == "data_lost";
  }));
  EXPECT_FALSE(exists(a_.node(node.id).data));
  // Nor when the host has forgotten everything but the control plane has not.
  const TestNode other = make_node(a_);
  order_box(a_, other);
  order_primary(a_, other, 1, {}, {}, 1, true);
  ASSERT_TRUE(a_.await_node(
      other.id, [](const auto& n) { return n.role().failure().code() == "data_lost"; }));
}

TEST_F(HostTest, RoleBeforeBoxAndOlderGenerationsAreFine) {
  const TestNode node = make_node(a_);
  order_primary(a_, node, 7);
  EXPECT_EQ(a_.newest().nodes_size(), 0);
  order_box(a_, node, 4);
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) { return is_open(n) && role_done(n, 7); }));
  order_primary(a_, node, 6, {node.id});
  order_box(a_, node, 3, 1024);
  order_box(a_, node, 5, 2048);
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) {
    return n.ensure().generation() == 5 && n.ensure().state() == v1::TASK_STATE_SUCCEEDED;
  }));
  EXPECT_EQ(a_.newest_node(node.id).role().generation(), 7u);
  EXPECT_EQ(value(a_, node, "select count(*) from pg_replication_slots"), "0");
  EXPECT_EQ(value(a_, node, "show shared_buffers"), "512MB");
}

TEST_F(HostTest, TakenPortIsNamed) {
  const TestNode node = open_primary();
  TestNode other = make_node(a_);
  other.address.set_port(node.address.port());
  order_box(a_, other);
  order_primary(a_, other);
  ASSERT_TRUE(a_.await_node(other.id, [](const auto& n) {
    return n.role().state() == v1::TASK_STATE_FAILED &&
           n.role().failure().code() == "port_in_use" && n.role().tries() > 2;
  }));
}

TEST_F(HostTest, SizeChangeTakesEffectOnTheRunningServer) {
  const TestNode node = open_primary();
  EXPECT_EQ(value(a_, node, "show shared_buffers"), "128MB");
  order_box(a_, node, 2, 1024);
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) {
    return is_open(n) && n.ensure().generation() == 2 &&
           n.ensure().state() == v1::TASK_STATE_SUCCEEDED;
  }));
  EXPECT_EQ(value(a_, node, "show shared_buffers"), "256MB");
  EXPECT_EQ(a_.newest_node(node.id).restarts(), 0u) << "an ordered restart is none";
}

TEST_F(HostTest, ASizeThatDoesNotStartIsPutBackAndSaysWhy) {
  a_.stop_agent();
  a_.change_options().ram_mb = 64u << 20;  // more than there is
  a_.start_agent();
  const TestNode node = open_primary();
  query(a_, node, "create table public.t as select 7 as x");
  order_box(a_, node, 2, 16u << 20);
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) {
    return is_open(n) && n.ensure().generation() == 2 &&
           n.ensure().state() == v1::TASK_STATE_FAILED;
  }));
  const auto refused = a_.newest_node(node.id).ensure();
  EXPECT_EQ(refused.failure().code(), "size_refused");
  EXPECT_NE(refused.failure().message().find("shared memory"), std::string::npos)
      << refused.failure().message();
  EXPECT_GE(refused.tries(), 5u);
  EXPECT_EQ(value(a_, node, "show shared_buffers"), "128MB");
  EXPECT_EQ(value(a_, node, "select x from public.t"), "7");
  a_.stop_agent();
  a_.start_agent();
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) {
    return is_open(n) && n.ensure().failure().code() == "size_refused";
  })) << "remembered";
  order_box(a_, node, 3, 1024);
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) {
    return is_open(n) && n.ensure().generation() == 3 &&
           n.ensure().state() == v1::TASK_STATE_SUCCEEDED;
  }));
  EXPECT_EQ(value(a_, node, "show shared_buffers"), "256MB");
}

// 512 MB have 51 connections, 1024 MB have 102.
TEST_F(HostTest, AStandbyMadeSmallerKeepsWhatItsPrimaryHas) {
  const TestNode primary = make_node(a_);
  const TestNode standby = make_node(a_);
  order_box(a_, primary);
  order_box(a_, standby);
  order_primary(a_, primary, 1, {standby.id});
  order_standby(a_, standby, primary);
  ASSERT_TRUE(a_.await_node(standby.id, is_streaming));
  const auto sized = [&](const TestNode& node, uint64_t generation) {
    return a_.await_node(node.id, [&](const auto& n) {
      return n.ensure().generation() == generation &&
             n.ensure().state() == v1::TASK_STATE_SUCCEEDED;
    }, seconds(40));
  };
  const auto standby_has = [&](const std::string& most) {
    return a_.await_node(standby.id, [&](const auto& n) {
      try {
        return is_streaming(n) && value(a_, standby, "show max_connections") == most;
      } catch (const PgError&) {
        return false;  // it is being restarted
      }
    });
  };
  // Its standby can take over: it waits for that a while, and says so.
  const pid_t before = running_postmaster(a_.node(primary.id).data);
  order_box(a_, primary, 2, 1024);
  ASSERT_TRUE(a_.await_node(primary.id, [](const auto& n) { return n.restart_awaited(); }));
  EXPECT_EQ(running_postmaster(a_.node(primary.id).data), before);
  EXPECT_GE(a_.newest_node(primary.id).prepared_id(), 1u) << "a checkpoint has come before";
  ASSERT_TRUE(sized(primary, 2)) << "nobody took over: it restarts in place";
  EXPECT_EQ(value(a_, primary, "show max_connections"), "102");
  ASSERT_TRUE(standby_has("102")) << "with less its replay stands";
  order_box(a_, standby, 2, 1024);
  ASSERT_TRUE(sized(standby, 2));
  EXPECT_EQ(value(a_, standby, "show shared_buffers"), "256MB");

  const std::string made = value(a_, standby, "select pg_postmaster_start_time()");
  order_box(a_, standby, 3, 512);
  ASSERT_TRUE(sized(standby, 3));
  ASSERT_TRUE(standby_has("102"));
  EXPECT_NE(value(a_, standby, "select pg_postmaster_start_time()"), made);
  EXPECT_EQ(value(a_, standby, "show shared_buffers"), "128MB");
  EXPECT_EQ(a_.newest_node(standby.id).restarts(), 0u) << "it never failed to start";
}

TEST_F(HostTest, OneStandbyAtATimeIsRebuilt) {
  const TestNode node = make_node(a_);
  order_box(a_, node);
  order_primary(a_, node, 1, {node.id});  // by nobody's name: any host may copy it
  ASSERT_TRUE(a_.await_node(node.id, is_open));
  RoleSpec upstream;
  upstream.upstream = {"host-a", "a", node.address.address(), node.address.port()};
  const std::string tls = a_.node(node.id).tls;
  const std::string source = primary_conninfo(kCopyName, upstream, tls, tls + "/node.key");
  NodeUser user = find_node_user(a_.options().node_user);
  user.uid = user.gid = server_user(a_, node);
  const AsNodeUser rights(user);
  auto first = RebuildTurn::take(source);
  ASSERT_TRUE(first);
  EXPECT_FALSE(RebuildTurn::take(source));
  first.reset();
  std::optional<RebuildTurn> second;
  for (int i = 0; i < 100 && !second; ++i) second = RebuildTurn::take(source);
  EXPECT_TRUE(second);
}

v1::Task task_of(const TestNode& node, int64_t log_position) {
  v1::Task task;
  task.set_task_id("t");
  task.set_node_id(node.id);
  task.set_instance_id(node.instance_id);
  task.set_log_position(log_position);
  return task;
}

TEST_F(HostTest, ANodeThatNobodyKnowsIsStoppedAndKeptUntilItIsKnownAgain) {
  const TestNode node = open_primary();
  query(a_, node, "create table public.t as select 42 as x");
  v1::Task task = task_of(node, 0);
  task.mutable_quarantine_node();
  a_.agent().on_task(task.SerializeAsString());
  const auto is_kept = [](const auto& n) {
    return n.quarantined() && n.postgres() == v1::POSTGRES_STATE_STOPPED;
  };
  ASSERT_TRUE(a_.await_node(node.id, is_kept));
  a_.start_agent(a_.options());
  order_primary(a_, node, 2);  // of a sender that has not heard
  ASSERT_TRUE(a_.await_node(node.id, [&](const auto& n) {
    return is_kept(n) && n.role().generation() == 2;
  }));
  order_box(a_, node);
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) { return !n.quarantined() && is_open(n); }));
  EXPECT_EQ(value(a_, node, "select x from public.t"), "42");
}

TEST_F(HostTest, ALogThatIsBehindTheOneThatWasObeyedRemovesNothing) {
  const TestNode node = open_primary();
  v1::Task probe = task_of(node, 100);
  probe.mutable_probe_upstream()->set_probe_id(1);
  a_.agent().on_task(probe.SerializeAsString());
  ASSERT_TRUE(a_.await([](const auto& report) { return report.obeyed_position() == 100; }));
  ASSERT_TRUE(a_.await([&](const auto&) {
    return read_file(a_.paths().host_dir + "/obeyed_position") == "100";
  }));
  a_.start_agent(a_.options());
  ASSERT_TRUE(a_.await_node(node.id, is_open));
  v1::Task removal = task_of(node, 99);
  removal.mutable_remove_node();
  a_.agent().on_task(removal.SerializeAsString());
  order_primary(a_, node, 2);  // a task later
  ASSERT_TRUE(a_.await_node(node.id, [](const auto& n) { return n.role().generation() == 2; }));
  EXPECT_TRUE(is_open(a_.newest_node(node.id)));
  removal.set_log_position(100);
  a_.agent().on_task(removal.SerializeAsString());
  ASSERT_TRUE(a_.await([](const auto& report) { return report.nodes_size() == 0; }));
}

// A host that says nothing is taken for dead.
TEST_F(HostTest, AReportThatIsTooLargeIsSentWithFewerWords) {
  const TestNode node = make_node(a_);
  order_box(a_, node);
  v1::AssignRole role;
  role.set_generation(1);
  role.set_term(1);
  role.set_role(v1::ROLE_PRIMARY);
  role.set_sync_version(1);
  role.set_opened_before(true);  // the data is not there: this fails, with a text
  order_role(a_, node, role);
  ASSERT_TRUE(a_.await_node(
      node.id, [](const auto& n) { return !n.role().failure().message().empty(); }));
  const HostOptions options = a_.options();
  a_.stop_agent();
  std::mutex mutex;
  std::condition_variable changed;
  int refused = 0;
  v1::HostReport sent;
  HostAgent agent(options);
  agent.start([&](const v1::HostReport& report) {
    const std::lock_guard lock(mutex);
    if (report.nodes_size() > 0 && !report.nodes(0).role().failure().message().empty()) {
      ++refused;
      throw bus::MessageTooLarge("a message of a test is too large");
    }
    sent = report;
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  EXPECT_TRUE(changed.wait_for(lock, seconds(20), [&] {
    return refused > 1 && sent.nodes_size() == 1 &&
           !sent.nodes(0).role().failure().code().empty();
  }));
  lock.unlock();
  agent.stop();
}

}  // namespace
}  // namespace trunkline::agent::testing
