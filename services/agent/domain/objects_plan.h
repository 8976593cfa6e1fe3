// Which SQL makes an instance's users and databases as ordered, from what the primary has now. The
// same plan applies a new order and puts right what a tenant changed by hand. Pure.
#pragma once

#include <cstdint>
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

struct ManagedRow {
  bool is_database = false;
  std::string id;
  std::string name;
};

struct SeenObjects {
  std::vector<SeenRole> roles;          // all but the predefined ones
  std::vector<SeenDatabase> databases;  // all but template0 and template1
  std::vector<ManagedRow> managed;
};

// Creating, renaming and dropping keep trunkline.managed in step.
enum class ObjectAction {
  create_role,      // name, verifier
  alter_role,       // name: attributes and verifier
  revoke_role,      // `other` from name
  rename_role,      // name -> other
  create_database,  // name, other = owner
  own_database,     // name, other = owner
  close_to_public,  // name
  open_database,    // name: connections allowed again
  rename_database,  // name -> other
  drop_database,    // name (may be "": only the row is left)
  drop_role,        // name (the same)
};

struct ObjectStep {
  ObjectAction action;
  std::string object_id;
  std::string name;
  std::string other;
  std::string verifier;
  bool operator==(const ObjectStep&) const = default;
};

struct ObjectFailure {
  std::string object_id;
  std::string code;
  std::string message;
  bool operator==(const ObjectFailure&) const = default;
};

struct ObjectsPlan {
  std::vector<ObjectStep> steps;        // in order
  std::vector<ObjectFailure> failures;  // what cannot be done at all
};

// Order: databases to drop; names that others need are freed; users; databases; users to drop.
ObjectsPlan plan_objects(const ObjectsSpec& wanted, const SeenObjects& seen);

const char* to_text(ObjectAction action);

}  // namespace trunkline::agent
