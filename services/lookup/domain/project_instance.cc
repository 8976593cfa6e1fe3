#include <algorithm>

#include "base/ids.h"
#include "lookup/domain/project_detail.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::lookup {
namespace {

using Error = std::optional<std::string>;
constexpr Error kFine = std::nullopt;

template <class Item>
Item* find(std::vector<Item>& items, const std::string& id) {
  const auto it = std::find_if(items.begin(), items.end(), [&](auto& i) { return i.id == id; });
  return it == items.end() ? nullptr : &*it;
}

template <class Item>
void erase(std::vector<Item>& items, const std::string& id) {
  std::erase_if(items, [&](const Item& item) { return item.id == id; });
}

Error canonical(const char* field, const std::string& id) {
  if (canonical_uuid(id) == id) return kFine;
  return std::string(field) + " \"" + id + "\" is no lower-case UUID";
}

FailureView failure_of(const v1::Failure& failure) { return {failure.code(), failure.message()}; }

void set_size(InstanceView& view, const v1::NodeSize& size) {
  view.cpu = size.cpu();
  view.ram_mb = size.ram_mb();
  view.disk_gb = size.disk_gb();
}

// Changes one instance view by one event of its own stream.
class Change {
 public:
  Change(InstanceView& view, TimePoint at, Touched* touched)
      : view_(view), at_(at), touched_(touched) {}

  Error on(const v1::InstanceCreated& e) {
    if (auto error = canonical("project_id", e.project_id())) return error;
    view_.created = true;
    view_.project_id = e.project_id();
    view_.name = e.name();
    view_.description = e.description();
    set_size(view_, e.size());
    view_.nodes_number = e.nodes_number();
    view_.sync_replica_number = e.sync_replica_number();
    view_.version_id = e.version_id();
    view_.read_write_port = e.read_write_port();
    view_.read_only_port = e.read_only_port();
    view_.status = Status::fresh;
    view_.created_at = at_;
    return routed();
  }
  Error on(const v1::InstanceRenamed& e) {
    if (e.has_name()) view_.name = e.name();
    if (e.has_description()) view_.description = e.description();
    return changed();
  }
  Error on(const v1::InstanceResized& e) {
    set_size(view_, e.size());
    work_again();
    return routed();
  }
  Error on(const v1::InstanceScaled& e) {
    view_.nodes_number = e.nodes_number();
    view_.sync_replica_number = e.sync_replica_number();
    work_again();
    return changed();
  }
  Error on(const v1::NodePlaced& e) {
    if (auto error = canonical("node_id", e.node_id())) return error;
    NodeView* node = find(view_.nodes, e.node_id());
    if (node == nullptr) {
      view_.nodes.push_back({.id = e.node_id()});
      node = &view_.nodes.back();
    }
    node->host = e.address().host();
    node->zone = e.address().zone();
    node->address = e.address().address();
    node->port = e.address().port();
    if (view_.status != Status::error) view_.status = Status::in_progress;
    return routed();
  }
  Error on(const v1::NodeCreated& e) {
    NodeView* node = find(view_.nodes, e.node_id());
    if (node == nullptr || !node->failed) return kFine;
    node->failed = false;
    return changed();
  }
  Error on(const v1::NodeRemovalStarted& e) {
    NodeView* node = find(view_.nodes, e.node_id());
    if (node == nullptr) return kFine;
    node->leaving = true;
    if (view_.status == Status::active) view_.status = Status::in_progress;
    return routed();
  }
  Error on(const v1::NodeRemoved& e) {
    erase(view_.nodes, e.node_id());
    return routed();
  }
  Error on(const v1::InstanceRetried&) {
    work_again();
    return changed();
  }
  Error on(const v1::InstanceActivated&) {
    view_.status = Status::active;
    view_.failure = {};
    for (NodeView& node : view_.nodes) node.failed = false;
    return changed();
  }
  Error on(const v1::InstanceFailed& e) {
    view_.status = Status::error;
    view_.failure = failure_of(e.failure());
    if (NodeView* node = find(view_.nodes, e.node_id())) node->failed = true;
    return changed();
  }
  Error on(const v1::InstanceDeletionStarted&) {
    for (const UserView& user : view_.users) touch(touched_, DocKind::user, user.id, view_.id);
    for (const DatabaseView& database : view_.databases) {
      touch(touched_, DocKind::database, database.id, view_.id);
    }
    view_.deleted = true;
    return routed();
  }
  Error on(const v1::InstanceDeleted&) {
    view_.deleted = true;
    return routed();
  }

  Error on(const v1::UserCreated& e) {
    if (auto error = canonical("user_id", e.user_id())) return error;
    erase(view_.users, e.user_id());
    view_.users.push_back({.id = e.user_id(), .name = e.name(), .description = e.description(),
                           .scram_verifier = e.scram_verifier(), .created_at = at_,
                           .updated_at = at_});
    touch(touched_, DocKind::user, e.user_id(), view_.id);
    touch_route(view_, touched_);
    return kFine;
  }
  Error on(const v1::UserUpdated& e) {
    UserView* user = changed_user(e.user_id());
    if (user == nullptr) return kFine;
    if (e.has_description()) user->description = e.description();
    if (e.has_scram_verifier()) {
      user->scram_verifier = e.scram_verifier();
      if (user->status == Status::active) user->status = Status::fresh;  // until it is applied
      touch_route(view_, touched_);
    }
    return kFine;
  }
  Error on(const v1::UserActivated& e) {
    if (UserView* user = changed_user(e.user_id())) {
      user->status = Status::active;
      user->failure = {};
    }
    return kFine;
  }
  Error on(const v1::UserFailed& e) {
    if (UserView* user = changed_user(e.user_id())) {
      user->status = Status::error;
      user->failure = failure_of(e.failure());
    }
    return kFine;
  }
  Error on(const v1::UserDeleted& e) {
    erase(view_.users, e.user_id());
    touch(touched_, DocKind::user, e.user_id(), view_.id);
    touch_route(view_, touched_);
    return kFine;
  }
  Error on(const v1::DatabaseCreated& e) {
    if (auto error = canonical("database_id", e.database_id())) return error;
    erase(view_.databases, e.database_id());
    view_.databases.push_back({.id = e.database_id(), .name = e.name(),
                               .description = e.description(), .owner_id = e.owner_id(),
                               .locale = e.locale(), .encoding = e.encoding(),
                               .icu_locale = e.icu_locale(), .created_at = at_, .updated_at = at_});
    touch(touched_, DocKind::database, e.database_id(), view_.id);
    touch_route(view_, touched_);
    return kFine;
  }
  Error on(const v1::DatabaseUpdated& e) {
    if (DatabaseView* database = changed_database(e.database_id())) {
      if (e.has_name()) {
        database->name = e.name();
        touch_route(view_, touched_);
      }
      if (e.has_description()) database->description = e.description();
      if (e.has_owner_id()) database->owner_id = e.owner_id();
      const bool waits = e.has_name() || e.has_owner_id();
      if (waits && database->status == Status::active) database->status = Status::fresh;
    }
    return kFine;
  }
  Error on(const v1::DatabaseActivated& e) {
    if (DatabaseView* database = changed_database(e.database_id())) {
      database->status = Status::active;
      database->failure = {};
    }
    return kFine;
  }
  Error on(const v1::DatabaseFailed& e) {
    if (DatabaseView* database = changed_database(e.database_id())) {
      database->status = Status::error;
      database->failure = failure_of(e.failure());
    }
    return kFine;
  }
  Error on(const v1::DatabaseDeleted& e) {
    erase(view_.databases, e.database_id());
    touch(touched_, DocKind::database, e.database_id(), view_.id);
    touch_route(view_, touched_);
    return kFine;
  }
  Error on(const v1::ObjectsApplied&) { return kFine; }
  Error on(const v1::ObjectNoted&) { return kFine; }
  Error on(const v1::WritesStopped& e) {
    view_.writes_stopped = WritesStopped{at_, e.why()};
    return changed();
  }
  Error on(const v1::WritesResumed&) {
    view_.writes_stopped.reset();
    return changed();
  }

 private:
  // The same for what the route shows too.
  Error routed() {
    touch_route(view_, touched_);
    return changed();
  }
  Error changed() {
    view_.updated_at = at_;
    touch(touched_, DocKind::instance, view_.id);
    return kFine;
  }
  // After an order on a running or failed instance; one that has no node yet stays NEW.
  void work_again() {
    if (view_.status != Status::fresh) view_.status = Status::in_progress;
    view_.failure = {};
    for (NodeView& node : view_.nodes) node.failed = false;
  }
  UserView* changed_user(const std::string& id) {
    UserView* user = find(view_.users, id);
    if (user == nullptr) return nullptr;
    user->updated_at = at_;
    touch(touched_, DocKind::user, id, view_.id);
    return user;
  }
  DatabaseView* changed_database(const std::string& id) {
    DatabaseView* database = find(view_.databases, id);
    if (database == nullptr) return nullptr;
    database->updated_at = at_;
    touch(touched_, DocKind::database, id, view_.id);
    return database;
  }

  InstanceView& view_;
  TimePoint at_;
  Touched* touched_;
};

}  // namespace

std::optional<std::string> apply(InstanceView& view, const v1::InstanceEvent& event, TimePoint at,
                                 Touched* touched) {
  using Case = v1::InstanceEvent::BodyCase;
  if (!view.created && event.body_case() != Case::kInstanceCreated) {
    return "the stream does not begin with instance_created";
  }
  if (view.created && event.body_case() == Case::kInstanceCreated) {
    return "the instance is created twice";
  }
  Change change(view, at, touched);
  switch (event.body_case()) {
    case Case::kInstanceCreated: return change.on(event.instance_created());
    case Case::kInstanceRenamed: return change.on(event.instance_renamed());
    case Case::kInstanceResized: return change.on(event.instance_resized());
    case Case::kInstanceScaled: return change.on(event.instance_scaled());
    case Case::kNodePlaced: return change.on(event.node_placed());
    case Case::kNodeCreated: return change.on(event.node_created());
    case Case::kNodeRemovalStarted: return change.on(event.node_removal_started());
    case Case::kNodeRemoved: return change.on(event.node_removed());
    case Case::kInstanceRetried: return change.on(event.instance_retried());
    case Case::kInstanceActivated: return change.on(event.instance_activated());
    case Case::kInstanceFailed: return change.on(event.instance_failed());
    case Case::kInstanceDeletionStarted: return change.on(event.instance_deletion_started());
    case Case::kInstanceDeleted: return change.on(event.instance_deleted());
    case Case::kUserCreated: return change.on(event.user_created());
    case Case::kUserUpdated: return change.on(event.user_updated());
    case Case::kUserActivated: return change.on(event.user_activated());
    case Case::kUserFailed: return change.on(event.user_failed());
    case Case::kUserDeleted: return change.on(event.user_deleted());
    case Case::kDatabaseCreated: return change.on(event.database_created());
    case Case::kDatabaseUpdated: return change.on(event.database_updated());
    case Case::kDatabaseActivated: return change.on(event.database_activated());
    case Case::kDatabaseFailed: return change.on(event.database_failed());
    case Case::kDatabaseDeleted: return change.on(event.database_deleted());
    case Case::kObjectsApplied: return change.on(event.objects_applied());
    case Case::kObjectNoted: return change.on(event.object_noted());
    case Case::kWritesStopped: return change.on(event.writes_stopped());
    case Case::kWritesResumed: return change.on(event.writes_resumed());
    case Case::BODY_NOT_SET: return "the event is empty";
  }
  return "the event is of no known type";
}

}  // namespace trunkline::lookup
