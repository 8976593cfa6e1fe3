#include "provisioner/domain/snapshot.h"

#include "provisioner/domain/conversions.h"

namespace trunkline::provisioner {
namespace {

// False if the number names no member of the enum.
template <class Enum>
bool read_enum(uint32_t number, Enum last, Enum* out) {
  if (number > static_cast<uint32_t>(last)) return false;
  *out = static_cast<Enum>(number);
  return true;
}

template <class Message>
void write_failure(const std::optional<FailureNote>& failure, Message* m) {
  if (failure) *m->mutable_failure() = to_proto(*failure);
}
template <class Message>
std::optional<FailureNote> read_failure(const Message& m) {
  if (!m.has_failure()) return std::nullopt;
  return to_failure(m.failure());
}

void write_node(const Node& node, v1::InstanceSnapshot::Node* m) {
  m->set_node_id(node.id.str());
  m->set_ordinal(node.ordinal);
  *m->mutable_address() = to_proto(node.address);
  m->set_phase(static_cast<uint32_t>(node.phase));
  m->set_ensure_generation(node.ensure_generation);
  m->set_created_generation(node.created_generation);
  write_failure(node.failure, m);
  m->set_removal_why(node.removal_why);
  m->set_removal_started_unix_us(to_unix_us(node.removal_started_at));
  m->set_is_replacement(node.is_replacement);
}

bool read_node(const v1::InstanceSnapshot::Node& m, Node* node) {
  node->id = NodeId(m.node_id());
  node->ordinal = m.ordinal();
  node->address = to_address(m.address());
  node->ensure_generation = m.ensure_generation();
  node->created_generation = m.created_generation();
  node->failure = read_failure(m);
  node->removal_why = m.removal_why();
  node->removal_started_at = from_unix_us(m.removal_started_unix_us());
  node->is_replacement = m.is_replacement();
  return read_enum(m.phase(), NodePhase::removing, &node->phase);
}

void write_objects(const InstanceState& state, v1::InstanceSnapshot* m) {
  for (const auto& [id, user] : state.users) {
    auto& out = *m->add_users();
    out.set_user_id(id.str());
    out.set_name(user.name);
    out.set_description(user.description);
    out.set_scram_verifier(user.scram_verifier);
    out.set_status(static_cast<uint32_t>(user.status));
    write_failure(user.failure, &out);
    out.set_objects_version(user.objects_version);
    out.set_noted_unix_us(to_unix_us(user.noted_at));
    out.set_adopted_unix_us(to_unix_us(user.adopted_at));
  }
  for (const auto& [id, database] : state.databases) {
    auto& out = *m->add_databases();
    out.set_database_id(id.str());
    out.set_name(database.name);
    out.set_description(database.description);
    out.set_owner_id(database.owner.str());
    out.set_status(static_cast<uint32_t>(database.status));
    write_failure(database.failure, &out);
    out.set_objects_version(database.objects_version);
    out.set_noted_unix_us(to_unix_us(database.noted_at));
    out.set_anew(database.anew);
    out.set_locale(database.text.locale);
    out.set_encoding(database.text.encoding);
    out.set_icu_locale(database.text.icu_locale);
  }
  const auto write_dropped = [](const Tombstone& dropped, v1::InstanceSnapshot::Tombstone* out) {
    out->set_id(dropped.id);
    out->set_name(dropped.name);
    out->set_objects_version(dropped.objects_version);
    out->set_noted_unix_us(to_unix_us(dropped.noted_at));
  };
  for (const auto& dropped : state.dropped_users) write_dropped(dropped, m->add_dropped_users());
  for (const auto& dropped : state.dropped_databases) {
    write_dropped(dropped, m->add_dropped_databases());
  }
  m->set_objects_version(state.objects_version);
  m->set_applied_objects_version(state.applied_objects_version);
  m->set_objects_changed_unix_us(to_unix_us(state.objects_changed_at));
  m->set_adoptions_paid_unix_us(to_unix_us(state.paid.adoptions));
  m->set_drifts_paid_unix_us(to_unix_us(state.paid.drifts));
  m->set_failures_paid_unix_us(to_unix_us(state.paid.failures));
  m->set_stops_paid_unix_us(to_unix_us(state.paid.stops));
  m->set_disarmed_paid_unix_us(to_unix_us(state.paid.disarmed));
}

Tombstone read_tombstone(const v1::InstanceSnapshot::Tombstone& in) {
  return {in.id(), in.name(), in.objects_version(), from_unix_us(in.noted_unix_us())};
}

bool read_objects(const v1::InstanceSnapshot& m, InstanceState* state) {
  for (const auto& in : m.users()) {
    User user;
    user.id = UserId(in.user_id());
    user.name = in.name();
    user.description = in.description();
    user.scram_verifier = in.scram_verifier();
    user.failure = read_failure(in);
    user.objects_version = in.objects_version();
    user.noted_at = from_unix_us(in.noted_unix_us());
    user.adopted_at = from_unix_us(in.adopted_unix_us());
    if (!read_enum(in.status(), ObjectStatus::error, &user.status)) return false;
    state->users.emplace(user.id, user);
  }
  for (const auto& in : m.databases()) {
    Database database;
    database.id = DatabaseId(in.database_id());
    database.name = in.name();
    database.description = in.description();
    database.owner = UserId(in.owner_id());
    database.failure = read_failure(in);
    database.objects_version = in.objects_version();
    database.noted_at = from_unix_us(in.noted_unix_us());
    database.anew = in.anew();
    database.text = {in.locale(), in.encoding(), in.icu_locale()};
    if (!read_enum(in.status(), ObjectStatus::error, &database.status)) return false;
    state->databases.emplace(database.id, database);
  }
  for (const auto& in : m.dropped_users()) {
    state->dropped_users.push_back(read_tombstone(in));
  }
  for (const auto& in : m.dropped_databases()) {
    state->dropped_databases.push_back(read_tombstone(in));
  }
  state->objects_version = m.objects_version();
  state->applied_objects_version = m.applied_objects_version();
  state->objects_changed_at = from_unix_us(m.objects_changed_unix_us());
  state->paid.adoptions = from_unix_us(m.adoptions_paid_unix_us());
  state->paid.drifts = from_unix_us(m.drifts_paid_unix_us());
  state->paid.failures = from_unix_us(m.failures_paid_unix_us());
  state->paid.stops = from_unix_us(m.stops_paid_unix_us());
  state->paid.disarmed = from_unix_us(m.disarmed_paid_unix_us());
  return true;
}

void write_group(const GroupView& group, v1::InstanceSnapshot::Group* m) {
  m->set_version(group.version);
  for (const auto& [id, membership] : group.members) {
    auto& member = *m->add_members();
    member.set_node_id(id.str());
    member.set_membership(static_cast<uint32_t>(membership));
  }
  m->set_sync_replica_number(group.sync_replica_number);
  m->set_primary_id(group.primary.str());
  m->set_primary_open(group.primary_open);
  m->set_ever_open(group.ever_open);
  m->set_primary_opened_unix_us(to_unix_us(group.primary_opened_at));
  if (group.settled) {
    for (const NodeId& id : group.settled->nodes) m->mutable_settled()->add_node_ids(id.str());
    m->mutable_settled()->set_sync_replica_number(group.settled->sync_replica_number);
  }
  m->set_deleted(group.deleted);
  for (const NodeId& id : group.streaming) m->add_streaming_ids(id.str());
}

bool read_group(const v1::InstanceSnapshot::Group& m, GroupView* group) {
  group->version = m.version();
  for (const auto& in : m.members()) {
    Membership membership;
    if (!read_enum(in.membership(), Membership::detached, &membership)) return false;
    group->members[NodeId(in.node_id())] = membership;
  }
  group->sync_replica_number = m.sync_replica_number();
  group->primary = NodeId(m.primary_id());
  group->primary_open = m.primary_open();
  group->ever_open = m.ever_open();
  group->primary_opened_at = from_unix_us(m.primary_opened_unix_us());
  if (m.has_settled()) {
    group->settled.emplace();
    for (const auto& id : m.settled().node_ids()) group->settled->nodes.insert(NodeId(id));
    group->settled->sync_replica_number = m.settled().sync_replica_number();
  }
  group->deleted = m.deleted();
  for (const auto& id : m.streaming_ids()) group->streaming.insert(NodeId(id));
  return true;
}

}  // namespace

v1::InstanceSnapshot to_snapshot(const InstanceState& state) {
  v1::InstanceSnapshot m;
  m.set_instance_id(state.id.str());
  m.set_version(state.version);
  m.set_status(static_cast<uint32_t>(state.status));
  if (state.failure) {
    m.mutable_failure()->set_step(state.failure->step);
    *m.mutable_failure()->mutable_failure() = to_proto(state.failure->failure);
    m.mutable_failure()->set_node_id(state.failure->node.str());
  }
  m.set_project_id(state.spec.project.str());
  m.set_name(state.spec.name);
  m.set_description(state.spec.description);
  *m.mutable_size() = to_proto(state.spec.size);
  m.set_nodes_number(state.spec.nodes_number);
  m.set_sync_replica_number(state.spec.sync_replica_number);
  m.set_version_id(state.spec.version.str());
  m.set_image(state.spec.image);
  m.set_read_write_port(state.spec.read_write_port);
  m.set_read_only_port(state.spec.read_only_port);
  m.set_writes_stopped_why(state.writes_stopped_why);
  for (const Node& node : state.nodes) write_node(node, m.add_nodes());
  m.set_nodes_placed(state.nodes_placed);
  m.set_relocations(state.relocations);
  write_objects(state, &m);
  m.set_step_started_unix_us(to_unix_us(state.step_started_at));
  write_group(state.group, m.mutable_group());
  return m;
}

std::optional<InstanceState> from_snapshot(const v1::InstanceSnapshot& m) {
  InstanceState state{InstanceId(m.instance_id())};
  state.version = m.version();
  if (!read_enum(m.status(), InstanceStatus::deleted, &state.status)) return std::nullopt;
  if (m.has_failure()) {
    state.failure = StepFailure{m.failure().step(), to_failure(m.failure().failure()),
                                NodeId(m.failure().node_id())};
  }
  state.spec = {.project = ProjectId(m.project_id()),
                .name = m.name(),
                .description = m.description(),
                .size = to_size(m.size()),
                .nodes_number = m.nodes_number(),
                .sync_replica_number = m.sync_replica_number(),
                .version = VersionId(m.version_id()),
                .image = m.image(),
                .read_write_port = m.read_write_port(),
                .read_only_port = m.read_only_port()};
  for (const auto& in : m.nodes()) {
    if (!read_node(in, &state.nodes.emplace_back())) return std::nullopt;
  }
  state.nodes_placed = m.nodes_placed();
  state.writes_stopped_why = m.writes_stopped_why();
  state.relocations = m.relocations();
  if (!read_objects(m, &state)) return std::nullopt;
  state.step_started_at = from_unix_us(m.step_started_unix_us());
  if (!read_group(m.group(), &state.group)) return std::nullopt;
  state.step = step_of(state);
  return state;
}

v1::HostSnapshot to_snapshot(const HostState& state) {
  v1::HostSnapshot m;
  m.set_id(state.id);
  m.set_version(state.version);
  m.set_name(state.name.str());
  m.set_zone(state.zone);
  m.set_address(state.address);
  m.set_cpu(state.cpu);
  m.set_ram_mb(state.ram_mb);
  m.set_disk_gb(state.disk_gb);
  for (const auto& image : state.images) m.add_images(image);
  m.set_schedulable(state.schedulable);
  m.set_service(static_cast<uint32_t>(state.service));
  for (const auto& node : state.orphans_to_remove) m.add_orphans_to_remove(node);
  return m;
}

std::optional<HostState> from_snapshot(const v1::HostSnapshot& m) {
  HostState state(m.id());
  state.version = m.version();
  state.name = HostName(m.name());
  state.zone = m.zone();
  state.address = m.address();
  state.cpu = m.cpu();
  state.ram_mb = m.ram_mb();
  state.disk_gb = m.disk_gb();
  state.images = {m.images().begin(), m.images().end()};
  state.schedulable = m.schedulable();
  state.orphans_to_remove = {m.orphans_to_remove().begin(), m.orphans_to_remove().end()};
  if (!read_enum(m.service(), HostService::lost, &state.service)) return std::nullopt;
  return state;
}

v1::VersionSnapshot to_snapshot(const VersionState& state) {
  v1::VersionSnapshot m;
  m.set_id(state.id.str());
  m.set_version(state.version);
  m.set_created(state.created);
  m.set_deleted(state.deleted);
  m.set_name(state.name);
  m.set_description(state.description);
  m.set_image(state.image);
  return m;
}

std::optional<VersionState> from_snapshot(const v1::VersionSnapshot& m) {
  VersionState state{VersionId(m.id())};
  state.version = m.version();
  state.created = m.created();
  state.deleted = m.deleted();
  state.name = m.name();
  state.description = m.description();
  state.image = m.image();
  return state;
}

v1::TokenSnapshot to_snapshot(const TokenState& state) {
  v1::TokenSnapshot m;
  m.set_id(state.id);
  m.set_version(state.version);
  m.set_created(state.created);
  m.set_revoked(state.revoked);
  m.set_sha256(state.sha256);
  m.set_project_id(state.project_id);
  m.set_role(state.role);
  m.set_name(state.name);
  m.set_expires_unix_us(state.expires_at ? to_unix_us(*state.expires_at) : 0);
  return m;
}

std::optional<TokenState> from_snapshot(const v1::TokenSnapshot& m) {
  TokenState state(m.id());
  state.version = m.version();
  state.created = m.created();
  state.revoked = m.revoked();
  state.sha256 = m.sha256();
  state.project_id = m.project_id();
  state.role = m.role();
  state.name = m.name();
  if (m.expires_unix_us() != 0) state.expires_at = from_unix_us(m.expires_unix_us());
  return state;
}

v1::QuotaSnapshot to_snapshot(const QuotaState& state) {
  v1::QuotaSnapshot m;
  m.set_id(state.id);
  m.set_version(state.version);
  m.set_is_set(state.is_set);
  m.set_instances(state.quota.instances);
  m.set_cpu(state.quota.cpu);
  m.set_ram_mb(state.quota.ram_mb);
  m.set_disk_gb(state.quota.disk_gb);
  return m;
}

std::optional<QuotaState> from_snapshot(const v1::QuotaSnapshot& m) {
  QuotaState state(m.id());
  state.version = m.version();
  state.is_set = m.is_set();
  state.quota = {.instances = m.instances(), .cpu = m.cpu(), .ram_mb = m.ram_mb(),
                 .disk_gb = m.disk_gb()};
  return state;
}

}  // namespace trunkline::provisioner
