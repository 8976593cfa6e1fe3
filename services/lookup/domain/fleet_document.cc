#include "lookup/domain/fleet_document.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "lookup/domain/json_writer.h"

namespace trunkline::lookup {
namespace {

std::string percent(double share) { return std::to_string(std::lround(share * 100)) + " %"; }

double disk_share(const ShownInstance& instance, const ShownNode& node) {
  if (instance.disk_gb == 0) return 0;
  return static_cast<double>(node.stats.counters().used_mb()) / 1024 /
         static_cast<double>(instance.disk_gb);
}

using Add = std::function<void(bool, const char*, std::string)>;

void host_alerts(const FleetHost& host, const Add& add) {
  add(!host.available, "host_silent", "its agent has not reported for ten seconds");
  if (!host.available) return;
  const double free = host.disk_gb == 0 ? 1
                                        : static_cast<double>(host.disk_free_gb) /
                                              static_cast<double>(host.disk_gb);
  add(free < 0.1, "host_disk_near_full", "only " + percent(free) + " of its disk is free");
  const double memory = host.memory_mb == 0 ? 1
                                            : static_cast<double>(host.memory_available_mb) /
                                                  static_cast<double>(host.memory_mb);
  add(memory < 0.05, "host_memory_short",
      "only " + percent(memory) + " of its memory is available");
}

void instance_alerts(const FleetInstance& instance, const Add& add) {
  add(instance.shown.status == "ERROR", "instance_error", "its order has failed");
  add(!instance.failover_rule.empty(), "failover_under_way", instance.failover_rule);
  for (const ShownNode& node : instance.shown.nodes) {
    const std::string where = "the node on " + node.host;
    if (!node.known) continue;
    add(!node.stats.has_server() && instance.shown.status == "ACTIVE", "node_does_not_answer",
        where + " does not answer");
    const double disk = disk_share(instance.shown, node);
    add(disk > 0.85, "disk_near_full", where + " uses " + percent(disk) + " of its disk size");
    add(node.stats.server().replication_lag_bytes() > (uint64_t{64} << 20), "standby_behind",
        where + " has more than 64 MB to replay");
    add(node.stats.server().xid_age() > 1'500'000'000, "transaction_ids_old",
        where + " must freeze old transaction ids");
  }
}

void write_host(JsonWriter& out, const FleetHost& host) {
  out.begin_object();
  out.text("name", host.name);
  out.raw("host", host.document);
  out.boolean("measured", host.measured);
  if (host.measured) {
    out.text("measured_at", format_rfc3339(host.measured_at));
    out.raw("cpu_cores_busy", number_text(host.cpu_cores));
    out.number("memory_mb", host.memory_mb);
    out.number("memory_available_mb", host.memory_available_mb);
    out.raw("load_1m", number_text(host.load_1m));
  }
  out.end_object();
}

void write_instance(JsonWriter& out, const FleetInstance& instance) {
  out.begin_object();
  out.text("uuid", instance.shown.id);
  out.text("name", instance.shown.name);
  out.text("project", instance.project_id);
  out.text("status", instance.shown.status);
  out.text("version", instance.version);
  out.begin_array("nodes");
  for (const ShownNode& node : instance.shown.nodes) {
    out.begin_object();
    out.text("uuid", node.id);
    out.text("host", node.host);
    out.text("role", node.role);
    out.boolean("answers", node.known && node.stats.has_server());
    if (node.known) {
      const auto metrics = node_metrics();
      for (size_t i = 0; i < metrics.size(); ++i) {
        const std::string_view name = metrics[i].name;
        if (name == "connections" || name == "transactions_per_second" || name == "cpu_cores" ||
            name == "memory_bytes" || name == "disk_used_bytes" ||
            name == "replication_lag_bytes") {
          out.raw(name, number_text(node.values[i]));
        }
      }
    }
    out.end_object();
  }
  out.end_array();
  out.end_object();
}

void write_counts(JsonWriter& out, std::string_view key,
                  const std::map<std::string, uint64_t>& counts) {
  out.begin_object(key);
  for (const auto& [name, count] : counts) out.number(name, count);
  out.end_object();
}

}  // namespace

std::vector<FleetAlert> fleet_alerts(const Fleet& fleet) {
  std::vector<FleetAlert> out;
  std::string subject;
  const Add add = [&](bool applies, const char* rule, std::string text) {
    if (applies) out.push_back({subject, rule, std::move(text)});
  };
  for (const FleetHost& host : fleet.hosts) {
    subject = "host/" + host.name;
    host_alerts(host, add);
  }
  for (const FleetInstance& instance : fleet.instances) {
    subject = "instance/" + instance.shown.id;
    instance_alerts(instance, add);
  }
  for (const TroubledWebhook& webhook : fleet.webhooks) {
    subject = "webhook/" + webhook.id;
    add(webhook.rule == "dead_letters", "webhook_dead_letters",
        "its receiver would not take usage records: " + webhook.why);
    add(webhook.rule == "receiver_away", "webhook_receiver_away",
        "its receiver has taken no usage record for a quarter of an hour: " + webhook.why);
  }
  return out;
}

std::string fleet_json(const Fleet& fleet, TimePoint now) {
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  out.text("made_at", format_rfc3339(now));
  out.begin_array("hosts");
  for (const FleetHost& host : fleet.hosts) write_host(out, host);
  out.end_array();
  uint64_t total = 0;
  for (const auto& [status, count] : fleet.by_status) total += count;
  out.begin_object("instances");
  out.number("total", total);
  write_counts(out, "by_status", fleet.by_status);
  write_counts(out, "by_version", fleet.by_version);
  out.number("not_shown", total - std::min<uint64_t>(total, fleet.instances.size()));
  out.begin_array("shown");
  for (const FleetInstance& instance : fleet.instances) write_instance(out, instance);
  out.end_array();
  out.end_object();
  out.begin_array("alerts");
  for (const FleetAlert& alert : fleet_alerts(fleet)) {
    out.begin_object();
    out.text("subject", alert.subject);
    out.text("rule", alert.rule);
    out.text("text", alert.text);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return text;
}

}  // namespace trunkline::lookup
