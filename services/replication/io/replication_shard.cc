#include "replication/io/replication_shard.h"

#include <spdlog/spdlog.h>

#include "bus/streams.h"
#include "replication/domain/group_failover.h"
#include "replication/domain/group_snapshot.h"
#include "replication/domain/group_table.h"
#include "runtime/random.h"
#include "telemetry/attributes.h"
#include "telemetry/messaging.h"
#include "telemetry/metrics.h"
#include "telemetry/telemetry.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/snapshot_group.pb.h"

namespace trunkline::replication {
namespace {

constexpr int kMaxRounds = 50;
constexpr char kInstance[] = "instance";
// So often, and for so long, proxies are told of a primary that has changed.
constexpr milliseconds kTellEvery{1000};
constexpr seconds kTellFor{60};

struct ReplicationMetrics {
  ReplicationMetrics() {
    for (const auto* kind : {"failover", "switchover", "override"}) failovers.add({kind}, 0);
  }
  telemetry::CounterFamily leases{"trunkline_leases_granted_total", "Leases granted to primaries."};
  telemetry::CounterFamily failovers{
      "trunkline_failovers_total", "Failovers and switchovers begun.", {"kind"}};
  telemetry::CounterFamily blocked{"trunkline_failovers_blocked_total",
                                   "Times that a failover was found to need an operator."};
  telemetry::HistogramFamily took{"trunkline_failover_duration_seconds",
                                  "From a failover's beginning to the new primary's opening.",
                                  {},
                                  {0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 3, 5, 10, 30, 60}};
  telemetry::GaugeFamily owner{"trunkline_replication_owner",
                               "Whether this process decides (1) or is ready to (0)."};
};
ReplicationMetrics& metrics() {
  static auto* const all = new ReplicationMetrics;
  return *all;
}

std::string_view kind_name(v1::FailoverKind kind) {
  if (kind == v1::FAILOVER_KIND_SWITCHOVER) return "switchover";
  return kind == v1::FAILOVER_KIND_OVERRIDE ? "override" : "failover";
}

}  // namespace

ReplicationShard::ReplicationShard(const std::string& log_dsn, bus::Bus& bus,
                                   const runtime::Ownership& ownership)
    : log_(log_dsn), bus_(bus), ownership_(ownership), groups_(log_, bus), tasks_(bus) {}

void ReplicationShard::load(const v1::ServiceSnapshot::Aggregate& aggregate) {
  const auto parsed = [&](auto message) {
    if (!message.ParseFromString(aggregate.state())) {
      throw std::runtime_error(aggregate.aggregate() + "-" + aggregate.uuid() + " does not parse");
    }
    return message;
  };
  if (aggregate.aggregate() == GroupAggregate::kName) {
    auto& entry = groups_.at(aggregate.uuid());
    entry.state = from_snapshot(parsed(v1::GroupSnapshot()));
    entry.version = static_cast<int64_t>(aggregate.version());
    entry.hash = aggregate.hash();
  } else if (aggregate.aggregate() == kInstance) {
    auto& followed = followed_[aggregate.uuid()];
    followed.order = from_snapshot(parsed(v1::InstanceOrderSnapshot()));
    followed.version = static_cast<int64_t>(aggregate.version());
  }
}

void ReplicationShard::clear() {
  groups_.entries().clear();
  followed_.clear();
  groups_on_.clear();
  restless_.clear();
  telling_.clear();
}

void ReplicationShard::save(v1::ServiceSnapshot* snapshot) {
  for (const auto& [uuid, entry] : groups_.entries()) {
    if (!entry.poison.empty()) continue;
    auto* out = snapshot->add_aggregates();
    out->set_aggregate(GroupAggregate::kName);
    out->set_uuid(uuid);
    out->set_version(static_cast<uint64_t>(entry.version));
    out->set_hash(entry.hash);
    v1::GroupSnapshot state;
    to_snapshot(entry.state, &state);
    out->set_state(state.SerializeAsString());
  }
  for (const auto& [uuid, followed] : followed_) {
    auto* out = snapshot->add_aggregates();
    out->set_aggregate(kInstance);
    out->set_uuid(uuid);
    out->set_version(static_cast<uint64_t>(followed.version));
    v1::InstanceOrderSnapshot order;
    to_snapshot(followed.order, &order);
    out->set_state(order.SerializeAsString());
  }
}

void ReplicationShard::on_event(const eventlog::RecordedEvent& event) {
  const std::string aggregate = eventlog::aggregate_of(event.stream);
  const std::string uuid = eventlog::uuid_of(event.stream);
  if (aggregate == GroupAggregate::kName) {
    measure(uuid, event);
    if (!groups_.apply(event)) return;
    note_primary(uuid, event.position,
                 std::chrono::duration_cast<milliseconds>(runtime::now() - event.recorded_at));
    carry_on(followed(uuid), event);
    if (ready_) drive(uuid);
  } else if (aggregate == kInstance) {
    on_instance_event(uuid, event);
  }
}

void ReplicationShard::on_instance_event(const std::string& uuid,
                                         const eventlog::RecordedEvent& event) {
  Followed& followed = this->followed(uuid);
  if (event.version <= followed.version) return;
  v1::InstanceEvent parsed;
  if (!parsed.ParseFromString(event.payload)) {
    groups_.at(uuid).poison = event.stream + " event " + std::to_string(event.position) +
                              " cannot be parsed";
    spdlog::error("group {} is put aside: {}", uuid, groups_.at(uuid).poison);
    return;
  }
  followed.version = event.version;
  const bool changed = evolve(followed.order, parsed);
  std::optional<telemetry::Span> span;
  if (changed && ready_ && runtime::now() - event.recorded_at < telemetry::kTraceAge) {
    span.emplace("process tl.evt.instance", telemetry::SpanKind::consumer,
                 event.metadata.traceparent);
    telemetry::describe_message(*span, bus::event_subject(kInstance, uuid), "process", "process");
    span->set(telemetry::kMessagingMessageId, std::to_string(event.position));
    span->set("trunkline.event", event.type);
  }
  carry_on(followed, event);
  if (span) followed.traceparent = span->traceparent();
  if (changed && ready_) drive(uuid);
}

// Once a platform: by the process that decides.
void ReplicationShard::measure(const std::string& uuid, const eventlog::RecordedEvent& event) {
  v1::GroupEvent parsed;
  if (!ready_ || !ownership_.owns() || !parsed.ParseFromString(event.payload)) return;
  if (parsed.has_failover_started()) {
    metrics().failovers.add({kind_name(parsed.failover_started().kind())});
    failing_over_[uuid] = event.recorded_at;
  } else if (parsed.has_failover_blocked()) {
    metrics().blocked.add();
  } else if (parsed.has_primary_opened()) {
    const auto begun = failing_over_.find(uuid);
    if (begun == failing_over_.end()) return;
    metrics().took.observe(
        std::chrono::duration<double>(event.recorded_at - begun->second).count());
    failing_over_.erase(begun);
  }
}

void ReplicationShard::carry_on(Followed& followed, const eventlog::RecordedEvent& event) {
  followed.command_id = event.metadata.command_id;
  followed.correlation_id = event.metadata.correlation_id;
  followed.traceparent = event.metadata.traceparent;
  followed.at = event.recorded_at;
}

void ReplicationShard::on_ready() {
  ready_ = true;
  for (const auto& [uuid, entry] : groups_.entries()) {
    auto& key = followed(uuid).primary_key;
    if (!key) key = primary_key(entry.state);  // of the snapshot: no news
  }
  owns();
}

bool ReplicationShard::owns() {
  if (!ready_ || !ownership_.owns()) return false;
  const TimePoint since = ownership_.since();
  if (since == owner_since_) return true;
  owner_since_ = since;
  others_lease_until_ = ownership_.others_until();
  std::vector<std::string> uuids;
  for (const auto& [uuid, followed] : followed_) uuids.push_back(uuid);
  for (const std::string& uuid : uuids) drive(uuid);
  return true;
}

ReplicationShard::Followed& ReplicationShard::followed(const std::string& uuid) {
  Followed& out = followed_[uuid];
  out.facts.owner_since = owner_since_;
  out.facts.others_lease_until = others_lease_until_;
  return out;
}

void ReplicationShard::on_command(v1::Command&& command,
                                  std::shared_ptr<runtime::CommandReply> reply) {
  if (!owns() || prepares(command)) return reply->again();
  try {
    const v1::CommandAnswer answer = decide_request(command);
    reply->answer(answer);
    if (!answer.has_accepted()) return;
    note_primary(command.aggregate_id(), static_cast<int64_t>(answer.accepted().position()),
                 milliseconds(0));
    Followed& group = followed(command.aggregate_id());
    group.command_id = command.command_id();
    group.correlation_id = command.correlation_id();
    group.traceparent = command.traceparent();
    group.at = runtime::now();
    drive(command.aggregate_id());
  } catch (const eventlog::LogUnavailable& error) {
    spdlog::warn("command {} waits for the log: {}", command.command_id(), error.what());
    reply->again();
  }
}

bool ReplicationShard::prepares(const v1::Command& command) {
  const std::string& uuid = command.aggregate_id();
  const auto* entry = groups_.find(uuid);
  const auto group = followed_.find(uuid);
  if (entry == nullptr || !entry->poison.empty() || group == followed_.end()) return false;
  GroupFacts& facts = group->second.facts;
  const TimePoint now = runtime::monotonic_now();
  auto due = due_preparation(InstanceId(uuid), entry->state, facts, command.group(), now);
  if (!due) return false;
  note_preparation(facts, due->task.prepare_stop().prepare_id(), now);
  due->task.set_traceparent(command.traceparent());
  tasks_.send(due->host.str(), due->task);
  return true;
}

v1::CommandAnswer ReplicationShard::decide_request(const v1::Command& command) {
  const v1::GroupCommand& body = command.group();
  if (!body.has_request_switchover() && !body.has_request_failover()) {
    v1::CommandAnswer answer;
    answer.set_command_id(command.command_id());
    answer.mutable_rejected()->set_rule("command_unknown");
    answer.mutable_rejected()->set_message("replication takes no such command");
    answer.mutable_rejected()->set_blame(v1::BLAME_BAD_VALUE);
    return answer;
  }
  const auto found = followed_.find(command.aggregate_id());
  const GroupFacts nothing;
  const GroupFacts& reported = found == followed_.end() ? nothing : found->second.facts;
  return groups_.handle(command, body, {reported, runtime::monotonic_now()}, true);
}

void ReplicationShard::on_report(const v1::HostReport& report, const std::vector<int>& nodes) {
  const TimePoint now = runtime::monotonic_now();
  const bool is_owner = owns();
  heard_[report.host()] = now;
  std::unordered_map<std::string, ReportSlice> slices;
  // That a host does not name a group's member says something too.
  for (const std::string& uuid : groups_on_[report.host()]) slices[uuid];
  for (const int index : nodes) {
    const auto& node = report.nodes(index);
    slices[node.instance_id()].nodes.push_back(&node);
  }
  std::vector<std::string> news;
  for (auto& [uuid, slice] : slices) {
    const auto* entry = groups_.find(uuid);
    if (entry == nullptr) continue;
    slice.host = HostName(report.host());
    slice.agent_id = report.agent_id();
    slice.sequence = report.sequence();
    slice.sent_unix_us = report.sent_unix_us();
    if (observe(followed(uuid).facts, entry->state, slice, now)) news.push_back(uuid);
  }
  if (is_owner) grant(report, news);
  for (const std::string& uuid : news) drive(uuid);
}

void ReplicationShard::grant(const v1::HostReport& report,
                             const std::vector<std::string>& uuids) {
  const HostName host(report.host());
  const milliseconds left = ownership_.left();
  v1::LeaseGrant grant;
  grant.set_agent_id(report.agent_id());
  grant.set_sequence(report.sequence());
  for (const std::string& uuid : uuids) {
    const auto* entry = groups_.find(uuid);
    if (entry == nullptr || !entry->poison.empty()) continue;
    const auto lease = due_lease(entry->state, host, left);
    if (!lease) continue;
    note_lease(followed(uuid).facts,
               runtime::monotonic_now() + milliseconds(lease->duration_ms()));
    *grant.add_leases() = *lease;
  }
  if (grant.leases().empty()) return;
  metrics().leases.add({}, grant.leases_size());
  try {
    bus_.publish(bus::lease_subject(report.host()), grant.SerializeAsString());
  } catch (const bus::BusUnavailable& error) {
    spdlog::debug("leases for {} are not sent: {}", report.host(), error.what());
  }
}

void ReplicationShard::index_hosts(const std::string& uuid, Followed& followed) {
  const auto* entry = groups_.find(uuid);
  if (entry == nullptr) return;
  std::set<std::string> hosts;
  for (const Member& member : entry->state.members) hosts.insert(member.address.host.str());
  if (hosts == followed.hosts) return;
  for (const std::string& host : followed.hosts) groups_on_[host].erase(uuid);
  for (const std::string& host : hosts) groups_on_[host].insert(uuid);
  followed.hosts = std::move(hosts);
}

void ReplicationShard::on_tick() {
  metrics().owner.set(ownership_.owns() ? 1 : 0);
  if (!owns()) return;
  std::set<std::string> due = restless_;
  const TimePoint now = runtime::monotonic_now();
  for (const auto& [host, heard] : heard_) {
    if (now - heard <= kSilent) continue;
    for (const std::string& uuid : groups_on_[host]) {
      const auto* entry = groups_.find(uuid);
      if (entry != nullptr && is_restless(entry->state, followed(uuid).facts, now)) {
        due.insert(uuid);
      }
    }
  }
  for (const std::string& uuid : due) drive(uuid);
  for (const std::string& uuid : std::set<std::string>(telling_)) {
    tell_primary(uuid, followed(uuid));
  }
}

void ReplicationShard::drive(const std::string& uuid) {
  Followed& group = followed(uuid);
  index_hosts(uuid, group);
  if (!ownership_.owns()) return;
  for (int round = 0; round < kMaxRounds; ++round) {
    try {
      if (!decide_something(uuid, group)) {
        index_hosts(uuid, group);
        send_tasks(uuid, group);
        send_probes(uuid, group);
        return;
      }
    } catch (const eventlog::LogUnavailable& error) {
      restless_.insert(uuid);
      spdlog::warn("group {} waits for the log: {}", uuid, error.what());
      return;
    }
  }
  spdlog::error("group {} does not come to rest", uuid);
}

bool ReplicationShard::decide_something(const std::string& uuid, Followed& followed) {
  if (const auto membership = membership_command(followed.order)) {
    if (issue(uuid, followed, *membership)) return true;
  }
  const auto* entry = groups_.find(uuid);
  if (entry == nullptr || entry->version == 0) return false;
  const TimePoint now = runtime::monotonic_now();
  notice(followed.facts, entry->state, now);
  for (const auto& command : commands_from_reports(entry->state, followed.facts, now)) {
    if (issue(uuid, followed, command)) return true;
  }
  const auto decision = decide_roles(entry->state, followed.facts, now);
  if (!decision) return false;
  v1::GroupCommand command;
  *command.mutable_apply_decision()->mutable_decision() = *decision;
  command.mutable_apply_decision()->set_group_version(static_cast<uint64_t>(entry->version));
  return issue(uuid, followed, command);
}

bool ReplicationShard::issue(const std::string& uuid, Followed& followed,
                             const v1::GroupCommand& body) {
  const auto* entry = groups_.find(uuid);
  const GroupState nothing;
  const TimePoint now = runtime::monotonic_now();
  const GroupAggregate::Facts facts{followed.facts, now};
  const auto decision =
      GroupAggregate::decide(entry == nullptr ? nothing : entry->state, body, facts, now);
  if (std::holds_alternative<AlreadySo>(decision)) return false;
  v1::Command command;
  command.set_command_id(runtime::new_uuid());
  command.set_aggregate_id(uuid);
  command.set_actor("service:replication");
  command.set_correlation_id(followed.correlation_id);
  command.set_causation_id(followed.command_id);
  const GroupState& before = entry == nullptr ? nothing : entry->state;
  std::string parent = FailoverTrace::parent_of(uuid, before, body);
  std::optional<telemetry::Span> late;
  if (parent.empty() && runtime::now() - followed.at > telemetry::kTraceAge) {
    late.emplace("react group", telemetry::following(telemetry::SpanKind::internal,
                                                     followed.traceparent, telemetry::kTraceAge));
    late->set(telemetry::kInstanceId, uuid);
    followed.traceparent = late->traceparent();
    followed.at = runtime::now();
  }
  command.set_traceparent(parent.empty() ? followed.traceparent : parent);
  followed.failover_trace.before(before, followed.facts, body, now);
  const auto answer = groups_.handle(command, body, facts, false);
  if (answer.has_rejected()) {
    spdlog::warn("group {}: {} of {}", uuid, answer.rejected().rule(), runtime::oneof_name(body));
  }
  if (!answer.has_accepted()) return false;
  note_primary(uuid, static_cast<int64_t>(answer.accepted().position()), milliseconds(0));
  followed.failover_trace.after(uuid, groups_.at(uuid).state, followed.traceparent);
  return true;
}

std::string ReplicationShard::trace_of(const std::string& uuid, const Followed& followed,
                                       const GroupState& state) {
  const std::string failover = FailoverTrace::parent_of(uuid, state);
  if (!failover.empty()) return failover;
  const bool is_over = runtime::now() - followed.at > telemetry::kTraceAge;
  return is_over ? std::string() : followed.traceparent;
}

void ReplicationShard::note_primary(const std::string& uuid, int64_t position,
                                    milliseconds old) {
  const auto* entry = groups_.find(uuid);
  if (entry == nullptr) return;
  Followed& group = followed(uuid);
  const PrimaryKey key = primary_key(entry->state);
  if (group.primary_key == key) return;
  group.primary_key = key;
  group.primary_position = position;
  if (old >= kTellFor) return;
  group.tell_until = runtime::monotonic_now() + kTellFor - old;
  group.told_at = TimePoint();
  telling_.insert(uuid);
  tell_primary(uuid, group);
}

// Lookup tells proxies, too, and more: this is for the time in which it is behind or away.
void ReplicationShard::tell_primary(const std::string& uuid, Followed& group) {
  if (!ready_ || !ownership_.owns()) return;
  const TimePoint now = runtime::monotonic_now();
  if (now >= group.tell_until) telling_.erase(uuid);
  if (now >= group.tell_until || now - group.told_at < kTellEvery) return;
  const auto* entry = groups_.find(uuid);
  if (entry == nullptr || !entry->poison.empty()) return;
  const auto news = primary_news(InstanceId(uuid), entry->state, group.primary_position);
  if (!news) return;
  try {
    bus_.publish(bus::primary_subject(uuid), news->SerializeAsString());
    group.told_at = now;
  } catch (const bus::BusUnavailable& error) {
    spdlog::debug("proxies are not told of {}: {}", uuid, error.what());
  }
}

void ReplicationShard::send_tasks(const std::string& uuid, Followed& followed) {
  const auto* entry = groups_.find(uuid);
  if (entry == nullptr || !entry->poison.empty()) return;
  for (auto& due : due_tasks(InstanceId(uuid), entry->state, followed.facts)) {
    due.task.set_traceparent(trace_of(uuid, followed, entry->state));
    tasks_.send(due.host.str(), due.task);
  }
}

void ReplicationShard::send_probes(const std::string& uuid, Followed& followed) {
  const auto* entry = groups_.find(uuid);
  const TimePoint now = runtime::monotonic_now();
  if (entry == nullptr || !entry->poison.empty() ||
      !is_restless(entry->state, followed.facts, now)) {
    restless_.erase(uuid);
    return;
  }
  restless_.insert(uuid);
  const auto probes = due_probes(InstanceId(uuid), entry->state, followed.facts, now);
  if (probes.empty()) return;
  note_probe(followed.facts, probes[0].task.probe_upstream().probe_id(), now);
  for (const auto& probe : probes) tasks_.send(probe.host.str(), probe.task);
}

}  // namespace trunkline::replication
