// Counts what the host's nodes use and how their servers fare, every now and then. Has a thread
// and connections of its own: it is never in the way of reports and leases. A server has a budget
// of time; one that needs more is asked after all others, in what is left of the round, and ever
// more seldom, so that it delays nobody.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "agent/io/agent_context.h"
#include "agent/io/counter_store.h"
#include "agent/io/pg_connection.h"
#include "telemetry/metrics.h"
#include "trunkline/v1/report.pb.h"
#include "trunkline/v1/stats.pb.h"

namespace trunkline::agent {

class StatsCollector {
 public:
  using Nodes = std::function<std::vector<v1::NodeReport>()>;
  using Send = std::function<void(const v1::HostStats&)>;

  // `nodes` and `send` are called by the collector's thread; `send` may throw. What a message says
  // is on disk before. `context` outlives it.
  StatsCollector(const AgentContext& context, std::string agent_id, Nodes nodes, Send send,
                 std::chrono::milliseconds interval);
  ~StatsCollector();

 private:
  using Clock = std::chrono::steady_clock;
  struct Server {
    std::optional<PgConnection> connection;
    bool statements = false;
    Clock::time_point statements_checked{};
    Clock::time_point not_before{};
    bool is_slow = false;  // its server needed long when it was asked last, or did not answer
    std::chrono::seconds pause{0};
  };
  struct Node {
    CounterState counters;
    Server server;
  };
  void run();
  void collect(bool all);
  void visit(const v1::NodeReport& report, Node& node, bool may_ask, v1::NodeStats* out);
  bool ask_server(const v1::NodeReport& report, Node& node, CounterReading* reading,
                  v1::ServerStats* out);
  static void note_time(Server& server, Clock::duration took, bool answered);
  void find_extension(PgConnection& connection, bool primary, Server& server);
  void send(const std::vector<v1::NodeStats>& nodes);

  const AgentContext& context_;
  const std::string agent_id_;
  const Nodes nodes_;
  const Send send_;
  const std::chrono::milliseconds interval_;
  CounterStore store_;
  telemetry::HistogramFamily took_{"trunkline_agent_stats_duration_seconds",
                                   "Time of a round of statistics over all nodes."};
  telemetry::CounterFamily sent_{"trunkline_agent_stats_total", "Rounds of statistics sent."};
  telemetry::CounterFamily lost_{"trunkline_agent_stats_lost_total",
                                 "Rounds of statistics that could not be sent."};
  telemetry::CounterFamily lost_parts_{"trunkline_agent_stats_parts_lost_total",
                                       "Parts of a server's statistics that it refused.",
                                       {"part"}};
  std::map<std::string, Node> known_;
  uint64_t sequence_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

// In parts that are each well below what the bus takes.
std::vector<v1::HostStats> in_parts(const v1::HostStats& head,
                                    const std::vector<v1::NodeStats>& nodes);

}  // namespace trunkline::agent
