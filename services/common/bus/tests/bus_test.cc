// What the largest instances and hosts make of routes, tasks and reports, on a real server.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "bus/bus.h"
#include "bus/streams.h"
#include "bus/too_large.h"
#include "telemetry/metrics.h"
#include "testing/temp_servers.h"
#include "trunkline/v1/report.pb.h"
#include "trunkline/v1/route.pb.h"
#include "trunkline/v1/task.pb.h"

namespace trunkline::bus {
namespace {

using std::chrono::seconds;

constexpr size_t kMessage = 1024 * 1024;  // what the server takes
constexpr int kNodes = 16;
// The bounds of one instance (provisioner/domain/instance_rules.h), and of an agent's words.
constexpr int kUsers = 1000, kDatabases = 500, kDropped = 1000;
constexpr size_t kFailureBytes = 200, kFailuresWithText = 64;

std::string uuid(int kind, int number) {
  char text[64];
  std::snprintf(text, sizeof text, "%08d-0000-4000-8000-%012d", kind, number);
  return text;
}
std::string name(int number) {
  std::string text = std::to_string(number);
  return std::string(63 - text.size(), 'n') + text;
}
const std::string kVerifier = "SCRAM-SHA-256$4096:" + std::string(24, 's') + "$" +
                              std::string(44, 'k') + ":" + std::string(44, 'v');

v1::Route largest_route(int users, int databases) {
  v1::Route route;
  route.set_instance_id(uuid(0, 1));
  for (int i = 0; i < kNodes; ++i) {
    v1::RouteNode& node = *route.add_nodes();
    node.set_node_id(uuid(1, i));
    node.set_lag_bytes(INT64_MAX);
    node.mutable_address()->set_host(name(i));
    node.mutable_address()->set_zone(name(i));
    node.mutable_address()->set_address("255.255.255.255");
    node.mutable_address()->set_port(65535);
  }
  for (int i = 0; i < users; ++i) {
    route.add_users()->set_name(name(i));
    route.mutable_users(i)->set_scram_verifier(kVerifier);
  }
  for (int i = 0; i < databases; ++i) route.add_databases(name(i));
  return route;
}

v1::Task largest_task(int users, int databases) {
  v1::Task task;
  task.set_task_id(uuid(1, 0) + "/objects/1");
  v1::ApplyObjects& objects = *task.mutable_apply_objects();
  for (int i = 0; i < users; ++i) {
    v1::ManagedUser& user = *objects.add_users();
    user.set_user_id(uuid(2, i));
    user.set_name(name(i));
    user.set_scram_verifier(kVerifier);
  }
  for (int i = 0; i < databases; ++i) {
    v1::ManagedDatabase& database = *objects.add_databases();
    database.set_database_id(uuid(3, i));
    database.set_name(name(i));
    database.set_owner_id(uuid(2, i));
  }
  for (int i = 0; i < kDropped; ++i) {
    objects.add_dropped_user_ids(uuid(2, i));
    objects.add_dropped_database_ids(uuid(3, i));
  }
  return task;
}

v1::NodeReport largest_node(int number) {
  v1::NodeReport node;
  node.set_node_id(uuid(1, number));
  node.set_instance_id(uuid(0, number));
  for (int i = 0; i < kUsers + kDatabases; ++i) {
    v1::ObjectReport& object = *node.add_object_failures();
    object.set_object_id(uuid(2, i));
    object.mutable_failure()->set_code("sql_55006");
    if (static_cast<size_t>(i) < kFailuresWithText) {
      object.mutable_failure()->set_message(std::string(kFailureBytes, 'm'));
    }
  }
  for (int i = 0; i < kNodes - 1; ++i) {
    v1::StandbyReport& standby = *node.add_standbys();
    standby.set_node_id(uuid(1, i));
    standby.set_state("streaming");
    standby.set_sync_state("quorum");
    standby.set_flush_lsn(UINT64_MAX);
    standby.set_lag_bytes(UINT64_MAX);
    standby.set_reply_unix_us(INT64_MAX);
    node.add_slots(uuid(1, i));
  }
  for (int i = 0; i < kDatabases; ++i) {
    v1::DatabaseReport& database = *node.add_databases();
    database.set_database_id(uuid(3, i));
    database.set_name(name(i));
    database.set_bytes(UINT64_MAX);
  }
  return node;
}

v1::HostReport largest_report() {
  v1::HostReport report;
  report.set_host("host-a");
  for (int i = 0; i < kNodes; ++i) *report.add_nodes() = largest_node(i);
  return report;
}

class BusTest : public ::testing::Test {
 protected:
  std::unique_ptr<Bus> connect() {
    return Bus::connect({nats.url(), "test", "test", "bus_test"}, seconds(10));
  }
  // What comes out of `subject` after `publish`; empty if nothing does.
  std::string carried(const std::string& subject, const std::string& bytes) {
    std::mutex mutex;
    std::condition_variable came;
    std::string got;
    const auto from = connect(), to = connect();
    const auto subscription = to->subscribe(subject, [&](Message&& message) {
      const std::lock_guard lock(mutex);
      got = std::move(message.data);
      came.notify_all();
    });
    to->request("nobody", "", std::chrono::milliseconds(200));  // the server knows of it
    from->publish(subject, bytes);
    std::unique_lock lock(mutex);
    came.wait_for(lock, seconds(10), [&] { return !got.empty(); });
    return got;
  }

  testing::TempNats nats;
};

TEST_F(BusTest, AnInstanceAtItsBoundsFitsOneMessage) {
  const std::string route = largest_route(kUsers, kDatabases).SerializeAsString();
  const std::string task = largest_task(kUsers, kDatabases).SerializeAsString();
  const std::string node = largest_node(0).SerializeAsString();
  RecordProperty("route_bytes", static_cast<int>(route.size()));
  RecordProperty("task_bytes", static_cast<int>(task.size()));
  RecordProperty("node_report_bytes", static_cast<int>(node.size()));
  EXPECT_LT(route.size(), kMessage / 2);
  EXPECT_LT(task.size(), kMessage / 2);
  EXPECT_LT(node.size(), kMessage / 4);
  EXPECT_EQ(carried("tl.route.x", route), route);
}

TEST_F(BusTest, AHostWhoseNodesAreAllAtTheirBoundsIsHeard) {
  const std::string report = largest_report().SerializeAsString();
  RecordProperty("host_report_bytes", static_cast<int>(report.size()));
  EXPECT_GT(report.size(), kMessage);
  EXPECT_EQ(carried("tl.report.host-a", report), report);
}

// As an instance may be that was made before there were bounds.
TEST_F(BusTest, AnInstanceBeyondItsBoundsStillWorks) {
  const std::string route = largest_route(12'000, 12'000).SerializeAsString();
  EXPECT_GT(route.size(), 2 * kMessage);
  EXPECT_EQ(carried("tl.route.x", route), route);
  const std::string task = largest_task(12'000, 12'000).SerializeAsString();
  EXPECT_EQ(carried("tl.task.host-a", task), task);
}

TEST_F(BusTest, AnAnswerInPiecesIsOneAnswer) {
  const std::string much(3 * kMessage, 'a');
  const auto asks = connect(), answers = connect();
  const auto subscription = answers->subscribe("tl.query.x", [&](Message&& message) {
    answers->publish(message.reply, much, {{"traceparent", "t"}});
  });
  answers->request("nobody", "", std::chrono::milliseconds(200));
  const auto got = asks->request("tl.query.x", "?", seconds(10));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->data, much);
  EXPECT_EQ(got->headers, (Headers{{"traceparent", "t"}}));
}

TEST_F(BusTest, WhatIsTooLargeIsSeen) {
  const auto bus = connect();
  // At zero: where a series begins at one, nothing increases.
  EXPECT_NE(telemetry::metrics_text().find("trunkline_bus_too_large_total 0"), std::string::npos);
  EXPECT_THROW(bus->publish("tl.report.x", std::string(40 * kMessage, 'a')), MessageTooLarge);
  EXPECT_THROW(bus->publish_stored("tl.evt.x", std::string(kMessage, 'a'), {}, seconds(1)),
               MessageTooLarge);
  const std::string text = telemetry::metrics_text();
  EXPECT_NE(text.find("trunkline_bus_too_large_total 2"), std::string::npos) << text;
}

}  // namespace
}  // namespace trunkline::bus
