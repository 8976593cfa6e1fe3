#include "agent/domain/objects_plan.h"

#include <set>

#include "agent/domain/sql_text.h"
#include "base/digest.h"
#include "base/name_rules.h"

namespace trunkline::agent {
namespace {

constexpr uint32_t kFewestIterations = 4096;

// One that a client can be asked to prove: not weaker than the platform's own, nor ruinous.
bool is_adoptable(const std::string& verifier) {
  return is_scram_sha256_verifier(verifier) && scram_iterations(verifier) >= kFewestIterations;
}

ObjectKey user_key(const std::string& id) {
  return {ObjectKind::user, id};
}
ObjectKey database_key(const std::string& id) {
  return {ObjectKind::database, id};
}

// Only template0 can become a database of another form.
std::string creation_options(const DatabaseSpec& database) {
  if (database.locale.empty() && database.encoding.empty() && database.icu_locale.empty()) {
    return "";
  }
  std::string out = " template template0";
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) out += std::string(" ") + name + " " + quote_literal(value);
  };
  add("encoding", database.encoding);
  add("locale", database.locale);
  if (!database.icu_locale.empty()) out += " locale_provider icu";
  add("icu_locale", database.icu_locale);
  return out;
}

// Names while the plan goes on: steps rename, so later rows must see the new names.
class Planner {
 public:
  Planner(const ObjectsSpec& wanted, const SeenObjects& seen) : wanted_(wanted) {
    for (const auto& role : seen.roles) roles_[role.name] = role;
    for (const auto& database : seen.databases) databases_[database.name] = database;
    for (const auto& row : seen.managed) {
      (row.key.kind == ObjectKind::database ? managed_databases_ : managed_users_)[row.key.id] =
          row;
    }
  }

  ObjectsPlan run() {
    for (const auto& id : wanted_.dropped_database_ids) drop_database(id);
    for (const auto& user : wanted_.users) free_role_name(user.name, user.id);
    for (const auto& user : wanted_.users) ensure_user(user);
    for (const auto& database : wanted_.databases) free_database_name(database.name, database.id);
    for (const auto& database : wanted_.databases) ensure_database(database);
    for (const auto& id : wanted_.dropped_user_ids) drop_user(id);
    return std::move(plan_);
  }

 private:
  using Rows = std::map<std::string, ManagedRow>;  // by id

  ObjectStep& add(ObjectAction action, const ObjectKey& key, const std::string& name,
                  const std::string& other = "") {
    ObjectStep step{.action = action, .key = key, .name = name, .other = other};
    // Whoever had the name before must have been moved aside.
    const auto before = moved_aside_.find({key.kind, name});
    if (before != moved_aside_.end()) step.needs.push_back({key.kind, before->second});
    const auto target = moved_aside_.find({key.kind, other});
    if (target != moved_aside_.end() && (action == ObjectAction::rename_role ||
                                         action == ObjectAction::rename_database)) {
      step.needs.push_back({key.kind, target->second});
    }
    plan_.steps.push_back(std::move(step));
    return plan_.steps.back();
  }
  void fail(const ObjectKey& key, const std::string& code, const std::string& message) {
    plan_.failures.push_back({key, code, message});
  }

  bool is_ordered(const std::string& database_id) const {
    for (const auto& database : wanted_.databases) {
      if (database.id == database_id) return true;
    }
    return false;
  }

  void drop_database(const std::string& id) {
    const auto row = managed_databases_.find(id);
    if (row == managed_databases_.end() || is_ordered(id)) return;
    const bool there = databases_.contains(row->second.name);
    add(ObjectAction::drop_database, database_key(id), there ? row->second.name : "");
    if (there) dropped_owners_[databases_[row->second.name].owner].push_back(database_key(id));
    databases_.erase(row->second.name);
    managed_databases_.erase(row);
  }

  // Another managed object holds the name that `wanted_id` needs: it moves aside. It gets its right
  // name, or is dropped, further down.
  void free_role_name(const std::string& name, const std::string& wanted_id) {
    for (auto& [id, row] : managed_users_) {
      if (row.name != name || id == wanted_id || !roles_.contains(name)) continue;
      const std::string aside = std::string(kPlatformPrefix) + "aside_" + id;
      add(ObjectAction::rename_role, user_key(id), name, aside);
      move_role(name, aside);
      row.name = aside;
      moved_aside_[{ObjectKind::user, name}] = id;
    }
  }
  void free_database_name(const std::string& name, const std::string& wanted_id) {
    for (auto& [id, row] : managed_databases_) {
      if (row.name != name || id == wanted_id || !databases_.contains(name)) continue;
      const std::string aside = std::string(kPlatformPrefix) + "aside_" + id;
      add(ObjectAction::rename_database, database_key(id), name, aside);
      move_database(name, aside);
      row.name = aside;
      moved_aside_[{ObjectKind::database, name}] = id;
    }
  }
  void move_role(const std::string& from, const std::string& to) {
    auto node = roles_.extract(from);
    node.key() = node.mapped().name = to;
    roles_.insert(std::move(node));
    for (auto& [unused, database] : databases_) {
      if (database.owner == from) database.owner = to;
    }
    const auto dropped = dropped_owners_.extract(from);
    if (!dropped.empty()) dropped_owners_[to] = dropped.mapped();
  }
  void move_database(const std::string& from, const std::string& to) {
    auto node = databases_.extract(from);
    node.key() = node.mapped().name = to;
    databases_.insert(std::move(node));
  }

  void ensure_user(const UserSpec& user) {
    const ObjectKey key = user_key(user.id);
    const auto broken = check_object_user_name(user.name);
    if (broken && broken->rule == "name_reserved") return fail(key, broken->rule, broken->message);
    const auto row = managed_users_.find(user.id);
    if (row != managed_users_.end() && row->second.name != user.name &&
        roles_.contains(row->second.name)) {
      if (roles_.contains(user.name)) return role_taken(key);
      add(ObjectAction::rename_role, key, row->second.name, user.name);
      move_role(row->second.name, user.name);
      row->second.name = user.name;
    }
    const auto role = roles_.find(user.name);
    if (role == roles_.end()) {
      add(ObjectAction::create_role, key, user.name).verifier = user.scram_verifier;
      roles_[user.name] = SeenRole{.name = user.name};
    } else if (row == managed_users_.end()) {
      return role_taken(key);
    } else {
      put_role_right(user, role->second, row->second);
    }
    user_names_[user.id] = user.name;
    managed_users_[user.id].name = user.name;
  }
  void role_taken(const ObjectKey& key) {
    fail(key, "name_taken", "a role of this name exists that the platform does not manage");
  }

  void put_role_right(const UserSpec& user, const SeenRole& role, const ManagedRow& row) {
    const ObjectKey key = user_key(user.id);
    const bool attributes = !role.login || role.superuser || role.create_role || role.create_db ||
                            role.replication || role.bypass_rls || role.limited;
    const std::string ordered = applied_digest(user.scram_verifier);
    const bool differs = role.verifier != user.scram_verifier;
    // It was set as ordered, the order is the same, and yet it is another one.
    const bool by_sql = differs && row.applied == ordered;
    const bool adopts = by_sql && is_adoptable(role.verifier);
    if (adopts) {
      plan_.notes.push_back({.key = key, .what = "password_changed",
                             .detail = "password changed by SQL", .database_user = user.name,
                             .verifier = role.verifier});
    }
    if (attributes || (differs && !adopts)) {
      ObjectStep& step = add(ObjectAction::alter_role, key, user.name);
      if (!adopts) step.verifier = user.scram_verifier;
      step.drift = attributes || by_sql;
      if (by_sql && !attributes) step.by = user.name;
    } else if (!differs && row.applied != ordered) {
      add(ObjectAction::note_user, key, user.name).verifier = user.scram_verifier;
    }
    for (const auto& group : role.dangerous_memberships) {
      add(ObjectAction::revoke_role, key, user.name, group).drift = true;
    }
  }

  void ensure_database(const DatabaseSpec& database) {
    const ObjectKey key = database_key(database.id);
    const auto row = managed_databases_.find(database.id);
    const bool is_new = row == managed_databases_.end();
    const auto broken = check_object_database_name(database.name);
    const bool platform_name = broken && database.name.starts_with(kPlatformPrefix);
    // One that was made before the platform kept such names for itself goes on.
    if (broken && broken->rule == "name_reserved" && (is_new || !platform_name)) {
      return fail(key, broken->rule, broken->message);
    }
    const auto owner = user_names_.find(database.owner_id);
    if (owner == user_names_.end()) {
      return fail(key, "owner_missing", "the database's owner is not there");
    }
    if (!is_new && row->second.name != database.name && databases_.contains(row->second.name)) {
      if (databases_.contains(database.name)) return database_taken(key);
      add(ObjectAction::rename_database, key, row->second.name, database.name);
      move_database(row->second.name, database.name);
    }
    const auto there = databases_.find(database.name);
    if (there == databases_.end()) {
      if (!is_new && row->second.seen && row->second.anew >= database.anew) {
        return fail(key, "dropped_by_tenant",
                    "the database was dropped by SQL, by its owner " + owner->second +
                        " as far as is known; delete it, or update it with {} to have it made "
                        "anew, empty");
      }
      ObjectStep& step = add(ObjectAction::create_database, key, database.name, owner->second);
      step.other_id = database.owner_id;
      step.anew = database.anew;
      step.options = creation_options(database);
      step.needs.push_back(user_key(database.owner_id));
      databases_[database.name] = SeenDatabase{database.name, owner->second};
    } else if (is_new) {
      return database_taken(key);
    } else {
      put_database_right(database, there->second, row->second, owner->second);
    }
    plan_.owners[database.name] = owner->second;
    managed_databases_[database.id].name = database.name;
  }
  void database_taken(const ObjectKey& key) {
    fail(key, "name_taken", "a database of this name exists that the platform does not manage");
  }

  void put_database_right(const DatabaseSpec& database, const SeenDatabase& seen,
                          const ManagedRow& row, const std::string& owner) {
    const ObjectKey key = database_key(database.id);
    if (seen.closed) drifted(add(ObjectAction::open_database, key, database.name), owner);
    const bool is_ordered_so = row.owner_id == database.owner_id;
    const bool hands_over = !row.owner_id.empty() && !is_ordered_so;
    if (seen.owner != owner || hands_over) {
      ObjectStep& step = add(ObjectAction::own_database, key, database.name, owner);
      step.other_id = database.owner_id;
      step.needs.push_back(user_key(database.owner_id));
      if (is_ordered_so) drifted(step, owner);
      if (!is_ordered_so) step.was = former_owner(row, seen, owner);
    } else if (!is_ordered_so || !row.seen || row.anew < database.anew) {
      ObjectStep& step = add(ObjectAction::note_database, key, database.name);
      step.other_id = database.owner_id;
      step.anew = database.anew;
    }
    if (seen.public_can_connect) {
      drifted(add(ObjectAction::close_to_public, key, database.name), owner);
    }
  }
  static void drifted(ObjectStep& step, const std::string& by) {
    step.drift = true;
    step.by = by;
  }

  // The role of a managed user, or "".
  std::string former_owner(const ManagedRow& row, const SeenDatabase& seen,
                           const std::string& owner) const {
    std::string name;
    if (row.owner_id.empty()) {
      for (const auto& [id, user] : managed_users_) {
        if (user.name == seen.owner) name = user.name;
      }
    } else if (const auto user = managed_users_.find(row.owner_id); user != managed_users_.end()) {
      name = user->second.name;
    }
    return name == owner || !roles_.contains(name) ? "" : name;
  }

  void drop_user(const std::string& id) {
    const auto row = managed_users_.find(id);
    if (row == managed_users_.end() || user_names_.contains(id)) return;
    for (const auto& user : wanted_.users) {
      if (user.id == id) return;
    }
    const std::string name = roles_.contains(row->second.name) ? row->second.name : "";
    ObjectStep& step = add(ObjectAction::drop_role, user_key(id), name);
    step.needs.clear();
    if (name.empty()) return;
    for (const auto& [database_id, database] : managed_databases_) {
      const auto there = databases_.find(database.name);
      if (there == databases_.end()) continue;
      if (there->second.owner == name || database.owner_id == id) {
        step.needs.push_back(database_key(database_id));
      }
    }
    for (const ObjectKey& key : dropped_owners_[name]) step.needs.push_back(key);
  }

  const ObjectsSpec& wanted_;
  ObjectsPlan plan_;
  std::map<std::string, SeenRole> roles_;
  std::map<std::string, SeenDatabase> databases_;
  Rows managed_users_;
  Rows managed_databases_;
  std::map<std::string, std::string> user_names_;  // of users that are as wanted
  // By the name that was freed: the id of what had it.
  std::map<std::pair<ObjectKind, std::string>, std::string> moved_aside_;
  std::map<std::string, std::vector<ObjectKey>> dropped_owners_;  // of databases to drop
};

}  // namespace

ObjectsPlan plan_objects(const ObjectsSpec& wanted, const SeenObjects& seen) {
  return Planner(wanted, seen).run();
}

std::string applied_digest(const std::string& verifier) {
  return hex(sha256(verifier));
}

const char* to_text(ObjectKind kind) {
  return kind == ObjectKind::database ? "database" : "user";
}

const char* to_text(ObjectAction action) {
  switch (action) {
    case ObjectAction::create_role:
      return "create role";
    case ObjectAction::alter_role:
      return "alter role";
    case ObjectAction::revoke_role:
      return "revoke role";
    case ObjectAction::rename_role:
      return "rename role";
    case ObjectAction::create_database:
      return "create database";
    case ObjectAction::own_database:
      return "change owner";
    case ObjectAction::close_to_public:
      return "close to public";
    case ObjectAction::open_database:
      return "open database";
    case ObjectAction::rename_database:
      return "rename database";
    case ObjectAction::drop_database:
      return "drop database";
    case ObjectAction::drop_role:
      return "drop role";
    case ObjectAction::note_user:
      return "note user";
    case ObjectAction::note_database:
      return "note database";
  }
  return "";
}

}  // namespace trunkline::agent
