// A host of its own for a test: directories below /tmp, certificates, an agent within the process,
// and its newest report to wait on. As root, each node
// has a user of its own, and what they share is `nobody`'s.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent/io/host_agent.h"
#include "trunkline/v1/lease.pb.h"

namespace trunkline::agent::testing {

using std::chrono::milliseconds;
using std::chrono::seconds;

// The home of a platform with a CA; shared by the hosts of one test. Removed at the end unless
// AGENT_TEST_KEEP is set.
class TestPlatform {
 public:
  TestPlatform();
  ~TestPlatform();
  const std::string& home() const { return home_; }
  const std::string& sockets() const { return sockets_; }
  void make_issuer(const std::string& host, const std::string& address) const;

 private:
  std::string home_;
  std::string sockets_;
};

// A range for one host; empty if this is not root, who alone can use one.
UidRange free_uids();

class TestHost {
 public:
  // With `node_uids` each node has a user of its own.
  TestHost(const TestPlatform& platform, const std::string& host, const std::string& address,
           UidRange node_uids = free_uids());
  ~TestHost();  // stops all nodes

  void start_agent();                    // returns when the template is ready
  void start_agent(const HostOptions& options);  // instead of the one that runs
  void stop_agent() { agent_.reset(); }  // nodes go on
  HostAgent& agent() { return *agent_; }
  const HostOptions& options() const { return options_; }
  HostOptions& change_options() { return options_; }  // for the next start_agent()
  AgentPaths paths() const {
    return agent_paths(options_.home, options_.host, options_.socket_dir);
  }
  NodePaths node(const std::string& id) const { return node_paths(paths(), id); }

  // Wait until a report fits; false (and the last report on standard error) if none does in time.
  bool await(const std::function<bool(const v1::HostReport&)>& fits,
             milliseconds longest = seconds(20));
  bool await_node(const std::string& id, const std::function<bool(const v1::NodeReport&)>& fits,
                  milliseconds longest = seconds(20));
  // Answers reports with a lease of the node as primary of `term`; 0: no more.
  void grant(const std::string& node_id, uint64_t term, uint32_t duration_ms = 2000);
  v1::HostReport newest();
  v1::NodeReport newest_node(const std::string& id);

 private:
  HostOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  v1::HostReport report_;
  std::map<std::string, v1::NodeLease> leases_;
  std::unique_ptr<HostAgent> agent_;
};

// A node as the control plane would order it.
struct TestNode {
  std::string id;
  std::string instance_id;
  v1::NodeAddress address;
};
TestNode make_node(const TestHost& host);
void order_box(TestHost& host, const TestNode& node, uint64_t generation = 1,
               uint32_t ram_mb = 512);
void order_primary(TestHost& host, const TestNode& node, uint64_t generation = 1,
                   const std::vector<std::string>& standbys = {},
                   const std::vector<std::string>& sync = {}, uint64_t sync_version = 1,
                   bool opened_before = false);
void order_standby(TestHost& host, const TestNode& node, const TestNode& upstream,
                   uint64_t generation = 1);
void order_role(TestHost& host, const TestNode& node, const v1::AssignRole& role);
void order_fenced(TestHost& host, const TestNode& node, uint64_t generation, uint64_t term,
                  uint32_t patience_ms = 0);
void order_remove(TestHost& host, const TestNode& node);
void order_objects(TestHost& host, const TestNode& node, const v1::ApplyObjects& objects);

bool is_open(const v1::NodeReport& node);
bool is_streaming(const v1::NodeReport& node);

// That the node's server runs as.
uid_t server_user(const TestHost& host, const TestNode& node);
// As superuser over the node's socket; both throw on failure.
PgConnection superuser_session(const TestHost& host, const TestNode& node,
                               const std::string& database = "postgres");
PgRows query(const TestHost& host, const TestNode& node, const std::string& sql,
             const std::string& database = "postgres");
std::string value(const TestHost& host, const TestNode& node, const std::string& sql,
                  const std::string& database = "postgres");
// Waits until `sql` gives `wanted`.
bool await_value(const TestHost& host, const TestNode& node, const std::string& sql,
                 const std::string& wanted, const std::string& database = "postgres",
                 milliseconds longest = seconds(15));
// As a client over TCP, runs `sql` if it is not empty: "" or the error.
std::string as_client(const TestNode& node, const std::string& user, const std::string& password,
                      const std::string& database, const std::string& sql = "",
                      const std::string& extra = "");

}  // namespace trunkline::agent::testing
