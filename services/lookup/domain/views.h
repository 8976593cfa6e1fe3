// What lookup knows of one aggregate: the fold of its stream (of an instance: of its own stream and
// of its group's, merged by position), from which the documents are rendered. Pure values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"

namespace trunkline::lookup {

enum class Status : uint8_t { fresh, in_progress, active, error };  // NEW, IN_PROGRESS, …
enum class NodeRole : uint8_t { none, primary, standby };

struct FailureView {
  std::string code;
  std::string message;
  auto operator<=>(const FailureView&) const = default;
};

struct NodeView {
  std::string id;
  std::string host;
  std::string zone;
  std::string address;
  uint32_t port = 0;
  NodeRole role = NodeRole::none;
  Status role_status = Status::fresh;  // as the group's events say
  bool failed = false;                 // a step failed on this node; hides role_status
  bool leaving = false;
};

struct UserView {
  std::string id;
  std::string name;
  std::string description;
  std::string scram_verifier;  // for the route; never in a document
  Status status = Status::fresh;
  FailureView failure;
  TimePoint created_at;
  TimePoint updated_at;
};

struct DatabaseView {
  std::string id;
  std::string name;
  std::string description;
  std::string owner_id;
  std::string locale;  // these three: empty, as the server's template has it
  std::string encoding;
  std::string icu_locale;
  Status status = Status::fresh;
  FailureView failure;
  TimePoint created_at;
  TimePoint updated_at;
};

enum class FailoverKind : uint8_t { failover, switchover, override_ };

// A term that began without a primary and has not one that opened yet.
struct FailoverView {
  FailoverKind kind = FailoverKind::failover;
  TimePoint since;
  std::string from;  // node id; may be empty
  std::string rule;  // of the newest decision about it, and why
  std::string why;
};

// Clients' writes have not come to an end since.
struct WritesStopped {
  TimePoint since;
  std::string why;
};

struct InstanceView {
  std::string id;
  bool created = false;
  bool deleted = false;  // its deletion has started: the API shows nothing of it any more
  std::string project_id;
  std::string name;
  std::string description;
  uint32_t cpu = 0;
  uint32_t ram_mb = 0;
  uint32_t disk_gb = 0;
  uint32_t nodes_number = 0;
  uint32_t sync_replica_number = 0;
  std::string version_id;
  Status status = Status::fresh;
  FailureView failure;
  TimePoint created_at;
  TimePoint updated_at;
  std::vector<NodeView> nodes;  // in the order of their placement
  std::vector<UserView> users;
  std::vector<DatabaseView> databases;
  uint32_t read_write_port = 0;  // of the endpoints; 0: none
  uint32_t read_only_port = 0;
  uint64_t term = 0;  // of the group
  std::optional<FailoverView> failover;
  std::optional<FailoverView> refused;  // the primary is away, and nobody may be promoted
  std::optional<WritesStopped> writes_stopped;
  // Position of the event that is being applied, and of the newest that the route reflects.
  int64_t position = 0;
  int64_t route_position = 0;
  int64_t version = 0;        // of the stream instance-<id>
  int64_t group_version = 0;  // of the stream group-<id>
};

struct VersionView {
  std::string id;
  bool created = false;
  bool deleted = false;
  std::string name;
  std::string description;
  std::string image;
  TimePoint created_at;
  TimePoint updated_at;
  int64_t version = 0;
};

enum class HostState : uint8_t { in_service, draining, lost };  // IN_SERVICE, …

struct HostView {
  std::string id;
  bool registered = false;
  std::string name;
  std::string zone;
  std::string address;
  uint32_t cpu = 0;
  uint64_t ram_mb = 0;
  uint64_t disk_gb = 0;
  std::vector<std::string> images;
  bool schedulable = true;
  HostState state = HostState::in_service;
  TimePoint created_at;
  TimePoint updated_at;
  int64_t version = 0;
};

struct TokenView {
  std::string id;
  bool created = false;
  bool revoked = false;
  std::string sha256;
  std::string project_id;
  std::string role;
  std::string name;
  int64_t expires_unix_us = 0;  // 0: never
  TimePoint created_at;
  int64_t version = 0;
};

// What a project may have; that of the nil UUID is for all that have none of their own.
struct QuotaView {
  std::string id;  // of the project
  bool is_set = false;
  uint32_t instances = 0;
  uint32_t cpu = 0;
  uint32_t ram_mb = 0;
  uint32_t disk_gb = 0;
  TimePoint created_at;
  TimePoint updated_at;
  int64_t version = 0;
};

using View = std::variant<InstanceView, VersionView, HostView, TokenView, QuotaView>;

}  // namespace trunkline::lookup
