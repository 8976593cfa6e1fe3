// All nodes of this host, the tasks that come for them, and the reports that go out. Nodes go on
// whether or not there is a bus. Thread-safe.
#pragma once

#include <array>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/io/agent_context.h"
#include "agent/io/disk_watch.h"
#include "agent/io/node_actor.h"
#include "agent/io/stats_collector.h"
#include "telemetry/metrics.h"
#include "trunkline/v1/report.pb.h"

namespace trunkline::agent {

struct HostOptions {
  std::string host;
  std::string zone;
  std::string address;
  uint32_t cpu = 0;  // 0: what the machine has
  uint64_t ram_mb = 0;
  uint64_t disk_gb = 0;
  std::string home;
  std::string socket_dir;
  std::string node_user;  // "": the user that runs the agent
  UidRange node_uids;     // a user for each node; none: all are node_user
  std::string client_group;    // whose processes reach nodes by their sockets: the proxy's
  std::string library;    // default: beside the keeper
  std::optional<std::vector<std::string>> client_addresses;  // see AgentContext
  bool direct_clients = false;  // nodes' ports take clients that no proxy brings
  std::string keeper;
  std::map<std::string, std::string> images;  // name -> directory of programs
  int spares = 4;
  uint64_t disk_unit_mb = 1024;     // what is given for a GB that is ordered; less only in tests
  uint64_t disk_reserve_mb = 0;     // of the disk, for the platform; 0: see default_reserve()
};

// "postgresql-<major>" for every /usr/lib/postgresql/<major>/bin that is complete.
std::map<std::string, std::string> discover_images(const std::string& root = "/usr/lib/postgresql");

class HostAgent {
 public:
  using SendReport = std::function<void(const v1::HostReport&)>;

  // Throws std::exception if the host is not fit to run nodes.
  explicit HostAgent(HostOptions options);
  ~HostAgent();

  // Takes up the nodes that were assigned before, and sends reports: every 0.4 s, and within
  // milliseconds of a change. `send` may throw; the next report is sent anyway. After a
  // bus::MessageTooLarge it is called again with less.
  void start(SendReport send);
  // Counts and sends statistics every `interval`, from a thread of its own. After start().
  void start_stats(StatsCollector::Send send, std::chrono::milliseconds interval);
  // No more reports after this; nodes' threads end, the nodes go on. Also done by the destructor.
  void stop();
  // A task's bytes, as they came. Never blocks; what is malformed is logged and dropped.
  void on_task(const std::string& bytes);
  // A LeaseGrant's bytes, as they came. Never blocks.
  void on_lease(const std::string& bytes);
  // A NodeLogRequest's bytes, as they came; the bytes of its answer.
  std::string on_log_request(const std::string& bytes);
  v1::HostReport report();

 private:
  void run_reports();
  void send_report();
  void reap_finished();
  void sweep();
  NodeActor* node_for(const std::string& node_id, const Assignment& assignment);
  void notify();
  bool obeys(const v1::Task& task);  // with mutex_ held
  void keep_obeyed_position();
  std::string obeyed_path() const { return context_.paths.host_dir + "/obeyed_position"; }
  std::vector<v1::NodeReport> node_reports();

  HostOptions options_;
  std::unique_ptr<NodeUsers> users_;
  std::unique_ptr<ManifestStore> manifests_;
  std::unique_ptr<TemplateStore> templates_;
  std::unique_ptr<CgroupLimits> cgroups_;
  std::unique_ptr<DiskWatch> disks_;
  AgentContext context_;
  std::string agent_id_;
  std::string apart_note_;
  uint64_t sequence_ = 0;
  // When the newest reports were about to be sent, by sequence (CLOCK_BOOTTIME): their leases run
  // from then. Under mutex_.
  std::array<std::pair<uint64_t, int64_t>, 128> sent_at_{};
  SendReport send_;

  std::mutex mutex_;  // nodes_, early_, stopped_
  bool stopped_ = false;
  int64_t obeyed_position_ = 0;  // highest of a log that a task was of; under mutex_
  std::chrono::steady_clock::time_point refused_at_{};
  int64_t obeyed_kept_ = 0;      // in the file; of the reports' thread, as the next
  std::chrono::steady_clock::time_point obeyed_kept_at_{};
  std::map<std::string, std::unique_ptr<NodeActor>> nodes_;
  // Roles and objects that came before their node's EnsureNode: two services send them.
  std::map<std::string, std::vector<Assignment>> early_;

  std::mutex wake_mutex_;  // changed_, stopping_
  std::condition_variable wake_;
  bool changed_ = false;
  bool stopping_ = false;
  std::thread reporter_;
  std::unique_ptr<StatsCollector> stats_;

  void show_metrics();
  telemetry::GaugeFamily shown_nodes_{"trunkline_agent_nodes", "Nodes of the host.", {"state"}};
  telemetry::GaugeFamily shown_failed_{"trunkline_agent_nodes_failing",
                                       "Nodes with a task that fails and is tried again."};
  telemetry::GaugeFamily shown_guarded_{"trunkline_agent_primaries_guarded",
                                        "Primaries that run under a lease."};
  telemetry::GaugeFamily shown_lease_{
      "trunkline_agent_lease_remaining_seconds",
      "Of the lease that ends first; -1: no primary needs one."};
  telemetry::GaugeFamily shown_disk_{"trunkline_agent_disk_free_bytes",
                                     "Free space where nodes are."};
  telemetry::GaugeFamily shown_disk_size_{"trunkline_agent_disk_bytes",
                                          "Size of the disk that the host's nodes are on."};
  telemetry::GaugeFamily shown_files_free_{"trunkline_agent_disk_files_free",
                                           "Files that can still be made where nodes are."};
  telemetry::GaugeFamily shown_files_{"trunkline_agent_disk_files",
                                      "Files that this disk can hold; 0: it does not count them."};
  telemetry::GaugeFamily shown_full_{"trunkline_agent_nodes_disk_full",
                                     "Nodes that are read-only because their disk is full."};
  telemetry::GaugeFamily shown_restarts_{"trunkline_agent_postmaster_restarts",
                                         "Restarts after a crash, of the nodes that are there."};
  telemetry::CounterFamily reports_sent_{"trunkline_agent_reports_total", "Reports sent."};
  telemetry::CounterFamily reports_lost_{"trunkline_agent_reports_lost_total",
                                         "Reports that could not be sent."};
  telemetry::CounterFamily reports_cut_{
      "trunkline_agent_reports_cut_total",
      "Reports too large for the bus, sent without notes and failures' texts."};
  bool report_lost_ = false;  // the last one; of the reporting thread, as the next
  bool report_cut_ = false;
  std::unique_ptr<telemetry::ScrapeHook> hook_;
};

// Stops every node of the host, whether or not an agent runs, and returns when all are down.
// `patience` is for the fast shutdown; then they are made to.
void stop_all_nodes(const HostOptions& options, std::chrono::milliseconds patience);

}  // namespace trunkline::agent
