#include "provisioner/domain/instance_decide.h"

#include <algorithm>
#include <set>

#include "provisioner/domain/conversions.h"
#include "provisioner/domain/instance_rules.h"
#include "provisioner/domain/object_decide.h"
#include "provisioner/domain/steps.h"

namespace trunkline::provisioner {
namespace {

using Events = std::vector<v1::InstanceEvent>;
using Body = v1::InstanceCommand::BodyCase;

Rejection bad_value(std::string rule, std::string message) {
  return reject(RejectionBlame::bad_value, std::move(rule), std::move(message));
}
Rejection conflict(std::string rule, std::string message) {
  return reject(RejectionBlame::conflict, std::move(rule), std::move(message));
}
Rejection not_found(std::string rule, std::string message) {
  return reject(RejectionBlame::not_found, std::move(rule), std::move(message));
}

// ---- the order -----------------------------------------------------------------------------

Broken check_version(const v1::CreateInstance& c, const InstanceFacts::Version& version) {
  if (!version.exists) return not_found("version_not_found", "version: there is no such version");
  if (!version.offered) {
    return not_found("version_not_offered", "version: it is not offered any more");
  }
  if (c.image().empty() || c.image() == version.image) return std::nullopt;
  return conflict("image_differs", "version: its image is now " + version.image + ", not " +
                                       c.image() + "; send the order again");
}

InstanceDecision create_instance(const InstanceState& state, const v1::CreateInstance& c,
                                 const InstanceFacts& facts) {
  if (state.status != InstanceStatus::none) {
    return conflict("uuid_in_use", "uuid " + state.id.str() + " is in use");
  }
  if (auto b = check_uuid("uuid", state.id.str())) return *b;
  if (c.project_id().empty()) return bad_value("project_id_missing", "project_id is missing");
  if (auto b = check_name(c.name())) return *b;
  if (auto b = check_description(c.description())) return *b;
  if (auto b = check_size(to_size(c.size()))) return *b;
  if (auto b = check_nodes(c.nodes_number(), c.sync_replica_number())) return *b;
  if (auto b = check_version(c, facts.version)) return *b;
  if (facts.refusal) return *facts.refusal;
  v1::InstanceEvent event;
  auto& e = *event.mutable_instance_created();
  e.set_project_id(c.project_id());
  e.set_name(c.name());
  e.set_description(c.description());
  *e.mutable_size() = c.size();
  e.set_nodes_number(c.nodes_number());
  e.set_sync_replica_number(c.sync_replica_number());
  e.set_version_id(c.version_id());
  e.set_image(facts.version.image);
  e.set_read_write_port(facts.endpoint.read_write);
  e.set_read_only_port(facts.endpoint.read_only);
  return accept(Events{std::move(event)});
}

InstanceDecision update_instance(const InstanceState& state, const v1::UpdateInstance& c,
                                 const InstanceFacts& facts) {
  const InstanceSpec& spec = state.spec;
  const std::string name = c.has_name() ? c.name() : spec.name;
  const std::string description = c.has_description() ? c.description() : spec.description;
  const Wanted wanted = wanted_by(state, c);
  const Size& size = wanted.size;
  const uint32_t nodes = wanted.nodes_number;
  const uint32_t sync = wanted.sync_replica_number;
  if (auto b = check_name(name)) return *b;
  if (auto b = check_description(description)) return *b;
  if (auto b = check_size(size)) return *b;
  if (size.disk_gb < spec.size.disk_gb) {
    return bad_value("disk_must_not_shrink", "disk_size can only grow: it is " +
                                                 std::to_string(spec.size.disk_gb) + " GB");
  }
  if (auto b = check_nodes(nodes, sync)) return *b;
  if (facts.refusal && wants_more(state, wanted)) return *facts.refusal;

  Events events;
  if (name != spec.name || description != spec.description) {
    auto& e = *events.emplace_back().mutable_instance_renamed();
    if (name != spec.name) e.set_name(name);
    if (description != spec.description) e.set_description(description);
  }
  const bool renamed = !events.empty();
  bool begins_work = false;
  if (size != spec.size) {
    *events.emplace_back().mutable_instance_resized()->mutable_size() = to_proto(size);
    begins_work = true;
  }
  if (nodes != spec.nodes_number || sync != spec.sync_replica_number) {
    auto& e = *events.emplace_back().mutable_instance_scaled();
    e.set_nodes_number(nodes);
    e.set_sync_replica_number(sync);
    begins_work = true;
  }
  // On an instance in ERROR an update is also a retry, unless it only renames.
  if (state.status == InstanceStatus::error && (begins_work || !renamed)) {
    events.emplace_back().mutable_instance_retried();
  }
  if (events.empty()) return ignore("the instance is like this already");
  return accept(std::move(events));
}

InstanceDecision delete_instance(const InstanceState& state) {
  Events events;
  events.emplace_back().mutable_instance_deletion_started();
  if (state.nodes.empty()) events.emplace_back().mutable_instance_deleted();
  return accept(std::move(events));
}

// ---- the reactor's -------------------------------------------------------------------------

Broken check_address(const v1::NodeAddress& address) {
  if (address.host().empty() || address.address().empty()) {
    return bad_value("address_malformed", "a placed node needs a host and an address");
  }
  if (address.port() >= kFirstPort && address.port() <= kLastPort) return std::nullopt;
  return bad_value("port_out_of_range", "port must be from 5432 to 65535, not " +
                                            std::to_string(address.port()));
}

InstanceDecision place_nodes(const InstanceState& state, const v1::PlaceNodes& c,
                             const InstanceFacts& facts) {
  if (c.nodes().empty()) return bad_value("nodes_missing", "nodes must not be empty");
  if (state.status == InstanceStatus::error) return ignore("the instance waits for a retry");
  uint32_t ordinal = state.nodes_placed;
  for (const auto& node : c.nodes()) {
    if (node_id_of(state.id, ordinal++).str() != node.node_id()) return ignore("placed already");
  }
  if (wanted_nodes(state) + static_cast<uint32_t>(c.nodes_size()) >
      nodes_to_have(state, facts.left)) {
    return ignore("fewer nodes are ordered now");
  }
  std::set<InstanceFacts::HostPort> taken(facts.taken.begin(), facts.taken.end());
  for (const Node& node : state.nodes) taken.insert({node.address.host, node.address.port});
  Events events;
  uint32_t wanted = wanted_nodes(state);
  for (const auto& node : c.nodes()) {
    const v1::NodeAddress& address = node.address();
    if (auto b = check_address(address)) return *b;
    if (!taken.insert({HostName(address.host()), address.port()}).second) {
      return conflict("address_taken", "port " + std::to_string(address.port()) + " of " +
                                           address.host() + " is another node's");
    }
    auto& e = *events.emplace_back().mutable_node_placed();
    e.set_node_id(node.node_id());
    *e.mutable_address() = address;
    e.set_is_replacement(wanted++ >= state.spec.nodes_number);
  }
  return accept(std::move(events));
}

InstanceDecision record_step_failed(const InstanceState& state, const v1::RecordStepFailed& c,
                                    TimePoint now) {
  if (state.status == InstanceStatus::active) return ignore("nothing is in progress");
  if (state.failure) return ignore("a failure is recorded already");
  if (c.step() != step_name(state.step)) return ignore("the step has passed");
  if (c.failure().code() == kDeadlineMissed &&
      now < state.step_started_at + deadline_of(state.step)) {
    return ignore("the step has begun anew");
  }
  v1::InstanceEvent event;
  auto& e = *event.mutable_instance_failed();
  e.set_step(c.step());
  *e.mutable_failure() = c.failure();
  e.set_node_id(c.node_id());
  return accept(Events{std::move(event)});
}

InstanceDecision record_node_created(const InstanceState& state, const v1::RecordNodeCreated& c) {
  const Node* node = find_node(state, NodeId(c.node_id()));
  if (!node) return ignore("the node is gone");
  if (!node->is_wanted()) return ignore("the node is being removed");
  if (c.generation() > node->ensure_generation) {
    return bad_value("generation_unknown", "generation " + std::to_string(c.generation()) +
                                               " is newer than the node's " +
                                               std::to_string(node->ensure_generation));
  }
  if (c.generation() < node->ensure_generation) return ignore("a newer generation is asked for");
  if (c.generation() <= node->created_generation) return ignore("the node is created already");
  v1::InstanceEvent event;
  event.mutable_node_created()->set_node_id(c.node_id());
  event.mutable_node_created()->set_generation(c.generation());
  return accept(Events{std::move(event)});
}

InstanceDecision start_node_removal(const InstanceState& state, const v1::StartNodeRemoval& c) {
  const Node* node = find_node(state, NodeId(c.node_id()));
  if (!node) return ignore("the node is gone");
  if (!node->is_wanted()) return ignore("the node is being removed already");
  // Of a drained host: replication makes another one the primary before it detaches this one.
  if (holds_data(state, node->id) && c.why() != kHostDrained) {
    return conflict("primary_must_stay", "node " + c.node_id() + " is the primary");
  }
  if (state.status == InstanceStatus::error) return ignore("the instance waits for a retry");
  const bool makes_fewer =
      c.why() == kScaledDown || c.why() == kHostDrained || c.why() == kHostShared;
  if (makes_fewer && wanted_nodes(state) <= state.spec.nodes_number) {
    return ignore("the node is ordered again");
  }
  v1::InstanceEvent event;
  event.mutable_node_removal_started()->set_node_id(c.node_id());
  event.mutable_node_removal_started()->set_why(c.why());
  return accept(Events{std::move(event)});
}

InstanceDecision record_node_removed(const InstanceState& state, const v1::RecordNodeRemoved& c) {
  const Node* node = find_node(state, NodeId(c.node_id()));
  if (!node) return ignore("the node is gone already");
  if (node->is_wanted()) return ignore("the node is to stay");
  Events events;
  events.emplace_back().mutable_node_removed()->set_node_id(c.node_id());
  if (state.status == InstanceStatus::deleting && state.nodes.size() == 1) {
    events.emplace_back().mutable_instance_deleted();
  }
  return accept(std::move(events));
}

InstanceDecision record_group_settled(const InstanceState& state,
                                      const v1::RecordGroupSettled& c) {
  if (state.status == InstanceStatus::active) return ignore("the instance is active already");
  if (!nodes_match_order(state)) return ignore("the nodes do not match the order yet");
  if (c.sync_replica_number() != state.spec.sync_replica_number) {
    return ignore("another number of synchronous replicas is ordered now");
  }
  const std::set<std::string> settled(c.node_ids().begin(), c.node_ids().end());
  for (const Node& node : state.nodes) {
    if (!settled.contains(node.id.str())) return ignore("other nodes are ordered now");
  }
  if (settled.size() != state.nodes.size()) return ignore("other nodes are ordered now");
  v1::InstanceEvent event;
  event.mutable_instance_activated();
  return accept(Events{std::move(event)});
}

InstanceDecision record_writes(const InstanceState& state, const v1::RecordWrites& c,
                               TimePoint now) {
  if (!is_writes_why(c.why())) return bad_value("writes_why_unknown", "why is no known reason");
  if (c.why() == state.writes_stopped_why) return ignore("this is recorded already");
  v1::InstanceEvent event;
  if (c.why().empty()) {
    event.mutable_writes_resumed();
  } else {
    if (!has_room(state.paid.stops, now)) return ignore("many were recorded just now");
    event.mutable_writes_stopped()->set_why(c.why());
  }
  return accept(Events{std::move(event)});
}

Rejection instance_not_found(const InstanceState& state) {
  return not_found("instance_not_found", "there is no instance " + state.id.str());
}

}  // namespace

Wanted wanted_by(const InstanceState& state, const v1::UpdateInstance& c) {
  const InstanceSpec& spec = state.spec;
  return {.size = {.cpu = c.has_cpu() ? c.cpu() : spec.size.cpu,
                   .ram_mb = c.has_ram_mb() ? c.ram_mb() : spec.size.ram_mb,
                   .disk_gb = c.has_disk_gb() ? c.disk_gb() : spec.size.disk_gb},
          .nodes_number = c.has_nodes_number() ? c.nodes_number() : spec.nodes_number,
          .sync_replica_number =
              c.has_sync_replica_number() ? c.sync_replica_number() : spec.sync_replica_number};
}

bool wants_more(const InstanceState& state, const Wanted& wanted) {
  const Size& size = state.spec.size;
  return wanted.size.cpu > size.cpu || wanted.size.ram_mb > size.ram_mb ||
         wanted.size.disk_gb > size.disk_gb || wanted.nodes_number > state.spec.nodes_number;
}

Decision<v1::InstanceEvent> decide(const InstanceState& state, const v1::InstanceCommand& command,
                                   const InstanceFacts& facts, TimePoint now) {
  const Body body = command.body_case();
  if (body == Body::BODY_NOT_SET) return bad_value("command_empty", "the command has no body");
  if (body == Body::kCreateInstance) {
    return create_instance(state, command.create_instance(), facts);
  }
  // A deletion is finished by the reactor; to everyone else the instance is gone.
  const bool finishes_deletion =
      body == Body::kRecordNodeRemoved || body == Body::kRecordStepFailed;
  if (!state.exists() && !(state.status == InstanceStatus::deleting && finishes_deletion)) {
    return instance_not_found(state);
  }
  switch (body) {
    case Body::kCreateInstance: return create_instance(state, command.create_instance(), facts);
    case Body::kUpdateInstance: return update_instance(state, command.update_instance(), facts);
    case Body::kDeleteInstance: return delete_instance(state);
    case Body::kCreateUser: return create_user(state, command.create_user());
    case Body::kUpdateUser: return update_user(state, command.update_user());
    case Body::kDeleteUser: return delete_user(state, command.delete_user());
    case Body::kCreateDatabase: return create_database(state, command.create_database());
    case Body::kUpdateDatabase: return update_database(state, command.update_database());
    case Body::kDeleteDatabase: return delete_database(state, command.delete_database());
    case Body::kPlaceNodes: return place_nodes(state, command.place_nodes(), facts);
    case Body::kRecordStepFailed:
      return record_step_failed(state, command.record_step_failed(), now);
    case Body::kRecordNodeCreated:
      return record_node_created(state, command.record_node_created());
    case Body::kStartNodeRemoval: return start_node_removal(state, command.start_node_removal());
    case Body::kRecordNodeRemoved:
      return record_node_removed(state, command.record_node_removed());
    case Body::kRecordGroupSettled:
      return record_group_settled(state, command.record_group_settled());
    case Body::kRecordObjectsApplied:
      return record_objects_applied(state, command.record_objects_applied(), now);
    case Body::kRecordObjectNote:
      return record_object_note(state, command.record_object_note(), now);
    case Body::kRecordWrites: return record_writes(state, command.record_writes(), now);
    case Body::BODY_NOT_SET: break;
  }
  return bad_value("command_empty", "the command has no body");
}

}  // namespace trunkline::provisioner
