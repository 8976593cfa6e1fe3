#include "agent/domain/objects_plan.h"

#include <map>
#include <set>

namespace trunkline::agent {
namespace {

// Names while the plan goes on: steps rename, so later rows must see the new names.
class Planner {
 public:
  Planner(const ObjectsSpec& wanted, const SeenObjects& seen) : wanted_(wanted) {
    for (const auto& role : seen.roles) roles_[role.name] = role;
    for (const auto& database : seen.databases) databases_[database.name] = database;
    for (const auto& row : seen.managed) {
      (row.is_database ? managed_databases_ : managed_users_)[row.id] = row.name;
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
  void add(ObjectAction action, const std::string& id, const std::string& name,
           const std::string& other = "", const std::string& verifier = "") {
    plan_.steps.push_back({action, id, name, other, verifier});
  }
  void fail(const std::string& id, const std::string& code, const std::string& message) {
    plan_.failures.push_back({id, code, message});
  }

  void drop_database(const std::string& id) {
    const auto row = managed_databases_.find(id);
    if (row == managed_databases_.end()) return;
    for (const auto& database : wanted_.databases) {
      if (database.id == id) return;
    }
    const bool there = databases_.erase(row->second) > 0;
    add(ObjectAction::drop_database, id, there ? row->second : "");
    managed_databases_.erase(row);
  }

  // Another managed object holds the name that `wanted_id` needs: it moves aside. It gets its right
  // name, or is dropped, further down.
  void free_role_name(const std::string& name, const std::string& wanted_id) {
    for (auto& [id, held] : managed_users_) {
      if (held != name || id == wanted_id || !roles_.contains(name)) continue;
      const std::string aside = "tl_aside_" + id;
      add(ObjectAction::rename_role, id, name, aside);
      auto node = roles_.extract(name);
      node.key() = node.mapped().name = aside;
      roles_.insert(std::move(node));
      for (auto& [unused, database] : databases_) {
        if (database.owner == name) database.owner = aside;
      }
      held = aside;
    }
  }
  void free_database_name(const std::string& name, const std::string& wanted_id) {
    for (auto& [id, held] : managed_databases_) {
      if (held != name || id == wanted_id || !databases_.contains(name)) continue;
      const std::string aside = "tl_aside_" + id;
      add(ObjectAction::rename_database, id, name, aside);
      auto node = databases_.extract(name);
      node.key() = node.mapped().name = aside;
      databases_.insert(std::move(node));
      held = aside;
    }
  }

  void ensure_user(const UserSpec& user) {
    if (user.name.starts_with("pg_") || user.name.starts_with("postgres") ||
        user.name.starts_with("trunkline_")) {
      fail(user.id, "name_reserved", "a user's name must not be one of the platform's");
      return;
    }
    const auto row = managed_users_.find(user.id);
    if (row != managed_users_.end() && row->second != user.name && roles_.contains(row->second)) {
      if (roles_.contains(user.name)) {
        fail(user.id, "name_taken", "a role of this name exists that the platform does not manage");
        return;
      }
      add(ObjectAction::rename_role, user.id, row->second, user.name);
      auto node = roles_.extract(row->second);
      for (auto& [unused, database] : databases_) {
        if (database.owner == row->second) database.owner = user.name;
      }
      node.key() = node.mapped().name = user.name;
      roles_.insert(std::move(node));
      row->second = user.name;
    }
    const auto role = roles_.find(user.name);
    if (role == roles_.end()) {
      add(ObjectAction::create_role, user.id, user.name, "", user.scram_verifier);
      roles_[user.name] = SeenRole{.name = user.name};
    } else if (row == managed_users_.end()) {
      fail(user.id, "name_taken", "a role of this name exists that the platform does not manage");
      return;
    } else {
      put_role_right(user, role->second);
    }
    user_names_[user.id] = user.name;
    managed_users_[user.id] = user.name;
  }

  void put_role_right(const UserSpec& user, const SeenRole& role) {
    if (!role.login || role.superuser || role.create_role || role.create_db || role.replication ||
        role.bypass_rls || role.limited || role.verifier != user.scram_verifier) {
      add(ObjectAction::alter_role, user.id, user.name, "", user.scram_verifier);
    }
    for (const auto& group : role.dangerous_memberships) {
      add(ObjectAction::revoke_role, user.id, user.name, group);
    }
  }

  void ensure_database(const DatabaseSpec& database) {
    if (database.name == "postgres" || database.name == "template0" ||
        database.name == "template1") {
      fail(database.id, "name_reserved", "a database's name must not be one of PostgreSQL's own");
      return;
    }
    const auto owner = user_names_.find(database.owner_id);
    if (owner == user_names_.end()) {
      fail(database.id, "owner_missing", "the database's owner is not there");
      return;
    }
    const auto row = managed_databases_.find(database.id);
    if (row != managed_databases_.end() && row->second != database.name &&
        databases_.contains(row->second)) {
      if (databases_.contains(database.name)) {
        fail(database.id, "name_taken",
             "a database of this name exists that the platform does not manage");
        return;
      }
      add(ObjectAction::rename_database, database.id, row->second, database.name);
      auto node = databases_.extract(row->second);
      node.key() = node.mapped().name = database.name;
      databases_.insert(std::move(node));
    }
    const auto there = databases_.find(database.name);
    if (there == databases_.end()) {
      add(ObjectAction::create_database, database.id, database.name, owner->second);
      databases_[database.name] = SeenDatabase{database.name, owner->second};
    } else if (row == managed_databases_.end()) {
      fail(database.id, "name_taken",
           "a database of this name exists that the platform does not manage");
      return;
    } else {
      if (there->second.closed) add(ObjectAction::open_database, database.id, database.name);
      if (there->second.owner != owner->second) {
        add(ObjectAction::own_database, database.id, database.name, owner->second);
      }
      if (there->second.public_can_connect) {
        add(ObjectAction::close_to_public, database.id, database.name);
      }
    }
    managed_databases_[database.id] = database.name;
  }

  void drop_user(const std::string& id) {
    const auto row = managed_users_.find(id);
    if (row == managed_users_.end() || user_names_.contains(id)) return;
    add(ObjectAction::drop_role, id, roles_.contains(row->second) ? row->second : "");
  }

  const ObjectsSpec& wanted_;
  ObjectsPlan plan_;
  std::map<std::string, SeenRole> roles_;
  std::map<std::string, SeenDatabase> databases_;
  std::map<std::string, std::string> managed_users_;      // id -> name
  std::map<std::string, std::string> managed_databases_;  // id -> name
  std::map<std::string, std::string> user_names_;         // of users that are as wanted
};

}  // namespace

ObjectsPlan plan_objects(const ObjectsSpec& wanted, const SeenObjects& seen) {
  return Planner(wanted, seen).run();
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
  }
  return "";
}

}  // namespace trunkline::agent
