#include "agent/io/stats_collector.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "agent/domain/report_text.h"
#include "agent/io/process_usage.h"
#include "agent/io/server_stats.h"
#include "agent/keeper/proc_scan.h"
#include "base/clock.h"
#include "runtime/random.h"

namespace trunkline::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kLookForNew{1000};
constexpr milliseconds kConnectDeadline{1000};
constexpr seconds kAfterError{5};
// Of a server, for all that it is asked in a round; and what is long.
constexpr milliseconds kBudget{1500};
constexpr milliseconds kSlow{500};
constexpr seconds kLongestPause{60};
constexpr seconds kLookForExtension{60};
constexpr size_t kMostBytes = 400 * 1024;

}  // namespace

StatsCollector::StatsCollector(const AgentContext& context, std::string agent_id, Nodes nodes,
                               Send send, milliseconds interval)
    : context_(context),
      agent_id_(std::move(agent_id)),
      nodes_(std::move(nodes)),
      send_(std::move(send)),
      interval_(interval),
      store_(context.paths.counters_dir) {
  thread_ = std::thread([this] { run(); });
}

StatsCollector::~StatsCollector() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

// In between, nodes that have not been counted yet are looked for: a new one counts from its start.
void StatsCollector::run() {
  const milliseconds step = std::min(interval_, kLookForNew);
  auto due = Clock::now();
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    const auto begun = Clock::now();
    const bool all = begun >= due;
    if (all) due = std::max(due + interval_, begun);
    try {
      collect(all);
      if (all) took_.observe(std::chrono::duration<double>(Clock::now() - begun).count());
    } catch (const std::exception& e) {
      spdlog::warn("statistics: {}", e.what());
    }
    lock.lock();
    wake_.wait_for(lock, step, [this] { return stopping_; });
  }
}

void StatsCollector::collect(bool all) {
  auto reports = nodes_();
  const auto is_slow = [&](const v1::NodeReport& report) {
    const auto node = known_.find(report.node_id());
    return node != known_.end() && node->second.server.is_slow;
  };
  std::stable_partition(reports.begin(), reports.end(),
                        [&](const v1::NodeReport& report) { return !is_slow(report); });
  const auto slow_until = Clock::now() + interval_ / 2;
  std::vector<v1::NodeStats> out;
  std::set<std::string> there;
  for (const auto& report : reports) {
    there.insert(report.node_id());
    auto found = known_.find(report.node_id());
    if (found == known_.end()) {
      found = known_.emplace(report.node_id(), Node{}).first;
      found->second.counters = store_.read(report.node_id());
    } else if (!all && found->second.counters.server_seen) {
      continue;
    }
    v1::NodeStats stats;
    visit(report, found->second, !is_slow(report) || Clock::now() < slow_until, &stats);
    out.push_back(std::move(stats));
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
  }
  std::erase_if(known_, [&](const auto& node) {
    if (there.contains(node.first)) return false;
    store_.forget(node.first);
    return true;
  });
  if (all) send(out);
}

void StatsCollector::visit(const v1::NodeReport& report, Node& node, bool may_ask,
                           v1::NodeStats* out) {
  const std::string data = node_paths(context_.paths, report.node_id()).data;
  const ProcessUsage usage = process_usage(running_postmaster(data),
                                           context_.cgroups->usage_directory(report.node_id()));
  CounterReading reading;
  reading.cpu_ms = usage.cpu_ms;
  reading.read_bytes = usage.read_bytes;
  reading.write_bytes = usage.write_bytes;
  v1::ServerStats server;
  const bool answered = may_ask && ask_server(report, node, &reading, &server);
  CounterState next = advance(node.counters, reading);
  if (next != node.counters) {
    store_.write(report.node_id(), next);
    node.counters = std::move(next);
  }
  out->set_node_id(report.node_id());
  out->set_instance_id(report.instance_id());
  v1::NodeCounters* counters = out->mutable_counters();
  counters->set_epoch(node.counters.epoch);
  counters->set_transactions(node.counters.transactions);
  counters->set_wal_bytes(node.counters.wal_bytes);
  counters->set_read_bytes(node.counters.read_bytes);
  counters->set_write_bytes(node.counters.write_bytes);
  counters->set_cpu_ms(node.counters.cpu_ms);
  counters->set_used_mb((report.data_bytes() + (1 << 20) - 1) >> 20);
  if (answered) {
    server.set_rss_mb(usage.rss_mb);
    *out->mutable_server() = std::move(server);
  }
  bound_texts(out);
}

bool StatsCollector::ask_server(const v1::NodeReport& report, Node& node, CounterReading* reading,
                                v1::ServerStats* out) {
  Server& server = node.server;
  const bool answers = report.postgres() == v1::POSTGRES_STATE_OPEN ||
                       report.postgres() == v1::POSTGRES_STATE_RECOVERING;
  if (!answers || Clock::now() < server.not_before) {
    if (!answers) server.connection.reset();
    return false;
  }
  const auto begun = Clock::now();
  try {
    const NodePaths paths = node_paths(context_.paths, report.node_id());
    if (!server.connection) {
      server.connection.emplace(paths.socket_dir, context_.users->owner_of(paths.dir).uid,
                                report.address().port(),
                                "postgres", kConnectDeadline);
      prepare_stats_session(*server.connection);
      server.statements_checked = {};
    }
    server.connection->set_budget(begun + kBudget);
    ServerReading now = read_server(*server.connection);
    if (needs_history(node.counters, now.primary, now.timeline)) {
      const AsNodeUser rights(context_.users->owner_of(paths.dir));
      const auto text = read_file(paths.data + "/pg_wal/" + history_file_name(now.timeline));
      if (text) now.history = parse_history(*text, now.timeline);
    }
    const bool primary = now.primary;
    reading->server = std::move(now);
    find_extension(*server.connection, primary, server);
    for (const LostPart& lost : read_server_stats(*server.connection, server.statements, out)) {
      lost_parts_.add({lost.part});
      spdlog::debug("node {}: statistics: {}: {}", report.node_id(), lost.part, lost.why);
    }
    note_time(server, Clock::now() - begun, true);
  } catch (const PgError& e) {
    spdlog::debug("node {}: statistics: {}", report.node_id(), e.what());
    server.connection.reset();
    note_time(server, Clock::now() - begun, false);
  }
  return out->connections_max() > 0;  // its activity was read
}

// One that is late and answers is asked last; one that does not answer in its time has a pause.
void StatsCollector::note_time(Server& server, Clock::duration took, bool answered) {
  server.is_slow = !answered || took > kSlow;
  if (answered) {
    server.pause = seconds(0);
    return;
  }
  server.pause = took > kSlow ? std::clamp(server.pause * 2, kAfterError, kLongestPause)
                              : kAfterError;
  server.not_before = Clock::now() + server.pause;
}

void StatsCollector::find_extension(PgConnection& connection, bool primary, Server& server) {
  if (Clock::now() - server.statements_checked < kLookForExtension) return;
  try {
    const auto found = find_statements(connection);
    server.statements = found.loaded && found.there;
    if (found.loaded && !found.there && primary) {
      create_statements(connection);
      server.statements = true;
    }
    // A standby gets it from its primary.
    if (server.statements || !found.loaded) server.statements_checked = Clock::now();
  } catch (const PgError& e) {
    if (e.sqlstate().empty()) throw;
    lost_parts_.add({"extension"});
    server.statements = false;
    server.statements_checked = Clock::now();
  }
}

void StatsCollector::send(const std::vector<v1::NodeStats>& nodes) {
  const MachineUsage machine = machine_usage();
  v1::HostStats head;
  head.set_host(context_.host);
  head.set_agent_id(agent_id_);
  head.set_sequence(++sequence_);
  head.set_sent_unix_us(to_unix_us(runtime::now()));
  head.set_cpu_busy_ms(machine.cpu_busy_ms);
  head.set_memory_mb(machine.memory_mb);
  head.set_memory_available_mb(machine.memory_available_mb);
  head.set_load_1m(machine.load_1m);
  bound_texts(&head);  // nodes' are
  try {
    for (const auto& part : in_parts(head, nodes)) send_(part);
    sent_.add();
  } catch (const std::exception& e) {
    lost_.add();
    spdlog::debug("statistics not sent: {}", e.what());
  }
}

std::vector<v1::HostStats> in_parts(const v1::HostStats& head,
                                    const std::vector<v1::NodeStats>& nodes) {
  std::vector<v1::HostStats> parts(1, head);
  size_t bytes = 0;
  for (const auto& node : nodes) {
    const size_t size = node.ByteSizeLong();
    if (bytes > 0 && bytes + size > kMostBytes) {
      parts.push_back(head);
      bytes = 0;
    }
    bytes += size;
    *parts.back().add_nodes() = node;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].set_part(static_cast<uint32_t>(i));
    parts[i].set_parts(static_cast<uint32_t>(parts.size()));
  }
  return parts;
}

}  // namespace trunkline::agent
