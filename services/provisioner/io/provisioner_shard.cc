#include "provisioner/io/provisioner_shard.h"

#include <spdlog/spdlog.h>

#include "bus/streams.h"
#include "provisioner/domain/snapshot.h"
#include "runtime/random.h"
#include "telemetry/attributes.h"
#include "telemetry/messaging.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::provisioner {
namespace {

// More rounds than any decision chain needs; a reactor that never rests must not stop the shard.
constexpr int kMaxRounds = 50;

template <class Shell>
void save_shell(Shell& shell, const char* name, v1::ServiceSnapshot* snapshot) {
  for (const auto& [uuid, entry] : shell.entries()) {
    if (!entry.poison.empty()) continue;
    auto* out = snapshot->add_aggregates();
    out->set_aggregate(name);
    out->set_uuid(uuid);
    out->set_version(static_cast<uint64_t>(entry.version));
    out->set_hash(entry.hash);
    out->set_state(to_snapshot(entry.state).SerializeAsString());
  }
}

template <class Proto, class Shell>
auto& load_shell(Shell& shell, const v1::ServiceSnapshot::Aggregate& aggregate) {
  Proto message;
  const bool parses = message.ParseFromString(aggregate.state());
  auto state = parses ? from_snapshot(message) : std::nullopt;
  if (!state) {
    throw std::runtime_error(aggregate.aggregate() + "-" + aggregate.uuid() + " is not readable");
  }
  auto& entry = shell.at(aggregate.uuid());
  entry.state = std::move(*state);
  entry.version = static_cast<int64_t>(aggregate.version());
  entry.hash = aggregate.hash();
  return entry.state;
}

}  // namespace

ProvisionerShard::ProvisionerShard(const std::string& log_dsn, bus::Bus& bus, Registry& registry,
                                   Owns owns)
    : log_(log_dsn),
      registry_(registry),
      owns_(std::move(owns)),
      instances_(log_, bus),
      hosts_(log_, bus),
      versions_(log_, bus),
      tokens_(log_, bus),
      quotas_(log_, bus),
      tasks_(bus) {}

void ProvisionerShard::load(const v1::ServiceSnapshot::Aggregate& aggregate) {
  if (aggregate.aggregate() == InstanceAggregate::kName) {
    const auto& state = load_shell<v1::InstanceSnapshot>(instances_, aggregate);
    registry_.set_instance(state);
    if (!is_at_rest(state, left_)) restless_.insert(aggregate.uuid());
  } else if (aggregate.aggregate() == HostAggregate::kName) {
    registry_.set_host(load_shell<v1::HostSnapshot>(hosts_, aggregate));
  } else if (aggregate.aggregate() == VersionAggregate::kName) {
    registry_.set_version(load_shell<v1::VersionSnapshot>(versions_, aggregate));
  } else if (aggregate.aggregate() == QuotaAggregate::kName) {
    registry_.set_quota(load_shell<v1::QuotaSnapshot>(quotas_, aggregate));
  } else if (aggregate.aggregate() == TokenAggregate::kName) {
    load_shell<v1::TokenSnapshot>(tokens_, aggregate);
  }
}

void ProvisionerShard::clear() {
  instances_.entries().clear();
  hosts_.entries().clear();
  versions_.entries().clear();
  tokens_.entries().clear();
  quotas_.entries().clear();
  restless_.clear();
  registry_.forget_instances();
}

void ProvisionerShard::save(v1::ServiceSnapshot* snapshot) {
  save_shell(instances_, InstanceAggregate::kName, snapshot);
  save_shell(hosts_, HostAggregate::kName, snapshot);
  save_shell(versions_, VersionAggregate::kName, snapshot);
  save_shell(tokens_, TokenAggregate::kName, snapshot);
  save_shell(quotas_, QuotaAggregate::kName, snapshot);
}

InstanceState* ProvisionerShard::state_of(const std::string& uuid) {
  auto* entry = instances_.find(uuid);
  return entry == nullptr || !entry->poison.empty() ? nullptr : &entry->state;
}

void ProvisionerShard::on_event(const eventlog::RecordedEvent& event) {
  const std::string aggregate = eventlog::aggregate_of(event.stream);
  const std::string uuid = eventlog::uuid_of(event.stream);
  if (aggregate == InstanceAggregate::kName) {
    if (instances_.apply(event)) instance_changed(uuid, event.metadata, event.recorded_at);
  } else if (aggregate == "group") {
    on_group_event(event);
  } else if (aggregate == HostAggregate::kName) {
    if (hosts_.apply(event)) registry_.set_host(hosts_.at(uuid).state);
  } else if (aggregate == VersionAggregate::kName) {
    if (versions_.apply(event)) registry_.set_version(versions_.at(uuid).state);
  } else if (aggregate == QuotaAggregate::kName) {
    if (quotas_.apply(event)) registry_.set_quota(quotas_.at(uuid).state);
  } else if (aggregate == TokenAggregate::kName) {
    tokens_.apply(event);
  }
}

void ProvisionerShard::on_group_event(const eventlog::RecordedEvent& event) {
  const std::string uuid = eventlog::uuid_of(event.stream);
  InstanceState* state = state_of(uuid);
  // A snapshot may hold more of a group than its position says.
  if (state == nullptr || event.version != static_cast<int64_t>(state->group.version) + 1) return;
  v1::GroupEvent parsed;
  if (!parsed.ParseFromString(event.payload)) {
    instances_.at(uuid).poison = "group event " + std::to_string(event.position) +
                                 " cannot be parsed";
    return;
  }
  evolve_from_group(*state, parsed, static_cast<uint64_t>(event.version),
                    event.recorded_at);
  std::optional<telemetry::Span> span;
  eventlog::Metadata cause = event.metadata;
  if (ready_ && runtime::now() - event.recorded_at < telemetry::kTraceAge) {
    span.emplace("process tl.evt.group", telemetry::SpanKind::consumer, cause.traceparent);
    telemetry::describe_message(*span, bus::event_subject("group", uuid), "process", "process");
    span->set(telemetry::kMessagingMessageId, std::to_string(event.position));
    span->set("trunkline.event", event.type);
    cause.traceparent = span->traceparent();
  }
  instance_changed(uuid, cause, event.recorded_at);
}

void ProvisionerShard::on_ready() {
  ready_ = true;
  watching_since_ = runtime::now();
}

void ProvisionerShard::instance_changed(const std::string& uuid, const eventlog::Metadata& cause,
                                         TimePoint at) {
  InstanceState* state = state_of(uuid);
  if (state == nullptr) return;
  registry_.set_instance(*state);
  causes_[uuid] = {cause.command_id, cause.correlation_id, cause.traceparent, at};
  if (is_at_rest(*state, left_)) {
    restless_.erase(uuid);
  } else {
    restless_.insert(uuid);
  }
  if (ready_) drive(uuid);
}

void ProvisionerShard::on_command(v1::Command&& command,
                                  std::shared_ptr<runtime::CommandReply> reply) {
  try {
    const v1::CommandAnswer answer = decide(command);
    reply->answer(answer);
    if (answer.has_accepted() && command.has_instance()) {
      const auto* entry = instances_.find(command.aggregate_id());
      if (entry != nullptr) {
        telemetry::Span span("react", telemetry::SpanKind::internal, command.traceparent());
        instance_changed(command.aggregate_id(),
                         {command.command_id(), command.causation_id(), command.correlation_id(),
                          command.actor(), span.traceparent()},
                         runtime::now());
      }
    }
  } catch (const eventlog::LogUnavailable& error) {
    spdlog::warn("command {} waits for the log: {}", command.command_id(), error.what());
    reply->again();
  }
}

v1::CommandAnswer ProvisionerShard::decide(const v1::Command& command) {
  switch (command.body_case()) {
    case v1::Command::kInstance: {
      const InstanceId id(command.aggregate_id());
      const auto* known = instances_.find(command.aggregate_id());
      const InstanceState none(id);
      const auto facts = registry_.facts_for(known == nullptr ? none : known->state,
                                             command.instance(),
                                             command.origin().role() == "admin", runtime::now());
      auto answer = instances_.handle(command, command.instance(), facts, true);
      const bool holds = command.instance().has_create_instance() ||
                         command.instance().has_update_instance();
      if (holds && !answer.has_accepted()) registry_.not_accepted(id);
      return answer;
    }
    case v1::Command::kHost: {
      auto answer = hosts_.handle(command, command.host(), {}, true);
      if (answer.has_accepted()) registry_.set_host(hosts_.at(command.aggregate_id()).state);
      return answer;
    }
    case v1::Command::kVersion: {
      const VersionFacts facts = registry_.facts_for(VersionId(command.aggregate_id()));
      auto answer = versions_.handle(command, command.version(), facts, true);
      if (answer.has_accepted()) registry_.set_version(versions_.at(command.aggregate_id()).state);
      return answer;
    }
    case v1::Command::kToken:
      return tokens_.handle(command, command.token(), {}, true);
    case v1::Command::kQuota: {
      auto answer = quotas_.handle(command, command.quota(), {}, true);
      if (answer.has_accepted()) registry_.set_quota(quotas_.at(command.aggregate_id()).state);
      return answer;
    }
    case v1::Command::kGroup:  // replication's
    case v1::Command::kPriceList:  // metering's
    case v1::Command::kWebhook:
    case v1::Command::BODY_NOT_SET:
      break;
  }
  v1::CommandAnswer answer = runtime::rejection_answer(
      reject(RejectionBlame::bad_value, "command_empty", "the command has no body"));
  answer.set_command_id(command.command_id());
  return answer;
}

void ProvisionerShard::drive(const std::string& uuid) {
  for (int round = 0; round < kMaxRounds; ++round) {
    const InstanceState* state = state_of(uuid);
    if (state == nullptr) return;
    bool changed = false;
    for (const Action& action : react(*state, reports_, {runtime::now(), watching_since_, left_})) {
      if (perform(uuid, action)) {
        changed = true;
        break;  // the rest was meant for the state before
      }
    }
    if (!changed) return;
  }
  spdlog::error("instance {} does not come to rest", uuid);
}

bool ProvisionerShard::perform(const std::string& uuid, const Action& action) {
  if (const auto* send = std::get_if<SendTask>(&action)) {
    v1::Task task = send->task;
    const Cause& cause = causes_[uuid];
    if (runtime::now() - cause.at < telemetry::kTraceAge) task.set_traceparent(cause.traceparent);
    this->send(send->host, std::move(task));
    return false;
  }
  if (const auto* command = std::get_if<IssueCommand>(&action)) {
    return issue(uuid, command->command, command->actor);
  }
  const auto& needs = std::get<NeedPlacement>(action).needs;
  const auto command = registry_.answer_needs(needs, runtime::now());
  if (!command) return false;
  const bool accepted = issue(uuid, *command);
  if (!accepted) registry_.release(InstanceId(uuid));
  return accepted;
}

bool ProvisionerShard::issue(const std::string& uuid, const v1::InstanceCommand& body,
                             const std::string& actor) {
  Cause& known = causes_[uuid];
  std::optional<telemetry::Span> late;
  if (runtime::now() - known.at > telemetry::kTraceAge) {
    late.emplace("react instance", telemetry::following(telemetry::SpanKind::internal,
                                                        known.traceparent,
                                                        telemetry::kTraceAge));
    late->set(telemetry::kInstanceId, uuid);
    known.traceparent = late->traceparent();
    known.at = runtime::now();
  }
  const Cause cause = known;
  v1::Command command;
  command.set_command_id(runtime::new_uuid());
  command.set_aggregate_id(uuid);
  command.set_actor(actor.empty() ? "service:provisioner" : actor);
  command.set_correlation_id(cause.correlation_id);
  command.set_causation_id(cause.command_id);
  command.set_traceparent(cause.traceparent);
  *command.mutable_instance() = body;
  v1::CommandAnswer answer;
  try {
    const auto facts = registry_.facts_for(*state_of(uuid), body, false, runtime::now());
    answer = instances_.handle(command, body, facts, false);
  } catch (const eventlog::LogUnavailable& error) {
    // Whether it was appended or not, the next fold and the next tick show what is left to do.
    spdlog::warn("instance {} waits for the log: {}", uuid, error.what());
    restless_.insert(uuid);
    return false;
  }
  if (answer.has_rejected()) {
    spdlog::warn("instance {}: {} of {}", uuid, answer.rejected().rule(),
                 runtime::oneof_name(body));
  }
  if (!answer.has_accepted()) return false;
  InstanceState* state = state_of(uuid);
  if (state == nullptr) return false;
  registry_.set_instance(*state);
  causes_[uuid].command_id = command.command_id();
  if (is_at_rest(*state, left_)) {
    restless_.erase(uuid);
  } else {
    restless_.insert(uuid);
  }
  return true;
}

void ProvisionerShard::on_report(const v1::HostReport& report, const std::vector<int>& nodes) {
  const TimePoint now = runtime::now();
  if (!reports_.take(report, nodes, now)) return;
  registry_.host_reported(report, now);
  register_host(report, now);
  std::set<std::string> seen;
  for (const int index : nodes) seen.insert(report.nodes(index).instance_id());
  for (const std::string& uuid : seen) drive(uuid);
  // Of a stream that is put aside nothing is known: its nodes are the customer's, not orphans.
  const auto find = [this](const InstanceId& id) -> std::optional<const InstanceState*> {
    const auto* entry = instances_.find(id.str());
    if (entry == nullptr) return nullptr;
    if (!entry->poison.empty()) return std::nullopt;
    return &entry->state;
  };
  const HostName host(report.host());
  obeyed_[report.host()] = report.obeyed_position();
  for (SendTask& task : orphans(report, nodes, find, {now, watching_since_},
                                registry_.orphans_to_remove(host))) {
    spdlog::warn("host {} has node {} that no instance has: it is {}", report.host(),
                 task.task.node_id(),
                 task.task.has_remove_node() ? "removed" : "stopped and kept");
    send(host, std::move(task.task));
  }
}

void ProvisionerShard::send(const HostName& host, v1::Task task) {
  constexpr seconds kSaidAgain{10};
  const int64_t position = registry_.log_position();
  task.set_log_position(position);
  const auto obeyed = obeyed_.find(host.str());
  const bool behind = obeyed != obeyed_.end() && obeyed->second > position && position > 0;
  if (!task.has_remove_node() || !behind) {
    tasks_.send(host.str(), task);
    return;
  }
  const TimePoint now = runtime::now();
  if (now - behind_said_ < kSaidAgain) return;
  behind_said_ = now;
  spdlog::error("the log ends at position {}, and host {} has obeyed one that came to {}: no node "
                "is removed there before this one has come as far",
                position, host.str(), obeyed->second);
}

// Every shard sees every report; the host's own decides.
void ProvisionerShard::register_host(const v1::HostReport& report, TimePoint now) {
  const std::string uuid = host_uuid(HostName(report.host()));
  if (!owns_(uuid)) return;
  v1::Command command;
  command.set_command_id(runtime::new_uuid());
  command.set_aggregate_id(uuid);
  command.set_actor("host:" + report.host());
  auto* body = command.mutable_host()->mutable_register_host();
  body->set_name(report.host());
  body->set_zone(report.zone());
  body->set_address(report.address());
  body->set_cpu(report.cpu());
  body->set_ram_mb(report.ram_mb());
  body->set_disk_gb(report.disk_gb());
  *body->mutable_images() = report.images();
  const auto decision = HostAggregate::decide(hosts_.at(uuid).state, command.host(), {}, now);
  if (std::holds_alternative<AlreadySo>(decision)) return;
  try {
    const auto answer = hosts_.handle(command, command.host(), {}, false);
    if (answer.has_accepted()) registry_.set_host(hosts_.at(uuid).state);
    std::string& refused = refused_hosts_[uuid];
    if (answer.has_rejected() && refused != answer.rejected().rule()) {
      spdlog::warn("host {} cannot be registered: {}", report.host(), answer.rejected().message());
    }
    refused = answer.rejected().rule();
  } catch (const eventlog::LogUnavailable& error) {
    spdlog::debug("host {} registers later: {}", report.host(), error.what());
  }
}

void ProvisionerShard::look_at_hosts() {
  const uint64_t revision = registry_.left_hosts_revision();
  if (revision == left_revision_) return;
  left_revision_ = revision;
  left_ = registry_.left_hosts();
  for (const auto& [uuid, entry] : instances_.entries()) {
    if (entry.poison.empty() && !is_at_rest(entry.state, left_)) restless_.insert(uuid);
  }
}

void ProvisionerShard::on_tick() {
  if (!ready_) return;
  look_at_hosts();
  registry_.expire_reservations(runtime::now());
  const std::set<std::string> now_restless = restless_;
  for (const std::string& uuid : now_restless) drive(uuid);
}

}  // namespace trunkline::provisioner
