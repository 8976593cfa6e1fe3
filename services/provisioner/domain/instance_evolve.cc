#include "provisioner/domain/instance_evolve.h"

#include <algorithm>
#include <utility>

#include "provisioner/domain/conversions.h"
#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::provisioner {
namespace {

using Body = v1::InstanceEvent::BodyCase;

// Work begins: what failed before is history.
void begin_work(InstanceState& state) {
  if (!state.exists()) return;
  if (state.status != InstanceStatus::created) state.status = InstanceStatus::in_progress;
  state.failure.reset();
  state.relocations = 0;
  for (Node& node : state.nodes) node.failure.reset();
}

void on_created(InstanceState& state, const v1::InstanceCreated& e) {
  state.status = InstanceStatus::created;
  state.spec = {.project = ProjectId(e.project_id()),
                .name = e.name(),
                .description = e.description(),
                .size = to_size(e.size()),
                .nodes_number = e.nodes_number(),
                .sync_replica_number = e.sync_replica_number(),
                .version = VersionId(e.version_id()),
                .image = e.image(),
                .read_write_port = e.read_write_port(),
                .read_only_port = e.read_only_port()};
}

void on_resized(InstanceState& state, const v1::InstanceResized& e) {
  state.spec.size = to_size(e.size());
  for (Node& node : state.nodes) {
    if (node.is_wanted()) node.ensure_generation = state.version;
  }
}

// A box that is not done is asked for under a new generation, so that its host begins anew.
void on_retried(InstanceState& state) {
  for (Node& node : state.nodes) {
    if (node.is_wanted() && !node.is_up_to_date()) node.ensure_generation = state.version;
  }
}

void on_placed(InstanceState& state, const v1::NodePlaced& e) {
  if (state.status == InstanceStatus::created || state.status == InstanceStatus::active) {
    state.status = InstanceStatus::in_progress;
  }
  Node node;
  node.id = NodeId(e.node_id());
  node.ordinal = state.nodes_placed++;
  node.address = to_address(e.address());
  node.ensure_generation = state.version;
  node.is_replacement = e.is_replacement();
  state.nodes.push_back(std::move(node));
}

void on_node_created(InstanceState& state, const v1::NodeCreated& e) {
  Node* node = find_node(state, NodeId(e.node_id()));
  if (!node) return;
  node->created_generation = std::max(node->created_generation, e.generation());
  if (node->phase == NodePhase::placed) node->phase = NodePhase::created;
  if (node->is_up_to_date()) node->failure.reset();
}

void start_removal(Node& node, std::string why, TimePoint at) {
  if (node.phase == NodePhase::removing) return;
  node.phase = NodePhase::removing;
  node.removal_why = std::move(why);
  node.removal_started_at = at;
}

void on_removal_started(InstanceState& state, const v1::NodeRemovalStarted& e, TimePoint at) {
  Node* node = find_node(state, NodeId(e.node_id()));
  if (!node) return;
  start_removal(*node, e.why(), at);
  if (is_relocation(e.why())) ++state.relocations;
  // A node of a host that is lost goes from a running instance too, and another one comes.
  if (state.status == InstanceStatus::active) state.status = InstanceStatus::in_progress;
}

void on_node_removed(InstanceState& state, const v1::NodeRemoved& e) {
  std::erase_if(state.nodes, [&](const Node& node) { return node.id.str() == e.node_id(); });
}

void on_activated(InstanceState& state) {
  state.status = InstanceStatus::active;
  state.failure.reset();
  state.relocations = 0;
  for (Node& node : state.nodes) {
    node.failure.reset();
    node.is_replacement = false;
  }
}

void on_failed(InstanceState& state, const v1::InstanceFailed& e) {
  if (state.exists()) state.status = InstanceStatus::error;
  state.failure = StepFailure{e.step(), to_failure(e.failure()), NodeId(e.node_id())};
  if (Node* node = find_node(state, NodeId(e.node_id()))) node->failure = to_failure(e.failure());
}

void on_deletion_started(InstanceState& state, TimePoint at) {
  state.status = InstanceStatus::deleting;
  state.failure.reset();
  for (Node& node : state.nodes) start_removal(node, std::string(kDeleted), at);
}

void on_deleted(InstanceState& state) {
  state.status = InstanceStatus::deleted;
  state.failure.reset();
  state.nodes.clear();
  state.users.clear();
  state.databases.clear();
  state.dropped_users.clear();
  state.dropped_databases.clear();
}

// ---- users and databases -------------------------------------------------------------------

void objects_changed(InstanceState& state, TimePoint at) {
  state.objects_version = state.version;
  state.objects_changed_at = at;
}

void on_user_created(InstanceState& state, const v1::UserCreated& e, TimePoint at) {
  objects_changed(state, at);
  User user;
  user.id = UserId(e.user_id());
  user.name = e.name();
  user.description = e.description();
  user.scram_verifier = e.scram_verifier();
  user.objects_version = state.version;
  state.users[user.id] = std::move(user);
}

void on_user_updated(InstanceState& state, const v1::UserUpdated& e, TimePoint at) {
  const auto it = state.users.find(UserId(e.user_id()));
  if (it == state.users.end()) return;
  User& user = it->second;
  if (e.has_description()) user.description = e.description();
  if (e.has_scram_verifier()) user.scram_verifier = e.scram_verifier();
  if (e.has_scram_verifier() || user.status == ObjectStatus::error) {
    objects_changed(state, at);
    user.objects_version = state.version;
    if (user.status == ObjectStatus::active) user.status = ObjectStatus::created;
  }
  if (e.adopted()) {
    user.adopted_at = at;
    state.paid.adoptions = paid_until(state.paid.adoptions, at);
  }
}

void on_user_deleted(InstanceState& state, const v1::UserDeleted& e, TimePoint at) {
  objects_changed(state, at);
  state.users.erase(UserId(e.user_id()));
  state.dropped_users.push_back({e.user_id(), e.name(), state.version, {}});
}

void on_database_created(InstanceState& state, const v1::DatabaseCreated& e, TimePoint at) {
  objects_changed(state, at);
  Database database;
  database.id = DatabaseId(e.database_id());
  database.name = e.name();
  database.description = e.description();
  database.owner = UserId(e.owner_id());
  database.text = {e.locale(), e.encoding(), e.icu_locale()};
  database.objects_version = state.version;
  state.databases[database.id] = std::move(database);
}

void on_database_updated(InstanceState& state, const v1::DatabaseUpdated& e, TimePoint at) {
  const auto it = state.databases.find(DatabaseId(e.database_id()));
  if (it == state.databases.end()) return;
  Database& database = it->second;
  const bool retried = !e.has_name() && !e.has_owner_id() && !e.has_description();
  if (retried && database.failure && database.failure->code == kDroppedByTenant) {
    database.anew = state.version;
  }
  if (e.has_name()) database.name = e.name();
  if (e.has_description()) database.description = e.description();
  if (e.has_owner_id()) database.owner = UserId(e.owner_id());
  if (e.has_name() || e.has_owner_id() || database.status == ObjectStatus::error) {
    objects_changed(state, at);
    database.objects_version = state.version;
    if (database.status == ObjectStatus::active) database.status = ObjectStatus::created;
  }
}

void on_database_deleted(InstanceState& state, const v1::DatabaseDeleted& e, TimePoint at) {
  objects_changed(state, at);
  state.databases.erase(DatabaseId(e.database_id()));
  state.dropped_databases.push_back({e.database_id(), e.name(), state.version, {}});
}

template <class Objects, class Id>
void on_object_failed(InstanceState& state, Objects& objects, const Id& id, const v1::Failure& why,
                      TimePoint at) {
  const auto it = objects.find(id);
  if (it == objects.end()) return;
  if (it->second.status != ObjectStatus::created) {
    state.paid.failures = paid_until(state.paid.failures, at);
  }
  it->second.status = ObjectStatus::error;
  it->second.failure = to_failure(why);
}

template <class Objects, class Id>
void on_object_activated(Objects& objects, const Id& id) {
  const auto it = objects.find(id);
  if (it == objects.end()) return;
  it->second.status = ObjectStatus::active;
  it->second.failure.reset();
}

void on_objects_applied(InstanceState& state, const v1::ObjectsApplied& e) {
  const uint64_t reached = e.objects_version();
  state.applied_objects_version = std::max(state.applied_objects_version, reached);
  const auto is_gone = [&](const Tombstone& dropped) { return dropped.objects_version <= reached; };
  std::erase_if(state.dropped_users, is_gone);
  std::erase_if(state.dropped_databases, is_gone);
}

void on_object_noted(InstanceState& state, const v1::ObjectNoted& e, TimePoint at) {
  const v1::ObjectNote& note = e.note();
  TimePoint& paid = note.what() == kDrifted ? state.paid.drifts : state.paid.disarmed;
  paid = paid_until(paid, at);
  const TimePoint seen = from_unix_us(note.seen_unix_us());
  const auto user = state.users.find(UserId(note.object_id()));
  const auto database = state.databases.find(DatabaseId(note.object_id()));
  if (note.kind() == v1::OBJECT_KIND_USER && user != state.users.end()) {
    user->second.noted_at = seen;
  } else if (note.kind() == v1::OBJECT_KIND_DATABASE && database != state.databases.end()) {
    database->second.noted_at = seen;
  } else if (note.kind() == v1::OBJECT_KIND_USER) {
    const auto gone = std::ranges::find(state.dropped_users, note.object_id(), &Tombstone::id);
    if (gone != state.dropped_users.end()) gone->noted_at = seen;
  }
}

void apply(InstanceState& state, const v1::InstanceEvent& event, TimePoint at) {
  switch (event.body_case()) {
    case Body::kInstanceCreated: return on_created(state, event.instance_created());
    case Body::kInstanceRenamed: {
      const auto& e = event.instance_renamed();
      if (e.has_name()) state.spec.name = e.name();
      if (e.has_description()) state.spec.description = e.description();
      return;
    }
    case Body::kInstanceResized: return on_resized(state, event.instance_resized());
    case Body::kInstanceScaled:
      state.spec.nodes_number = event.instance_scaled().nodes_number();
      for (Node& node : state.nodes) node.is_replacement = false;
      state.spec.sync_replica_number = event.instance_scaled().sync_replica_number();
      return;
    case Body::kNodePlaced: return on_placed(state, event.node_placed());
    case Body::kNodeCreated: return on_node_created(state, event.node_created());
    case Body::kNodeRemovalStarted:
      return on_removal_started(state, event.node_removal_started(), at);
    case Body::kNodeRemoved: return on_node_removed(state, event.node_removed());
    case Body::kInstanceRetried: return on_retried(state);
    case Body::kInstanceActivated: return on_activated(state);
    case Body::kInstanceFailed: return on_failed(state, event.instance_failed());
    case Body::kInstanceDeletionStarted: return on_deletion_started(state, at);
    case Body::kInstanceDeleted: return on_deleted(state);
    case Body::kUserCreated: return on_user_created(state, event.user_created(), at);
    case Body::kUserUpdated: return on_user_updated(state, event.user_updated(), at);
    case Body::kUserActivated:
      return on_object_activated(state.users, UserId(event.user_activated().user_id()));
    case Body::kUserFailed:
      return on_object_failed(state, state.users, UserId(event.user_failed().user_id()),
                              event.user_failed().failure(), at);
    case Body::kUserDeleted: return on_user_deleted(state, event.user_deleted(), at);
    case Body::kDatabaseCreated: return on_database_created(state, event.database_created(), at);
    case Body::kDatabaseUpdated: return on_database_updated(state, event.database_updated(), at);
    case Body::kDatabaseActivated:
      return on_object_activated(state.databases,
                                 DatabaseId(event.database_activated().database_id()));
    case Body::kDatabaseFailed:
      return on_object_failed(state, state.databases,
                              DatabaseId(event.database_failed().database_id()),
                              event.database_failed().failure(), at);
    case Body::kDatabaseDeleted: return on_database_deleted(state, event.database_deleted(), at);
    case Body::kObjectsApplied: return on_objects_applied(state, event.objects_applied());
    case Body::kObjectNoted: return on_object_noted(state, event.object_noted(), at);
    case Body::kWritesStopped:
      state.writes_stopped_why = event.writes_stopped().why();
      state.paid.stops = paid_until(state.paid.stops, at);
      return;
    case Body::kWritesResumed: return state.writes_stopped_why.clear();
    case Body::BODY_NOT_SET: return;
  }
}

bool begins_work(Body body) {
  return body == Body::kInstanceCreated || body == Body::kInstanceResized ||
         body == Body::kInstanceScaled || body == Body::kInstanceRetried ||
         body == Body::kInstanceDeletionStarted;
}

}  // namespace

void evolve(InstanceState& state, const v1::InstanceEvent& event, TimePoint recorded_at) {
  ++state.version;
  // A running instance changes node by node, and each has the time of a step.
  const Node* made = event.has_node_created()
                         ? find_node(std::as_const(state), NodeId(event.node_created().node_id()))
                         : nullptr;
  const bool goes_on = made != nullptr && made->created_generation > 0;
  apply(state, event, recorded_at);
  const bool anew = begins_work(event.body_case());
  if (anew) begin_work(state);
  const Step step = step_of(state);
  if (step == state.step && !anew && !goes_on) return;
  state.step = step;
  state.step_started_at = recorded_at;
}

// ---- the group -----------------------------------------------------------------------------

namespace {

using GroupBody = v1::GroupEvent::BodyCase;

std::set<NodeId> staying(const std::map<NodeId, Membership>& members) {
  std::set<NodeId> out;
  for (const auto& [id, membership] : members) {
    if (membership == Membership::staying) out.insert(id);
  }
  return out;
}

void on_membership(GroupView& group, const v1::GroupMembershipChanged& e) {
  const std::set<NodeId> before = staying(group.members);
  const uint32_t sync_before = group.sync_replica_number;
  std::map<NodeId, Membership> members;
  for (const auto& member : e.members()) {
    const NodeId id(member.node_id());
    const auto known = group.members.find(id);
    const bool detached =
        known != group.members.end() && known->second == Membership::detached;
    members[id] = !member.leaving() ? Membership::staying
                  : detached        ? Membership::detached
                                    : Membership::leaving;
  }
  group.members = std::move(members);
  group.sync_replica_number = e.sync_replica_number();
  // A node that has left for good does not unsettle those that stay.
  if (staying(group.members) != before || sync_before != group.sync_replica_number) {
    group.settled.reset();
  }
}

}  // namespace

void evolve_from_group(InstanceState& state, const v1::GroupEvent& event, uint64_t version,
                       TimePoint recorded_at) {
  GroupView& group = state.group;
  if (version <= group.version) return;
  group.version = version;
  switch (event.body_case()) {
    case GroupBody::kGroupMembershipChanged:
      return on_membership(group, event.group_membership_changed());
    case GroupBody::kPrimaryAssigned:
      group.primary = NodeId(event.primary_assigned().node_id());
      group.streaming.erase(group.primary);
      group.primary_open = false;
      group.settled.reset();
      return;
    case GroupBody::kPrimaryOpened:
      group.primary = NodeId(event.primary_opened().node_id());
      group.primary_open = true;
      group.ever_open = true;
      group.primary_opened_at = recorded_at;
      return;
    case GroupBody::kFailoverStarted:
      group.primary_open = false;
      group.settled.reset();
      return;
    case GroupBody::kGroupSettled: {
      GroupView::Settled settled;
      for (const auto& id : event.group_settled().node_ids()) settled.nodes.insert(NodeId(id));
      settled.sync_replica_number = event.group_settled().sync_replica_number();
      group.settled = std::move(settled);
      return;
    }
    case GroupBody::kNodeDetached:
      group.members[NodeId(event.node_detached().node_id())] = Membership::detached;
      group.streaming.erase(NodeId(event.node_detached().node_id()));
      return;
    case GroupBody::kGroupDeleted:
      group.members.clear();
      group.streaming.clear();
      group.deleted = true;
      return;
    case GroupBody::kStandbyAssigned:
      group.streaming.erase(NodeId(event.standby_assigned().node_id()));
      return;
    case GroupBody::kStandbyStreaming:
      group.streaming.insert(NodeId(event.standby_streaming().node_id()));
      return;
    case GroupBody::kStandbyLost:
      group.streaming.erase(NodeId(event.standby_lost().node_id()));
      return;
    case GroupBody::kSyncSetAssigned:
    case GroupBody::kSyncSetApplied:
    case GroupBody::kNodeDetachStarted:
    case GroupBody::kFailoverBlocked:
    case GroupBody::BODY_NOT_SET: return;
  }
}

}  // namespace trunkline::provisioner
