// Which SQL makes an instance's users and databases as ordered, from what the primary has now. The
// same plan applies a new order and puts right what a tenant changed by hand. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/domain/node_spec.h"

namespace trunkline::agent {

struct SeenRole {
  std::string name;
  bool login = true;
  bool superuser = false;
  bool create_role = false;
  bool create_db = false;
  bool replication = false;
  bool bypass_rls = false;
  bool limited = false;                            // connection limit or expiry set
  std::string verifier;                            // pg_authid.rolpassword
  std::vector<std::string> dangerous_memberships;  // pg_… roles and roles of the platform
};

struct SeenDatabase {
  std::string name;
  std::string owner;
  bool public_can_connect = false;
  bool closed = false;  // connections disallowed or limited, or marked as a template
};

enum class ObjectKind { user, database };
const char* to_text(ObjectKind kind);

// A user and a database may have the same id.
struct ObjectKey {
  ObjectKind kind = ObjectKind::user;
  std::string id;
  auto operator<=>(const ObjectKey&) const = default;
};

// What the server's own table remembers of an object that is ours.
struct ManagedRow {
  ObjectKey key;
  std::string name;
  std::string owner_id;  // of a database: whose it was made last by order; "": not known
  std::string applied;   // of a user: digest of the verifier that was set last by order, or ""
  bool seen = false;     // of a database: it was there
  uint64_t anew = 0;     // of a database: the order to make it anew that was carried out
};

struct SeenObjects {
  std::vector<SeenRole> roles;          // all but the predefined ones
  std::vector<SeenDatabase> databases;  // all but template0 and template1
  std::vector<ManagedRow> managed;
};

// Creating, renaming and dropping keep trunkline.managed in step.
enum class ObjectAction {
  create_role,      // name, verifier
  alter_role,       // name: attributes and verifier; without a verifier: attributes
  revoke_role,      // `other` from name
  rename_role,      // name -> other
  create_database,  // name, other = owner, other_id
  own_database,     // name, other = owner, other_id; was = former owner, whose objects go with it
  close_to_public,  // name
  open_database,    // name: connections allowed again
  rename_database,  // name -> other
  drop_database,    // name (may be "": only the row is left)
  drop_role,        // name (the same)
  note_user,        // remembers that `verifier` is in force
  note_database,    // remembers that it is there, and that its owner is other_id
};

struct ObjectStep {
  ObjectAction action;
  ObjectKey key;
  std::string name;
  std::string other = "";
  std::string verifier = "";
  std::string other_id = "";
  std::string was = "";
  std::string options = "";  // of CREATE DATABASE, behind its owner
  uint64_t anew = 0;
  bool drift = false;   // nobody ordered what it puts right
  std::string by = "";  // the role that did it, where only that one can have
  // Objects whose steps must not have failed; those of `key` itself are meant anyway.
  std::vector<ObjectKey> needs = {};
  bool operator==(const ObjectStep&) const = default;
};

struct ObjectFailure {
  ObjectKey key;
  std::string code;
  std::string message;
  bool operator==(const ObjectFailure&) const = default;
};

// What somebody did by SQL, or what became of code that was left (see ObjectNote on the wire).
struct ObjectNote {
  ObjectKey key;
  std::string what;
  std::string detail;
  std::vector<std::string> items = {};
  uint32_t count = 0;
  std::string database_user = "";
  std::string verifier = "";  // of password_changed
  int64_t seen_unix_us = 0;
};

struct ObjectsPlan {
  std::vector<ObjectStep> steps;        // in order
  std::vector<ObjectFailure> failures;  // what cannot be done at all
  std::vector<ObjectNote> notes;        // passwords that tenants changed
  // Who shall own each ordered database: what a dropped role leaves in it goes there and nowhere
  // else. By the database's name after all steps.
  std::map<std::string, std::string> owners;
};

// Order: databases to drop; names that others need are freed; users; databases; users to drop.
//
// A password that differs from what was ordered last and set last was changed by its user: it is
// noted, to be adopted, and left alone. A database that was there and is gone was dropped by a
// tenant: dropped_by_tenant, until it is deleted or ordered anew.
ObjectsPlan plan_objects(const ObjectsSpec& wanted, const SeenObjects& seen);

// Of a verifier, as `ManagedRow::applied` holds it.
std::string applied_digest(const std::string& verifier);

const char* to_text(ObjectAction action);

}  // namespace trunkline::agent
