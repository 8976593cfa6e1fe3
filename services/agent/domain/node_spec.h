// What the control plane assigns to one node, as the agent keeps it. Plain values; pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/domain/lineage.h"

namespace trunkline::agent {

struct NodeSize {
  uint32_t cpu = 0;
  uint64_t ram_mb = 0;
  uint64_t disk_gb = 0;
  bool operator==(const NodeSize&) const = default;
};

struct NodeAddress {
  std::string host;
  std::string zone;
  std::string address;
  uint32_t port = 0;
  bool operator==(const NodeAddress&) const = default;
};

// The box: image, size and address of a node.
struct EnsureSpec {
  uint64_t generation = 0;
  std::string image;
  NodeSize size;
  NodeAddress address;
  bool operator==(const EnsureSpec&) const = default;
};

// fenced: holds still, whatever its data is, until another role comes.
enum class NodeRole { none, primary, standby, fenced };

// Another node of the group.
struct PeerSpec {
  std::string node_id;
  std::string host;
  std::string address;  // "": not said
  bool operator==(const PeerSpec&) const = default;
};

struct RoleSpec {
  uint64_t generation = 0;
  uint64_t term = 0;
  NodeRole role = NodeRole::none;
  std::string upstream_node_id;  // of a standby
  NodeAddress upstream;
  std::vector<std::string> standby_node_ids;  // of a primary: a slot each
  uint64_t sync_version = 0;
  std::vector<std::string> sync_candidates;
  uint32_t sync_number = 0;
  bool opened_before = false;
  std::vector<TimelineSwitch> history;  // of the group
  uint32_t patience_ms = 0;             // of one that is fenced
  uint32_t timeline = 0;                // that a promotion begins; 0: any
  std::vector<PeerSpec> peers;          // who may copy from it
  bool operator==(const RoleSpec&) const = default;
};

struct UserSpec {
  std::string id;
  std::string name;
  std::string scram_verifier;
  bool operator==(const UserSpec&) const = default;
};

struct DatabaseSpec {
  std::string id;
  std::string name;
  std::string owner_id;
  uint64_t anew = 0;  // grows when it is to be made anew, empty, after a tenant dropped it
  // As CREATE DATABASE takes them; empty: as the template.
  std::string locale = {};
  std::string encoding = {};
  std::string icu_locale = {};
  bool operator==(const DatabaseSpec&) const = default;
};

struct ObjectsSpec {
  uint64_t version = 0;
  std::vector<UserSpec> users;
  std::vector<DatabaseSpec> databases;
  std::vector<std::string> dropped_user_ids;
  std::vector<std::string> dropped_database_ids;
  bool operator==(const ObjectsSpec&) const = default;
};

// Everything that is wanted of a node, and the little that must be remembered of its past.
struct Manifest {
  std::string node_id;
  std::string instance_id;
  std::optional<EnsureSpec> ensure;
  std::optional<RoleSpec> role;
  std::optional<ObjectsSpec> objects;
  bool remove = false;
  bool quarantined = false;  // nobody knows it: stopped, and all of it is kept
  // The past.
  bool formed = false;  // a complete data directory was put in place once
  NodeRole formed_as = NodeRole::none;
  std::string unsynced_boot_id;  // boot in which the directory was made, until it is on disk
  uint64_t opened_term = 0;      // newest term in which it accepted connections in its role
  std::string confirmed_sync;    // synchronous_standby_names that was last known in force
  uint64_t fenced_term = 0;      // newest term in which it was known to hold still
  uint32_t fenced_timeline = 0;  // of its WAL then
  uint64_t promoted_term = 0;    // newest term in which its promotion was begun
  bool rewinding = false;        // its data is neither the old nor the new
  uint64_t proven_generation = 0;   // newest EnsureSpec that its server was seen to run with
  NodeSize proven_size;             // of that one
  uint64_t refused_generation = 0;  // one that it does not start with: it has proven_size again
  std::string refused_why;
  bool operator==(const Manifest&) const = default;
};

// The size whose settings the node has: the ordered one, unless its server does not start with it.
NodeSize size_in_use(const Manifest& manifest);
bool size_is_refused(const Manifest& manifest);

// True for names of images and the like: lower-case letters, digits, '.', '_' and '-', not
// starting with a dot or dash, at most 63. What comes from the bus becomes part of paths.
bool is_safe_name(const std::string& text);

// Why an assignment cannot be taken at all (a field that is missing or malformed), or "".
std::string invalid_reason(const EnsureSpec& spec);
std::string invalid_reason(const RoleSpec& spec);
std::string invalid_reason(const ObjectsSpec& spec);

}  // namespace trunkline::agent
