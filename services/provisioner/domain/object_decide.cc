#include "provisioner/domain/object_decide.h"

#include <algorithm>

#include "provisioner/domain/conversions.h"
#include "provisioner/domain/instance_rules.h"

namespace trunkline::provisioner {
namespace {

using Events = std::vector<v1::InstanceEvent>;

InstanceDecision accept_one(v1::InstanceEvent event) { return accept(Events{std::move(event)}); }

template <class Objects>
bool is_name_in_use(const Objects& live, const std::string& name) {
  return std::ranges::any_of(live, [&](const auto& entry) { return entry.second.name == name; });
}

bool was_dropped(const std::vector<Tombstone>& dropped, const std::string& id) {
  return std::ranges::find(dropped, id, &Tombstone::id) != dropped.end();
}

// One id names one thing of an instance, whatever its kind.
bool is_id_in_use(const InstanceState& state, const std::string& id) {
  return state.users.contains(UserId(id)) || state.databases.contains(DatabaseId(id)) ||
         was_dropped(state.dropped_users, id) || was_dropped(state.dropped_databases, id);
}

Rejection uuid_in_use(const std::string& id) {
  return reject(RejectionBlame::conflict, "uuid_in_use", "uuid " + id + " is in use");
}
Rejection name_in_use(const char* what, const std::string& name) {
  return reject(RejectionBlame::conflict, "name_in_use",
                std::string("name: the instance has a ") + what + " " + name + " already");
}
// Nothing if there is room for one more.
std::optional<Rejection> check_room(const char* what, size_t there, size_t most) {
  if (there < most) return std::nullopt;
  return reject(RejectionBlame::conflict, std::string("too_many_") + what,
                "an instance has at most " + std::to_string(most) + " " + what + "; this one has " +
                    std::to_string(there));
}
std::optional<Rejection> check_dropped(const char* what, const std::vector<Tombstone>& dropped) {
  if (dropped.size() < kMaxDropped) return std::nullopt;
  return reject(RejectionBlame::conflict, "too_many_deletions",
                std::to_string(dropped.size()) + " deleted " + what +
                    " are not gone from the server yet: wait until they are");
}
Rejection owner_not_found(const std::string& id) {
  return reject(RejectionBlame::not_found, "owner_not_found",
                "owner: the instance has no user " + id);
}
Rejection user_not_found(const std::string& id) {
  return reject(RejectionBlame::not_found, "user_not_found", "the instance has no user " + id);
}
Rejection database_not_found(const std::string& id) {
  return reject(RejectionBlame::not_found, "database_not_found",
                "the instance has no database " + id);
}

}  // namespace

InstanceDecision create_user(const InstanceState& state, const v1::CreateUser& c) {
  if (auto b = check_uuid("uuid", c.user_id())) return *b;
  if (auto b = check_user_name(c.name())) return *b;
  if (auto b = check_description(c.description())) return *b;
  if (auto b = check_verifier(c.scram_verifier())) return *b;
  if (is_id_in_use(state, c.user_id())) return uuid_in_use(c.user_id());
  if (is_name_in_use(state.users, c.name())) return name_in_use("user", c.name());
  if (auto b = check_room("users", state.users.size(), kMaxUsers)) return *b;
  v1::InstanceEvent event;
  auto& e = *event.mutable_user_created();
  e.set_user_id(c.user_id());
  e.set_name(c.name());
  e.set_description(c.description());
  e.set_scram_verifier(c.scram_verifier());
  return accept_one(std::move(event));
}

InstanceDecision update_user(const InstanceState& state, const v1::UpdateUser& c) {
  const auto it = state.users.find(UserId(c.user_id()));
  if (it == state.users.end()) return user_not_found(c.user_id());
  const User& user = it->second;
  v1::InstanceEvent event;
  auto& e = *event.mutable_user_updated();
  e.set_user_id(c.user_id());
  if (c.has_description()) {
    if (auto b = check_description(c.description())) return *b;
    if (c.description() != user.description) e.set_description(c.description());
  }
  if (c.has_scram_verifier()) {
    if (auto b = check_verifier(c.scram_verifier())) return *b;
    if (c.scram_verifier() != user.scram_verifier) e.set_scram_verifier(c.scram_verifier());
  }
  const bool changes = e.has_description() || e.has_scram_verifier();
  if (!changes && user.status != ObjectStatus::error)
    return ignore("the user is like this already");
  return accept_one(std::move(event));
}

InstanceDecision delete_user(const InstanceState& state, const v1::DeleteUser& c) {
  const auto it = state.users.find(UserId(c.user_id()));
  if (it == state.users.end()) return user_not_found(c.user_id());
  for (const auto& [id, database] : state.databases) {
    if (database.owner != it->first) continue;
    return reject(RejectionBlame::conflict, "user_owns_databases",
                  "the user owns database " + database.name + ": delete it or change its owner");
  }
  if (auto b = check_dropped("users", state.dropped_users)) return *b;
  v1::InstanceEvent event;
  event.mutable_user_deleted()->set_user_id(c.user_id());
  event.mutable_user_deleted()->set_name(it->second.name);
  return accept_one(std::move(event));
}

InstanceDecision create_database(const InstanceState& state, const v1::CreateDatabase& c) {
  if (auto b = check_uuid("uuid", c.database_id())) return *b;
  if (auto b = check_database_name(c.name())) return *b;
  if (auto b = check_description(c.description())) return *b;
  if (!state.users.contains(UserId(c.owner_id()))) return owner_not_found(c.owner_id());
  if (is_id_in_use(state, c.database_id())) return uuid_in_use(c.database_id());
  if (is_name_in_use(state.databases, c.name())) return name_in_use("database", c.name());
  if (auto b = check_text_form(c.locale(), c.encoding(), c.icu_locale())) return *b;
  if (auto b = check_room("databases", state.databases.size(), kMaxDatabases)) return *b;
  v1::InstanceEvent event;
  auto& e = *event.mutable_database_created();
  e.set_database_id(c.database_id());
  e.set_name(c.name());
  e.set_description(c.description());
  e.set_owner_id(c.owner_id());
  e.set_locale(c.locale());
  e.set_encoding(c.encoding());
  e.set_icu_locale(c.icu_locale());
  return accept_one(std::move(event));
}

InstanceDecision update_database(const InstanceState& state, const v1::UpdateDatabase& c) {
  const auto it = state.databases.find(DatabaseId(c.database_id()));
  if (it == state.databases.end()) return database_not_found(c.database_id());
  const Database& database = it->second;
  v1::InstanceEvent event;
  auto& e = *event.mutable_database_updated();
  e.set_database_id(c.database_id());
  if (c.has_name() && c.name() != database.name) {
    if (auto b = check_database_name(c.name())) return *b;
    if (is_name_in_use(state.databases, c.name())) return name_in_use("database", c.name());
    e.set_name(c.name());
  }
  if (c.has_description()) {
    if (auto b = check_description(c.description())) return *b;
    if (c.description() != database.description) e.set_description(c.description());
  }
  if (c.has_owner_id()) {
    if (!state.users.contains(UserId(c.owner_id()))) return owner_not_found(c.owner_id());
    if (UserId(c.owner_id()) != database.owner) e.set_owner_id(c.owner_id());
  }
  const bool changes = e.has_name() || e.has_description() || e.has_owner_id();
  if (!changes && database.status != ObjectStatus::error) {
    return ignore("the database is like this already");
  }
  return accept_one(std::move(event));
}

InstanceDecision delete_database(const InstanceState& state, const v1::DeleteDatabase& c) {
  const auto it = state.databases.find(DatabaseId(c.database_id()));
  if (it == state.databases.end()) return database_not_found(c.database_id());
  if (auto b = check_dropped("databases", state.dropped_databases)) return *b;
  v1::InstanceEvent event;
  event.mutable_database_deleted()->set_database_id(c.database_id());
  event.mutable_database_deleted()->set_name(it->second.name);
  return accept_one(std::move(event));
}

// ---- what the host says --------------------------------------------------------------------

namespace {

// By kind and id. An agent of before names no kind: then it is whichever has the id.
class Failures {
 public:
  explicit Failures(const v1::RecordObjectsApplied& c) {
    for (const auto& f : c.failures()) {
      notes_[{f.kind(), f.object_id()}] = to_failure(f.failure());
    }
  }
  const FailureNote* find(v1::ObjectKind kind, const std::string& id) const {
    auto found = notes_.find({kind, id});
    if (found == notes_.end()) found = notes_.find({v1::OBJECT_KIND_UNSPECIFIED, id});
    return found == notes_.end() ? nullptr : &found->second;
  }
  // What a tenant dropped is as it will stay until somebody says what to do; all else may pass.
  bool all_settled() const {
    return std::ranges::all_of(
        notes_, [](const auto& note) { return note.second.code == kDroppedByTenant; });
  }

 private:
  std::map<std::pair<v1::ObjectKind, std::string>, FailureNote> notes_;
};

// `Failed` and `Activated` make the events of this kind of object. `paid`: of failures.
template <class Objects, class Failed, class Activated>
void status_changes(const Objects& live, v1::ObjectKind kind, uint64_t reached,
                    const Failures& failures, TimePoint& paid, TimePoint now, Events& out,
                    Failed failed, Activated activated) {
  for (const auto& [id, object] : live) {
    if (object.objects_version > reached) continue;
    const FailureNote* failure = failures.find(kind, id.str());
    if (failure == nullptr) {
      if (object.status != ObjectStatus::active) activated(out.emplace_back(), id.str());
    } else if (!object.failure || object.failure->code != failure->code) {
      const bool is_outcome = object.status == ObjectStatus::created;
      if (!is_outcome && !has_room(paid, now)) continue;
      if (!is_outcome) paid = paid_until(paid, now);
      failed(out.emplace_back(), id.str(), *failure);
    }
  }
}

}  // namespace

std::vector<v1::InstanceEvent> objects_outcome(const InstanceState& state,
                                               const v1::RecordObjectsApplied& c,
                                               TimePoint now) {
  const Failures failures(c);
  TimePoint paid = state.paid.failures;
  Events events;
  status_changes(
      state.users, v1::OBJECT_KIND_USER, c.objects_version(), failures, paid, now, events,
      [](v1::InstanceEvent& event, const std::string& id, const FailureNote& failure) {
        event.mutable_user_failed()->set_user_id(id);
        *event.mutable_user_failed()->mutable_failure() = to_proto(failure);
      },
      [](v1::InstanceEvent& event, const std::string& id) {
        event.mutable_user_activated()->set_user_id(id);
      });
  status_changes(
      state.databases, v1::OBJECT_KIND_DATABASE, c.objects_version(), failures, paid, now, events,
      [](v1::InstanceEvent& event, const std::string& id, const FailureNote& failure) {
        event.mutable_database_failed()->set_database_id(id);
        *event.mutable_database_failed()->mutable_failure() = to_proto(failure);
      },
      [](v1::InstanceEvent& event, const std::string& id) {
        event.mutable_database_activated()->set_database_id(id);
      });
  if (failures.all_settled() && c.objects_version() > state.applied_objects_version) {
    events.emplace_back().mutable_objects_applied()->set_objects_version(c.objects_version());
  }
  return events;
}

InstanceDecision record_objects_applied(const InstanceState& state,
                                        const v1::RecordObjectsApplied& c, TimePoint now) {
  if (c.objects_version() > state.objects_version) {
    return reject(RejectionBlame::bad_value, "objects_version_unknown",
                  "objects_version " + std::to_string(c.objects_version()) +
                      " is newer than the instance's " + std::to_string(state.objects_version));
  }
  if (c.objects_version() < state.applied_objects_version) {
    return ignore("a newer objects version is applied");
  }
  Events events = objects_outcome(state, c, now);
  if (events.empty()) return ignore("the outcome is known already");
  return accept(std::move(events));
}

// ---- what was done by SQL ---------------------------------------------------------------------

namespace {

// An order of the API that the host had not in force then is newer, and wins.
InstanceDecision adopt_password(const InstanceState& state, const v1::RecordObjectNote& c,
                                TimePoint now) {
  const auto it = state.users.find(UserId(c.note().object_id()));
  if (it == state.users.end()) return ignore("the user is gone");
  const User& user = it->second;
  if (c.objects_version() < user.objects_version) return ignore("a newer password is ordered");
  if (c.scram_verifier() == user.scram_verifier) return ignore("the password is known");
  if (auto b = check_verifier(c.scram_verifier())) return *b;
  if (now < user.adopted_at + kAdoptRest) return ignore("one was adopted just now");
  if (!has_room(state.paid.adoptions, now)) return ignore("many were adopted just now");
  v1::InstanceEvent event;
  event.mutable_user_updated()->set_user_id(c.note().object_id());
  event.mutable_user_updated()->set_scram_verifier(c.scram_verifier());
  event.mutable_user_updated()->set_adopted(true);
  return accept_one(std::move(event));
}

struct Noted {
  std::string name;
  TimePoint at;
};

std::optional<Noted> noted(const InstanceState& state, const v1::ObjectNote& note) {
  if (note.kind() == v1::OBJECT_KIND_DATABASE) {
    const auto it = state.databases.find(DatabaseId(note.object_id()));
    if (it == state.databases.end()) return std::nullopt;
    return Noted{it->second.name, it->second.noted_at};
  }
  const auto it = state.users.find(UserId(note.object_id()));
  if (it != state.users.end()) return Noted{it->second.name, it->second.noted_at};
  const auto gone = std::ranges::find(state.dropped_users, note.object_id(), &Tombstone::id);
  if (gone == state.dropped_users.end()) return std::nullopt;
  return Noted{gone->name, gone->noted_at};
}

}  // namespace

InstanceDecision record_object_note(const InstanceState& state, const v1::RecordObjectNote& c,
                                    TimePoint now) {
  const v1::ObjectNote& note = c.note();
  if (c.objects_version() > state.objects_version) {
    return reject(RejectionBlame::bad_value, "objects_version_unknown",
                  "objects_version " + std::to_string(c.objects_version()) +
                      " is newer than the instance's " + std::to_string(state.objects_version));
  }
  if (note.what() == kPasswordChanged) return adopt_password(state, c, now);
  const auto known = noted(state, note);
  if (!known) return ignore("the object is gone");
  // What a tenant does again and again is one event in a while.
  const bool is_drift = note.what() == kDrifted;
  const auto rest = is_drift ? kDriftRest : std::chrono::seconds(0);
  if (from_unix_us(note.seen_unix_us()) <= known->at + rest) return ignore("it is known already");
  if (!has_room(is_drift ? state.paid.drifts : state.paid.disarmed, now)) {
    return ignore("much was noted just now");
  }
  v1::InstanceEvent event;
  *event.mutable_object_noted()->mutable_note() = note;
  event.mutable_object_noted()->set_name(known->name);
  return accept_one(std::move(event));
}

}  // namespace trunkline::provisioner
