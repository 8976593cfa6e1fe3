// What agents see right now, beside the documents: lag, sizes, connections, free disk. Not part of
// the log and never stored; every value goes out with the time at which its report came
// (`reported_at`). A host speaks for its own nodes only. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "lookup/io/read_model.h"
#include "trunkline/v1/report.pb.h"
#include "trunkline/v1/traffic.pb.h"

namespace trunkline::lookup {

class LiveStore {
 public:
  // `subject_host`: from the report's subject, which the bus lets only that host publish on. A
  // report that names another host, or is older than the last one, is ignored.
  void take(const std::string& subject_host, const v1::HostReport& report, TimePoint now);

  // `proxy`: from the report's subject, as above. Which sessions a switchover would end.
  void take_traffic(const std::string& proxy, const v1::TrafficReport& report, TimePoint now);

  // The documents with what is known now.
  std::string with_instance(std::string_view json) const;
  std::string with_database(std::string_view json, const std::string& instance_id,
                            const std::string& database_id) const;
  std::string with_host(std::string_view json, const std::string& host_id,
                        const HostUsage& usage) const;

 private:
  struct NodeLive {
    v1::PostgresState postgres = v1::POSTGRES_STATE_UNSPECIFIED;
    uint64_t data_bytes = 0;
    uint32_t connections = 0;
    uint64_t restarts = 0;
    TimePoint reported_at;
  };
  struct StandbyLive {  // as the primary's host sees it
    std::string sync_state;
    uint64_t lag_bytes = 0;
    TimePoint reported_at;
  };
  struct DatabaseLive {
    std::string host;
    uint64_t bytes = 0;
    TimePoint reported_at;
  };
  struct HostLive {
    std::string agent_id;
    uint64_t sequence = 0;
    uint64_t disk_free_gb = 0;
    bool cgroup_limits = false;
    std::string cgroup_note;
    bool nodes_apart = false;
    std::string nodes_apart_note;
    TimePoint reported_at;
    // Keys that this host's last report put into the maps below.
    std::vector<std::string> nodes;
    std::vector<std::string> standbys;
    std::vector<std::string> databases;
    std::string orphans;  // elements of a JSON array
  };
  struct Pinned {
    uint32_t sessions = 0;
    std::map<std::string, uint32_t> why;
  };
  struct ProxyLive {
    std::string epoch;
    uint64_t sequence = 0;
    std::map<std::string, Pinned> pinned;  // by instance/endpoint
    TimePoint reported_at;
  };
  void forget(const HostLive& host, const std::string& name);
  std::string pinned_members(std::string_view json) const;
  void append_node(std::string& out, std::string_view node_id, std::string_view host,
                   bool is_primary, std::string_view primary_host) const;

  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, HostLive> hosts_;          // by uuid
  std::unordered_map<std::string, NodeLive> nodes_;          // by reporting host/node id
  std::unordered_map<std::string, StandbyLive> standbys_;    // by reporting host/node id
  std::unordered_map<std::string, DatabaseLive> databases_;  // by instance/database
  std::map<std::string, ProxyLive> proxies_;
};

}  // namespace trunkline::lookup
