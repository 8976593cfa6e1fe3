// The agent as a program, over a real nats-server: tasks in, reports out, killed and started again.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agent/io/process.h"
#include "agent/keeper/proc_scan.h"
#include "agent/tests/test_host.h"
#include "bus/bus.h"
#include "bus/streams.h"
#include "testing/temp_servers.h"

namespace trunkline::agent::testing {
namespace {

using Clock = std::chrono::steady_clock;

class AgentProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    host_.stop_agent();
    config_ = platform_.home() + "/agent.json";
    const auto& options = host_.options();
    nlohmann::json config = {
        {"service", "agent"},
        {"home", options.home},
        {"nats", {{"url", nats_.url()}, {"user", "test"}, {"password", "test"}}},
        {"host", options.host},
        {"zone", "a"},
        {"address", options.address},
        {"socket_dir", options.socket_dir},
        {"node_user", options.node_user},
        {"direct_clients", true},
        {"keeper", options.keeper},
        {"stats_interval_ms", 200}};
    if (options.node_uids.count > 0) {
      config["node_uids"] = {{"first", options.node_uids.first},
                             {"count", options.node_uids.count}};
    }
    std::ofstream(config_) << config.dump();
    ::chmod(config_.c_str(), 0600);
    bus_ = bus::Bus::connect({nats_.url(), "test", "test", "test"}, seconds(10));
    reports_ = bus_->subscribe(bus::report_subject(options.host), [this](bus::Message&& message) {
      v1::HostReport report;
      if (!report.ParseFromString(message.data)) return;
      const std::lock_guard lock(mutex_);
      report_ = report;
      ++count_;
      changed_.notify_all();
    });
    statistics_ = bus_->subscribe(bus::stats_subject(options.host), [this](bus::Message&& message) {
      v1::HostStats stats;
      if (!stats.ParseFromString(message.data)) return;
      const std::lock_guard lock(mutex_);
      stats_ = stats;
      changed_.notify_all();
    });
    start();
  }
  void TearDown() override {
    statistics_.reset();
    reports_.reset();
    if (agent_.running()) agent_.kill(SIGTERM);
    run_program({TRUNKLINE_AGENT, "--config", config_, "--stop-nodes"}, NodeUser{}, false);
  }
  void start() {
    agent_.start({TRUNKLINE_AGENT, "--config", config_}, platform_.home() + "/agent.log", false);
  }
  bool await(const std::function<bool(const v1::HostReport&)>& fits) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(30), [&] { return fits(report_); });
  }
  // Statistics of the agent that has sent the newest report, with the server's.
  bool await_stats(v1::HostStats* out) {
    std::unique_lock lock(mutex_);
    const bool fine = changed_.wait_for(lock, seconds(30), [&] {
      return stats_.agent_id() == report_.agent_id() && stats_.nodes_size() == 1 &&
             stats_.nodes(0).has_server();
    });
    *out = stats_;
    return fine;
  }
  bool await_open(const TestNode& node) {
    return await([&](const v1::HostReport& report) {
      return std::any_of(report.nodes().begin(), report.nodes().end(),
                         [&](const auto& n) { return n.node_id() == node.id && is_open(n); });
    });
  }
  void send(const v1::Task& task) {
    bus_->publish(bus::task_subject(host_.options().host), task.SerializeAsString());
  }
  void order_open(const TestNode& node) {
    v1::Task task;
    task.set_node_id(node.id);
    task.set_instance_id(node.instance_id);
    auto& ensure = *task.mutable_ensure_node();
    ensure.set_generation(1);
    ensure.set_image("postgresql-15");
    ensure.mutable_size()->set_cpu(1);
    ensure.mutable_size()->set_ram_mb(512);
    ensure.mutable_size()->set_disk_gb(8);
    *ensure.mutable_address() = node.address;
    send(task);
    auto& role = *task.mutable_assign_role();
    role.set_generation(1);
    role.set_term(1);
    role.set_role(v1::ROLE_PRIMARY);
    send(task);
  }

  TestPlatform platform_;
  TestHost host_{platform_, "host-a", "127.31.77.15"};
  trunkline::testing::TempNats nats_;
  std::string config_;
  trunkline::testing::Child agent_;
  std::unique_ptr<bus::Bus> bus_;
  std::mutex mutex_;
  std::condition_variable changed_;
  v1::HostReport report_;
  v1::HostStats stats_;
  int count_ = 0;
  std::unique_ptr<bus::Subscription> reports_;
  std::unique_ptr<bus::Subscription> statistics_;
};

TEST_F(AgentProcessTest, TasksInReportsOutAndKillsAreSurvived) {
  ASSERT_TRUE(await([](const auto& report) { return report.images_size() > 0; }));
  EXPECT_EQ(report_.zone(), "a");
  EXPECT_GT(report_.cpu(), 0u);
  EXPECT_GT(report_.ram_mb(), 0u);
  EXPECT_GT(report_.disk_gb(), 0u);

  // Opening, ten times.
  std::vector<double> times;
  TestNode node;
  for (int i = 0; i < 10; ++i) {
    node = make_node(host_);
    const auto begin = Clock::now();
    order_open(node);
    ASSERT_TRUE(await_open(node));
    times.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    if (i == 9) break;
    v1::Task remove;
    remove.set_node_id(node.id);
    remove.mutable_remove_node();
    send(remove);
    ASSERT_TRUE(await([](const auto& report) { return report.nodes_size() == 0; }));
    // The stock of copies is filled up between orders, as it is between a user's.
    const std::string spares = host_.paths().templates_dir + "/postgresql-15";
    for (int n = 0; n < 200; ++n) {
      ChildProcess list({"/bin/ls", spares}, NodeUser{}, false);
      if (list.wait(seconds(5)) && list.output().find("spare-") != std::string::npos) break;
      ::usleep(20'000);
    }
  }
  std::sort(times.begin(), times.end());
  std::printf("tasks to open: median %.3f s, best %.3f s, worst %.3f s\n", times[5], times[0],
              times[9]);

  v1::HostStats first_stats;
  ASSERT_TRUE(await_stats(&first_stats));
  EXPECT_EQ(first_stats.host(), host_.options().host);
  EXPECT_GT(first_stats.memory_mb(), 0u);

  // kill -9 of the agent leaves the server alone; the next agent knows it.
  const pid_t postmaster = running_postmaster(host_.node(node.id).data);
  ASSERT_GT(postmaster, 0);
  const std::string first_agent = report_.agent_id();
  agent_.kill(SIGKILL);
  EXPECT_EQ(running_postmaster(host_.node(node.id).data), postmaster);
  start();
  ASSERT_TRUE(await([&](const auto& report) {
    return report.agent_id() != first_agent && report.nodes_size() == 1 &&
           is_open(report.nodes(0)) && report.nodes(0).role().state() == v1::TASK_STATE_SUCCEEDED;
  }));
  EXPECT_EQ(running_postmaster(host_.node(node.id).data), postmaster);

  v1::HostStats later_stats;
  ASSERT_TRUE(await_stats(&later_stats));
  EXPECT_EQ(later_stats.nodes(0).counters().epoch(), first_stats.nodes(0).counters().epoch());
  EXPECT_GE(later_stats.nodes(0).counters().wal_bytes(),
            first_stats.nodes(0).counters().wal_bytes());

  // The bus goes and comes: the server stays, reports come again.
  nats_.crash();
  EXPECT_EQ(value(host_, node, "select 1"), "1");
  nats_.restart(true);
  const int before = count_;
  ASSERT_TRUE(await([&](const auto&) { return count_ > before + 2; }));

  // Garbage harms nobody.
  bus_->publish(bus::task_subject("host-a"), "\xff\xff\xff garbage");
  v1::Task hostile;
  hostile.set_node_id("../../../etc");
  hostile.mutable_remove_node();
  send(hostile);
  const int again = count_;
  ASSERT_TRUE(await([&](const auto&) { return count_ > again + 2; }));
  EXPECT_EQ(running_postmaster(host_.node(node.id).data), postmaster);

  // A node that runs without any keeper and agent is stopped by --stop-nodes too.
  agent_.kill(SIGKILL);
  bool frozen = false;
  const auto keeper = keeper_status(host_.node(node.id).control, &frozen);
  ASSERT_TRUE(keeper);
  ::kill(keeper->keeper_pid, SIGKILL);
  run_program({TRUNKLINE_AGENT, "--config", config_, "--stop-nodes"}, NodeUser{}, false);
  EXPECT_TRUE(postgres_processes_in(host_.node(node.id).data).empty());
}

}  // namespace
}  // namespace trunkline::agent::testing
