#include "lookup/domain/failovers.h"

#include <algorithm>
#include <map>
#include <optional>

#include "lookup/domain/json_writer.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::lookup {
namespace {

struct Blocked {
  TimePoint at;
  v1::Reason reason;
};
struct Failover {
  v1::FailoverStarted started;
  TimePoint started_at;
  std::string requested_by;
  std::vector<Blocked> blocked;
  std::optional<v1::PrimaryAssigned> promoted;
  TimePoint promoted_at;
  std::optional<TimePoint> opened_at;
  bool superseded = false;
  bool refused = false;  // never begun
  bool withdrawn = false;
};
using Hosts = std::map<std::string, std::string>;  // node id → host

class Story {
 public:
  void take(const HistoryEvent& entry) {
    v1::GroupEvent event;
    const std::string_view payload = entry.event.payload;
    if (!event.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return;
    const TimePoint at = entry.event.recorded_at;
    if (event.has_group_membership_changed()) {
      for (const v1::GroupMember& member : event.group_membership_changed().members()) {
        hosts[member.node_id()] = member.address().host();
      }
    } else if (event.has_failover_started()) {
      if (!failovers.empty() && !failovers.back().opened_at) failovers.back().superseded = true;
      Failover failover;
      failover.started = event.failover_started();
      failover.started_at = at;
      if (!entry.actor.starts_with("service:")) failover.requested_by = entry.actor;
      failovers.push_back(std::move(failover));
    } else if (event.has_failover_blocked()) {
      take_blocked(event.failover_blocked(), at);
    } else if (event.has_primary_assigned()) {
      if (Failover* failover = of_term(event.primary_assigned().term())) {
        failover->promoted = event.primary_assigned();
        failover->promoted_at = at;
      }
    } else if (event.has_primary_opened()) {
      if (Failover* failover = of_term(event.primary_opened().term())) failover->opened_at = at;
    }
  }

  Hosts hosts;
  std::vector<Failover> failovers;

 private:
  void take_blocked(const v1::FailoverBlocked& e, TimePoint at) {
    Failover* failover = of_term(e.term());
    if (e.term() == 0) {
      if (!failovers.empty() && failovers.back().refused) failovers.back().withdrawn = true;
    } else if (failover != nullptr && !failover->opened_at && !failover->withdrawn) {
      failover->blocked.push_back({at, e.reason()});
    } else {
      Failover refused;
      refused.started.set_term(e.term());
      *refused.started.mutable_reason() = e.reason();
      refused.started_at = at;
      refused.refused = true;
      failovers.push_back(std::move(refused));
    }
  }

  Failover* of_term(uint64_t term) {
    if (failovers.empty() || failovers.back().started.term() != term) return nullptr;
    return &failovers.back();
  }
};

std::string_view kind_name(const v1::FailoverStarted& started) {
  switch (static_cast<int>(started.kind())) {
    case v1::FAILOVER_KIND_SWITCHOVER: return "switchover";
    case v1::FAILOVER_KIND_OVERRIDE: return "override";
    default: return "failover";
  }
}

// Planned, and it ended where it began.
bool is_given_up(const Failover& failover) {
  return failover.started.kind() == v1::FAILOVER_KIND_SWITCHOVER && failover.promoted &&
         failover.promoted->node_id() == failover.started.from_node_id();
}

std::string_view status_name(const Failover& failover) {
  if (failover.opened_at) return is_given_up(failover) ? "GIVEN_UP" : "COMPLETED";
  if (failover.withdrawn) return "WITHDRAWN";
  if (failover.superseded) return "SUPERSEDED";
  if (failover.refused) return "REFUSED";
  if (failover.promoted || failover.blocked.empty()) return "UNDER_WAY";
  return "BLOCKED";
}

void put_reason(JsonWriter& json, const v1::Reason& reason) {
  json.text("rule", reason.rule());
  json.text("why", reason.why());
  json.begin_array("facts");
  for (const std::string& fact : reason.facts()) json.element(fact);
  json.end_array();
}

void put_node(JsonWriter& json, std::string_view node_key, std::string_view host_key,
              const std::string& node, const Hosts& hosts) {
  if (node.empty()) return;
  json.text(node_key, node);
  const auto host = hosts.find(node);
  if (host != hosts.end()) json.text(host_key, host->second);
}

std::string failover_json(const Failover& failover, const Hosts& hosts) {
  const auto ms = [&](TimePoint at) {
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        at - failover.started_at);
    return static_cast<uint64_t>(std::max<int64_t>(took.count(), 0));
  };
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.number("term", failover.started.term());
  json.text("kind", kind_name(failover.started));
  json.text("status", status_name(failover));
  put_node(json, "from_node", "from_host", failover.started.from_node_id(), hosts);
  if (failover.promoted) {
    put_node(json, "to_node", "to_host", failover.promoted->node_id(), hosts);
  }
  json.text("started_at", format_rfc3339(failover.started_at));
  if (failover.promoted) json.text("promoted_at", format_rfc3339(failover.promoted_at));
  if (failover.opened_at) {
    json.text("opened_at", format_rfc3339(*failover.opened_at));
    json.number("duration_ms", ms(*failover.opened_at));
  }
  put_reason(json, failover.started.reason());
  json.begin_array("blocked");
  for (const Blocked& blocked : failover.blocked) {
    json.begin_object();
    json.text("at", format_rfc3339(blocked.at));
    put_reason(json, blocked.reason);
    json.end_object();
  }
  json.end_array();
  if (failover.promoted) {
    json.begin_object("promotion");
    put_reason(json, failover.promoted->reason());
    json.end_object();
    json.number("lost_bytes", failover.promoted->lost_bytes());
  }
  if (!failover.requested_by.empty()) json.text("requested_by", failover.requested_by);
  json.end_object();
  return out;
}

}  // namespace

std::vector<std::string> failovers_json(std::span<const HistoryEvent> events, size_t limit) {
  Story story;
  for (const HistoryEvent& entry : events) story.take(entry);
  std::vector<std::string> found;
  for (auto it = story.failovers.rbegin(); it != story.failovers.rend(); ++it) {
    if (found.size() == limit) break;
    found.push_back(failover_json(*it, story.hosts));
  }
  return found;
}

}  // namespace trunkline::lookup
