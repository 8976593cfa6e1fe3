// What the provisioner knows of one instance: a fold of its own stream (instance_evolve.h), and
// beside it the few facts of its group that provisioning waits for. Values only; no thread, no I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "provisioner/domain/sql_pace.h"

namespace trunkline::provisioner {

enum class InstanceStatus {
  none,         // no event yet
  created,      // ordered, nothing placed (NEW)
  in_progress,
  active,
  error,        // `failure` says why; retried by an update, or deleted
  deleting,
  deleted,
};
std::string_view status_name(InstanceStatus status);

// What is being waited for. A function of the other fields, see step_of().
enum class Step {
  none,
  placing,         // fewer nodes than ordered
  creating_nodes,  // hosts make the boxes, or change them
  removing_nodes,  // more nodes than ordered, or hosts take boxes away
  forming,         // replication gives roles
};
std::string_view step_name(Step step);

enum class NodePhase { placed, created, removing };

enum class Membership { staying, leaving, detached };

enum class ObjectStatus { created, active, error };

struct FailureNote {
  std::string code;
  std::string message;
  bool operator==(const FailureNote&) const = default;
};

struct StepFailure {
  std::string step;
  FailureNote failure;
  NodeId node;  // empty: the instance as a whole
  bool operator==(const StepFailure&) const = default;
};

struct Size {
  uint32_t cpu = 0;
  uint32_t ram_mb = 0;
  uint32_t disk_gb = 0;
  bool operator==(const Size&) const = default;
};

struct InstanceSpec {
  ProjectId project;
  std::string name;
  std::string description;
  Size size;
  uint32_t nodes_number = 0;
  uint32_t sync_replica_number = 0;
  VersionId version;
  std::string image;
  uint32_t read_write_port = 0;  // of its endpoints; 0: none
  uint32_t read_only_port = 0;
  bool operator==(const InstanceSpec&) const = default;
};

struct Address {
  HostName host;
  std::string zone;
  std::string address;
  uint32_t port = 0;
  bool operator==(const Address&) const = default;
};

// A node that was placed and is not known to be gone.
struct Node {
  NodeId id;
  uint32_t ordinal = 0;  // of its placement within the instance, from 0; never used again
  Address address;
  NodePhase phase = NodePhase::placed;
  uint64_t ensure_generation = 0;   // instance version of the newest change of the box
  uint64_t created_generation = 0;  // the one that its host has reached; 0: none
  std::optional<FailureNote> failure;
  std::string removal_why;          // of phase removing
  TimePoint removal_started_at;
  bool is_replacement = false;      // placed beside as many as are ordered: another one is to go

  bool is_wanted() const { return phase != NodePhase::removing; }
  bool is_up_to_date() const { return created_generation >= ensure_generation; }
  bool operator==(const Node&) const = default;
};

struct User {
  UserId id;
  std::string name;
  std::string description;
  std::string scram_verifier;
  ObjectStatus status = ObjectStatus::created;
  std::optional<FailureNote> failure;
  uint64_t objects_version = 0;  // of its newest change that the database must learn of
  TimePoint noted_at;            // when what was last noted of it was seen
  TimePoint adopted_at;          // when a password of SQL was last adopted
  bool operator==(const User&) const = default;
};

// How a database sorts and stores text, for as long as it lives; empty: as the server's template.
struct TextForm {
  std::string locale;
  std::string encoding;
  std::string icu_locale;
  bool operator==(const TextForm&) const = default;
};

struct Database {
  DatabaseId id;
  std::string name;
  std::string description;
  UserId owner;
  ObjectStatus status = ObjectStatus::created;
  std::optional<FailureNote> failure;
  uint64_t objects_version = 0;
  TimePoint noted_at;
  // Of the newest order to make it anew, empty, after somebody dropped it by SQL; 0: none.
  uint64_t anew = 0;
  TextForm text;
  bool operator==(const Database&) const = default;
};

// A user or database that was deleted here and may still be there on the primary.
struct Tombstone {
  std::string id;
  std::string name;
  uint64_t objects_version = 0;
  TimePoint noted_at;
  bool operator==(const Tombstone&) const = default;
};

// From the group's stream (replication), as far as provisioning waits for it.
struct GroupView {
  struct Settled {
    std::set<NodeId> nodes;
    uint32_t sync_replica_number = 0;
    bool operator==(const Settled&) const = default;
  };
  uint64_t version = 0;        // of the group's stream
  std::map<NodeId, Membership> members;
  std::set<NodeId> streaming;  // standbys that have, and keep, what the primary writes
  uint32_t sync_replica_number = 0;
  NodeId primary;              // assigned; empty: none yet
  bool primary_open = false;
  bool ever_open = false;      // the primary holds, or may hold, what the customer wrote
  TimePoint primary_opened_at;
  std::optional<Settled> settled;
  bool deleted = false;
  bool operator==(const GroupView&) const = default;
};

struct InstanceState {
  InstanceState() = default;
  explicit InstanceState(InstanceId instance) : id(std::move(instance)) {}

  InstanceId id;
  uint64_t version = 0;  // of the stream
  InstanceStatus status = InstanceStatus::none;
  std::optional<StepFailure> failure;  // of status error, or of a deletion that is late
  InstanceSpec spec;

  std::vector<Node> nodes;      // by ordinal
  uint32_t nodes_placed = 0;    // ever: the ordinal of the next one
  uint32_t relocations = 0;     // nodes given up for a failure of their host, since work began

  std::map<UserId, User> users;              // live ones
  std::map<DatabaseId, Database> databases;  // live ones
  std::vector<Tombstone> dropped_users;
  std::vector<Tombstone> dropped_databases;
  uint64_t objects_version = 0;          // newest change of a user or database
  uint64_t applied_objects_version = 0;  // the one that the primary's host has reached
  TimePoint objects_changed_at;
  SqlPaid paid;

  Step step = Step::none;
  TimePoint step_started_at;  // the deadline counts from here; a change or retry begins it anew

  GroupView group;
  std::string writes_stopped_why;  // "": clients' writes come to an end

  bool exists() const {
    return status != InstanceStatus::none && status != InstanceStatus::deleting &&
           status != InstanceStatus::deleted;
  }
  bool operator==(const InstanceState&) const = default;
};

Node* find_node(InstanceState& state, const NodeId& id);
const Node* find_node(const InstanceState& state, const NodeId& id);
// Nodes that are placed and not being removed.
uint32_t wanted_nodes(const InstanceState& state);
bool has_removing_nodes(const InstanceState& state);
// The step that the fields other than `step` call for.
Step step_of(const InstanceState& state);
// What is to be left, see host_aggregate.h.
struct LeftHosts {
  std::set<HostName> drained;
  std::set<HostName> lost;
  std::set<HostName> open;  // take new nodes
  bool operator==(const LeftHosts&) const = default;
};
bool has_wanted_node_on(const InstanceState& state, const std::set<HostName>& hosts);
// Two of its nodes are on one host, though another host takes nodes and has none of them.
bool is_crowded(const InstanceState& state, const LeftHosts& hosts);
// The newest node, but the primary, that shares its host with another one; null: none does.
const Node* node_that_shares(const InstanceState& state);
// The number that is ordered, and one more while a node is to leave a host that is drained or that
// it shares: its replacement comes first. One at a time; not while an earlier one is still going.
uint32_t nodes_to_have(const InstanceState& state, const LeftHosts& hosts);
// The box of this node holds the instance's data: it is never given up or made anew.
bool holds_data(const InstanceState& state, const NodeId& id);
// Every wanted node is at its newest generation, there are as many as ordered and no others.
bool nodes_match_order(const InstanceState& state);
// Replication has settled exactly the wanted nodes with the ordered number of sync replicas.
bool group_matches_order(const InstanceState& state);

// The id of the node that is placed as number `ordinal`. Derived, so that the same placement
// asked for twice, by whomever, means the same node.
NodeId node_id_of(const InstanceId& instance, uint32_t ordinal);

// "" and the reasons for which writes can stop, as WritesReport has them.
bool is_writes_why(std::string_view why);

// Why a node is removed, as StartNodeRemoval carries it; any other word is the failure code of the
// host that the node is given up for.
bool is_relocation(std::string_view why);
inline constexpr std::string_view kScaledDown = "scaled_down";
inline constexpr std::string_view kHostDrained = "host_drained";
inline constexpr std::string_view kHostLost = "host_lost";
inline constexpr std::string_view kHostShared = "host_shared";
inline constexpr std::string_view kDeleted = "deleted";
inline constexpr std::string_view kPortInUse = "port_in_use";
// Of a database that somebody dropped by SQL: it stays like this until its owner says what to do.
inline constexpr std::string_view kDroppedByTenant = "dropped_by_tenant";

}  // namespace trunkline::provisioner
