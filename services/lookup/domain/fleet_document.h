// The whole platform at a glance, for administrators. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "lookup/domain/instance_metrics.h"
#include "lookup/domain/troubled_webhook.h"

namespace trunkline::lookup {

struct FleetHost {
  std::string name;
  std::string document;  // as REST shows the host, JSON
  bool available = false;
  bool measured = false;
  TimePoint measured_at;
  std::optional<double> cpu_cores;
  uint64_t memory_mb = 0;
  uint64_t memory_available_mb = 0;
  double load_1m = 0;
  uint64_t disk_gb = 0;
  uint64_t disk_free_gb = 0;
};
struct FleetInstance {
  ShownInstance shown;
  std::string project_id;
  std::string version;
  std::string failover_rule;  // of one that is under way or blocked
};
struct Fleet {
  std::vector<FleetHost> hosts;
  std::vector<TroubledWebhook> webhooks;
  std::vector<FleetInstance> instances;      // those that are shown one by one
  std::map<std::string, uint64_t> by_status;  // of all
  std::map<std::string, uint64_t> by_version;
};

struct FleetAlert {
  std::string subject;  // "host/host-a", "instance/<uuid>", "webhook/<uuid>"
  std::string rule;
  std::string text;
};
std::vector<FleetAlert> fleet_alerts(const Fleet& fleet);

std::string fleet_json(const Fleet& fleet, TimePoint now);

}  // namespace trunkline::lookup
