#include "lookup/domain/alert_facts.h"

#include <algorithm>

namespace trunkline::lookup {
namespace {

// The text of a member that render.cc writes, which has no escapes in it or is shown as it is.
// Inside a JSON string every quote has a backslash before it, so the mark is found nowhere else; of
// an instance, its own status comes before those of its nodes.
std::string member(std::string_view json, std::string_view name) {
  const std::string mark = "\"" + std::string(name) + "\":\"";
  const size_t at = json.find(mark);
  if (at == std::string_view::npos) return {};
  const size_t begin = at + mark.size();
  size_t end = begin;
  while (end < json.size() && json[end] != '"') end += json[end] == '\\' ? 2 : 1;
  return std::string(json.substr(begin, end - begin));
}

// What is behind the brace of an object that is a member.
std::string_view object(std::string_view json, std::string_view name) {
  const std::string mark = ",\"" + std::string(name) + "\":{";
  const size_t at = json.find(mark);
  return at == std::string_view::npos ? std::string_view() : json.substr(at + mark.size());
}

void look_at_task(const v1::NodeReport& node, const char* kind, const v1::TaskReport& task,
                  std::vector<Observed>* out) {
  if (task.state() != v1::TASK_STATE_FAILED || task.tries() < kManyTries) return;
  out->push_back({"task_failing", "node/" + node.node_id(),
                  std::string(kind) + ": " + task.failure().code() + " after " +
                      std::to_string(task.tries()) + " tries"});
}

// One alert an instance: a tenant who makes hundreds fail raises no hundreds.
void look_at_objects(const v1::NodeReport& node, std::vector<Observed>* out) {
  const std::string subject = "instance/" + node.instance_id();
  if (node.object_failures_size() > 0) {
    const v1::ObjectReport& first = node.object_failures(0);
    const char* kind = first.kind() == v1::OBJECT_KIND_DATABASE ? "database "
                       : first.kind() == v1::OBJECT_KIND_USER   ? "user "
                                                                : "";
    std::string detail = kind + first.object_id() + ": " + first.failure().code();
    if (node.object_failures_size() > 1) {
      detail += ", and " + std::to_string(node.object_failures_size() - 1) + " more";
    }
    out->push_back({"objects_failing", subject, std::move(detail)});
  }
  for (const v1::ObjectNoteReport& seen : node.object_notes()) {
    if (seen.note().what() != "drifted") continue;
    std::string detail = seen.note().detail();
    if (!seen.note().database_user().empty()) detail += ", by " + seen.note().database_user();
    detail += ", not later than " + format_rfc3339(from_unix_us(seen.note().seen_unix_us()));
    return out->push_back({"objects_drifted", subject, std::move(detail)});
  }
}

void look_at_lease(const v1::NodeReport& node, std::vector<Observed>* out) {
  const bool serves = node.postgres() == v1::POSTGRES_STATE_OPEN && node.lease_term() > 0;
  if (!serves || node.lease_ms() >= kShortLeaseMs) return;
  out->push_back({"lease_near_expiry", "node/" + node.node_id(),
                  std::to_string(node.lease_ms()) + " ms left in term " +
                      std::to_string(node.lease_term())});
}

std::string what_to_do(std::string_view why) {
  if (why == "disk_full") {
    return "disk_full: make room (BEGIN READ WRITE; TRUNCATE, DROP or DELETE and VACUUM), or order "
           "a larger disk_size";
  }
  if (why == "host_disk_full") {
    return "host_disk_full: make room on the primary's host, or drain it";
  }
  if (why == "files_full") {
    return "files_full: it holds the most files for its disk_size; drop tables and indexes (BEGIN "
           "READ WRITE; DROP ...), or order a larger disk_size";
  }
  if (why == "host_files_full") {
    return "host_files_full: the disk of the primary's host has no more files to give; remove some "
           "there, or drain it";
  }
  return "no_sync_standby: too few synchronous standbys stream; start their hosts, or order a "
         "smaller sync_replica_number";
}

std::string behind(int64_t position, int64_t head) {
  return std::to_string(head - position) + " events behind position " + std::to_string(head);
}

}  // namespace

void AlertFacts::take(const v1::HostReport& report, TimePoint now) {
  Host& host = hosts_[report.host()];
  host = {now, report.disk_gb(), report.disk_free_gb(), report.files(),
          report.files_free(), {}, {}, {}, report.obeyed_position()};
  for (const v1::NodeReport& node : report.nodes()) {
    host.instances.push_back(node.instance_id());
    look_at_task(node, "box", node.ensure(), &host.wrong);
    look_at_task(node, "role", node.role(), &host.wrong);
    look_at_task(node, "users and databases", node.objects(), &host.wrong);
    look_at_objects(node, &host.wrong);
    look_at_lease(node, &host.wrong);
    if (node.quarantined()) {
      host.wrong.push_back({"orphan_nodes", "node/" + node.node_id(),
                            "on " + report.host() + ", of instance " + node.instance_id() +
                                ": restore the log that knows it, or remove it by "
                                "`trunkline hosts orphans remove`"});
    }
    for (const v1::StandbyReport& standby : node.standbys()) {
      host.lags.push_back({"node/" + standby.node_id(), standby.lag_bytes(),
                           std::to_string(standby.lag_bytes() >> 20) + " MB behind node " +
                               node.node_id()});
    }
  }
  std::ranges::sort(host.instances);
}

void AlertFacts::take(const Document& document) {
  if (document.key.kind == DocKind::host) {
    if (member(document.json, "state") == "LOST") {
      lost_[document.key.uuid] = member(document.json, "name");
    } else {
      lost_.erase(document.key.uuid);
    }
    if (document.json.find("\"schedulable\":true") == std::string::npos) {
      closed_[document.key.uuid] = member(document.json, "name");
    } else {
      closed_.erase(document.key.uuid);
    }
    return;
  }
  if (document.key.kind != DocKind::instance) return;
  Instance instance;
  instance.status = member(document.json, "status");
  const std::string project = member(document.json, "project_id");
  if (!project.empty()) instance.group = "project/" + project;
  const std::string_view failover = object(document.json, "failover");
  if (!failover.empty()) {
    instance.failover = member(failover, "rule") + ": " + member(failover, "why");
  }
  const std::string_view writes = object(document.json, "writes");
  if (writes.starts_with("\"possible\":false")) instance.writes = member(writes, "why");
  if (instance.writes == "failover") instance.writes.clear();
  const bool rests = failover.empty() && instance.writes.empty();
  if (instance.status == "ACTIVE" && rests) {
    instances_.erase(document.key.uuid);
  } else {
    instances_[document.key.uuid] = std::move(instance);
  }
}

void AlertFacts::forget(const DocKey& key) {
  if (key.kind == DocKind::instance) instances_.erase(key.uuid);
  if (key.kind == DocKind::host) {
    lost_.erase(key.uuid);
    closed_.erase(key.uuid);
  }
}

void AlertFacts::look_at_host(const std::string& name, const Host& host, const AlertBook& book,
                              TimePoint now, std::vector<Observed>* out) const {
  const std::string subject = "host/" + name;
  const bool lost = std::ranges::any_of(lost_, [&](const auto& e) { return e.second == name; });
  if (now - host.heard > kUnheard) {
    const auto silent = std::chrono::duration_cast<std::chrono::seconds>(now - host.heard);
    if (!lost) {
      out->push_back({"host_silent", subject,
                      "no report for " + std::to_string(silent.count()) + " s"});
    }
    return;
  }
  out->insert(out->end(), host.wrong.begin(), host.wrong.end());
  for (const Level& lag : host.lags) {
    const bool was = book.is_wrong("replica_behind", lag.subject);
    if (lag.value > (was ? kNearAgainBytes : kBehindBytes)) {
      out->push_back({"replica_behind", lag.subject, lag.detail});
    }
  }
  const bool was = book.is_wrong("disk_near_full", subject);
  const auto is_near_full = [was](uint64_t whole, uint64_t free) {
    return whole > 0 && free < whole * (was ? 15 : 10) / 100;
  };
  if (is_near_full(host.disk_gb, host.disk_free_gb)) {
    out->push_back({"disk_near_full", subject,
                    std::to_string(host.disk_free_gb) + " GB of " + std::to_string(host.disk_gb) +
                        " GB are free"});
  } else if (is_near_full(host.files, host.files_free)) {
    out->push_back({"disk_near_full", subject,
                    std::to_string(host.files_free) + " of the " + std::to_string(host.files) +
                        " files that its disk can hold are left"});
  }
}

// All of them are one alert: a host that comes back leaves many at once.
void AlertFacts::look_at_sharing(TimePoint now, std::vector<Observed>* out) const {
  const auto is_free_for = [&](const auto& entry, const std::string& instance) {
    const auto& [name, host] = entry;
    const bool is_closed =
        std::ranges::any_of(closed_, [&](const auto& e) { return e.second == name; });
    return now - host.heard <= kUnheard && !is_closed &&
           !std::ranges::binary_search(host.instances, instance);
  };
  size_t count = 0;
  std::string first;
  for (const auto& [name, host] : hosts_) {
    if (now - host.heard > kUnheard) continue;
    const std::string* before = nullptr;
    for (size_t i = 1; i < host.instances.size(); ++i) {
      const std::string& instance = host.instances[i];
      if (instance != host.instances[i - 1] || (before && *before == instance)) continue;
      before = &instance;
      const bool spreads = std::ranges::any_of(
          hosts_, [&](const auto& entry) { return is_free_for(entry, instance); });
      if (spreads && ++count == 1) first = instance + " on " + name;
    }
  }
  if (count == 0) return;
  const std::string what = count == 1 ? " instance: " : " instances, one of them: ";
  out->push_back({"nodes_share_host", "hosts", std::to_string(count) + what + first});
}

void AlertFacts::look_at_log(std::vector<Observed>* out) const {
  if (log_.relayed < log_.head) {
    out->push_back({"relay_behind", "log", behind(log_.relayed, log_.head)});
  }
  if (log_.projected < log_.head) {
    out->push_back({"projection_behind", "log", behind(log_.projected, log_.head)});
  }
  if (log_.poison > 0) {
    out->push_back({"poison_events", "log", std::to_string(log_.poison) + " events put aside"});
  }
  for (const TroubledWebhook& webhook : log_.webhooks) {
    out->push_back({"delivery_stuck", "webhook/" + webhook.id, webhook.rule + ": " + webhook.why});
  }
}

std::vector<Observed> AlertFacts::wrong(const AlertBook& book, TimePoint now) const {
  std::vector<Observed> out;
  for (const auto& [name, host] : hosts_) look_at_host(name, host, book, now, &out);
  for (const auto& [uuid, instance] : instances_) {
    const std::string subject = "instance/" + uuid;
    if (!instance.failover.empty()) out.push_back({"failover_stuck", subject, instance.failover});
    if (!instance.writes.empty()) {
      out.push_back({"writes_stopped", subject, what_to_do(instance.writes)});
    }
    if (instance.status == "ERROR") {
      out.push_back({"instance_failed", subject, "status ERROR", instance.group});
    } else if (instance.status != "ACTIVE") {
      out.push_back({"provisioning_overdue", subject, "status " + instance.status, instance.group});
    }
  }
  look_at_sharing(now, &out);
  look_at_log(&out);
  int64_t obeyed = 0;
  for (const auto& [name, host] : hosts_) obeyed = std::max(obeyed, host.obeyed_position);
  if (log_.head > 0 && obeyed > log_.head) {
    out.push_back({"log_behind_hosts", "log",
                   "it ends at position " + std::to_string(log_.head) + ", hosts have obeyed " +
                       std::to_string(obeyed) + ": no node is removed; restore the newer one"});
  }
  return out;
}

}  // namespace trunkline::lookup
