#include "lookup/domain/alerts.h"

#include <algorithm>

#include "lookup/domain/json_writer.h"

namespace trunkline::lookup {
namespace {

using std::chrono::seconds;

// clang-format off
constexpr AlertRule kRules[] = {
  {"delivery_stuck",       Severity::warning,  seconds(0),   seconds(0),  "usage records are not delivered to a webhook"},
  {"disk_near_full",       Severity::critical, seconds(5),   seconds(30), "a host's disk has less than a tenth left, of bytes or of files"},
  {"failover_stuck",       Severity::critical, seconds(10),  seconds(0),  "a failover has not come to an end"},
  {"host_silent",          Severity::critical, seconds(10),  seconds(5),  "nothing is heard of a host"},
  {"instance_failed",      Severity::critical, seconds(0),   seconds(0),  "an instance is in ERROR"},
  {"lease_near_expiry",    Severity::critical, seconds(2),   seconds(10), "a primary's lease is not renewed in time"},
  {"log_behind_hosts",     Severity::critical, seconds(10),  seconds(5),  "hosts have obeyed a log that is further than this one"},
  {"nodes_share_host",     Severity::warning,  seconds(120), seconds(5),  "nodes of an instance share a host though another one has none of them"},
  {"objects_drifted",      Severity::warning,  seconds(0),   seconds(60), "somebody changed by SQL what the API manages; it was put right"},
  {"objects_failing",      Severity::warning,  seconds(10),  seconds(0),  "a user or database of an instance is not as ordered"},
  {"orphan_nodes",         Severity::critical, seconds(0),   seconds(0),  "a host has a node that the log does not know; it is stopped and kept"},
  {"poison_events",        Severity::critical, seconds(0),   seconds(0),  "events are put aside because they cannot be projected"},
  {"projection_behind",    Severity::warning,  seconds(10),  seconds(5),  "the read model is behind the log"},
  {"provisioning_overdue", Severity::warning,  seconds(180), seconds(0),  "an instance is not ACTIVE after its deadline"},
  {"relay_behind",         Severity::warning,  seconds(10),  seconds(5),  "the relay is behind the log"},
  {"replica_behind",       Severity::warning,  seconds(30),  seconds(10), "a standby is far behind its primary"},
  {"task_failing",         Severity::warning,  seconds(30),  seconds(5),  "a task fails on its host again and again"},
  {"writes_stopped",       Severity::critical, seconds(0),   seconds(0),  "an instance's clients cannot write"},
};
// clang-format on

}  // namespace

std::string_view to_string(Severity severity) {
  return severity == Severity::critical ? "critical" : "warning";
}

std::span<const AlertRule> alert_rules() { return kRules; }

const AlertRule* find_alert_rule(std::string_view name) {
  for (const AlertRule& rule : kRules) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

std::vector<AlertBook::Change> AlertBook::look(const std::vector<Observed>& wrong, TimePoint now) {
  for (auto& [key, entry] : entries_) {
    if (entry.wrong) entry.right_since = now;
    entry.wrong = false;
  }
  for (const Observed& observed : wrong) {
    if (find_alert_rule(observed.rule) == nullptr) continue;
    auto [at, is_new] = entries_.try_emplace({observed.rule, observed.subject});
    Entry& entry = at->second;
    if (is_new) entry.alert = {observed.rule, observed.subject, {}, now, {}};
    entry.alert.detail = observed.detail;
    entry.group = observed.group;
    entry.wrong = true;
  }
  for (auto at = entries_.begin(); at != entries_.end();) {
    Entry& entry = at->second;
    const AlertRule& rule = *find_alert_rule(entry.alert.rule);
    if (entry.wrong && !entry.raised && now - entry.alert.since >= rule.raise_after) {
      entry.raised = true;
      entry.alert.raised_at = now;
    }
    // What was never raised is forgotten at once: it must be wrong without a break.
    const bool kept = entry.raised && now - entry.right_since < rule.clear_after;
    at = !entry.wrong && !kept ? entries_.erase(at) : std::next(at);
  }
  std::map<Key, Alert> raised = in_groups();
  std::vector<Change> changes;
  for (const auto& [key, alert] : raised_) {
    if (!raised.contains(key)) changes.push_back({false, alert});
  }
  for (const auto& [key, alert] : raised) {
    if (!raised_.contains(key)) changes.push_back({true, alert});
  }
  raised_ = std::move(raised);
  return changes;
}

std::map<AlertBook::Key, Alert> AlertBook::in_groups() const {
  constexpr size_t kNamed = 5;
  std::map<Key, Alert> out;
  std::map<Key, size_t> counts;
  for (const auto& [key, entry] : entries_) {
    if (!entry.raised) continue;
    if (entry.group.empty()) {
      out[key] = entry.alert;
      continue;
    }
    const Key group{entry.alert.rule, entry.group};
    const auto [at, is_first] = out.try_emplace(group, entry.alert);
    Alert& alert = at->second;
    const size_t count = ++counts[group];
    if (is_first) {
      alert.subject = entry.group;
      alert.detail.clear();
    }
    alert.since = std::min(alert.since, entry.alert.since);
    alert.raised_at = std::min(alert.raised_at, entry.alert.raised_at);
    if (count <= kNamed) {
      alert.detail += (is_first ? "" : "; ") + entry.alert.subject + ": " + entry.alert.detail;
    }
  }
  for (const auto& [group, count] : counts) {
    Alert& alert = out[group];
    alert.detail = std::to_string(count) + ": " + alert.detail + (count > kNamed ? "; …" : "");
  }
  return out;
}

std::vector<Alert> AlertBook::raised() const {
  std::vector<Alert> alerts;
  for (const auto& [key, alert] : raised_) alerts.push_back(alert);
  return alerts;
}

bool AlertBook::is_wrong(std::string_view rule, std::string_view subject) const {
  const auto found = entries_.find({std::string(rule), std::string(subject)});
  return found != entries_.end() && found->second.wrong;
}

std::string alert_json(const Alert& alert) {
  const AlertRule* rule = find_alert_rule(alert.rule);
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.text("rule", alert.rule);
  json.text("severity", rule == nullptr ? "" : to_string(rule->severity));
  json.text("subject", alert.subject);
  json.text("about", rule == nullptr ? "" : rule->about);
  json.text("detail", alert.detail);
  json.text("since", format_rfc3339(alert.since));
  json.text("raised_at", format_rfc3339(alert.raised_at));
  json.end_object();
  return out;
}

}  // namespace trunkline::lookup
