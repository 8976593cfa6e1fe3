// What metering knows after folding the log up to a position: what runs, in which size and state,
// what sources have counted, and what is not yet in a closed window. Times are Unix ms of the log's
// clock. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "metering/domain/meters.h"
#include "metering/domain/usage_piece.h"
#include "metering/domain/window_grid.h"

namespace trunkline::metering {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::min();
// What ended this long before a window that is closed is forgotten: what comes later is not billed.
inline constexpr int64_t kForgetAfterMs = int64_t{7} * 24 * 3600 * 1000;

// What runs, and since when its present rate is not yet in a piece.
struct Account {
  Amounts rate{};
  int64_t accounted_ms = kNever;
  std::vector<Piece> pieces;
  bool operator==(const Account&) const = default;
};

struct Size {
  int64_t cpu = 0;
  int64_t ram_mb = 0;
  int64_t disk_gb = 0;
  bool operator==(const Size&) const = default;
};
struct SizeVersion {
  int64_t version = 0;  // of the instance's stream, that ordered it
  Size size;
  bool operator==(const SizeVersion&) const = default;
};

struct NodeState {
  std::string id;
  std::string host;
  std::optional<int64_t> created_ms;
  std::optional<int64_t> ended_ms;
  bool is_gone = false;  // its host said its last word
  bool is_replacement = false;  // not billed: one that it is to replace still is
  uint64_t generation = 0;      // version of the instance that it has reached
  Account account;
  bool operator==(const NodeState&) const = default;
};

enum class InstanceStatus { created, in_progress, active, error };

struct InstanceState {
  std::string project_id;
  std::string name;
  InstanceStatus status = InstanceStatus::created;
  int64_t created_ms = 0;
  std::optional<int64_t> ended_ms;
  int64_t last_ms = kNever;  // of its stream
  std::vector<SizeVersion> sizes;
  std::vector<NodeState> nodes;  // by id
  std::set<std::string> gone;    // sources that said their last word of it
  Account account;
  bool operator==(const InstanceState&) const = default;
};

// transactions, wal, read, write, cpu of a node; in, out, connections, ms of an endpoint.
using Counters = std::array<uint64_t, 5>;

struct EpochCounters {
  std::string epoch;
  Counters total{};
  bool operator==(const EpochCounters&) const = default;
};
inline constexpr size_t kEpochsKept = 8;

// A node, or all endpoints of an instance, as one source counts it.
struct SourceItem {
  std::string instance_id;
  bool is_node = false;
  int64_t from_ms = 0;  // where the interval began that is not yet measured
  uint64_t used_mb = 0;
  std::vector<EpochCounters> epochs;  // newest last
  bool operator==(const SourceItem&) const = default;
};
struct SourceState {
  int64_t version = 0;
  int64_t last_ms = kNever;
  std::map<std::string, SourceItem> items;  // by node or instance
  bool operator==(const SourceState&) const = default;
};

struct UsageState {
  int64_t position = 0;
  WindowGrid grid;
  int64_t closed_until_ms = kNever;
  int64_t closed_position = 0;
  int64_t windows_version = 0;
  std::map<std::string, InstanceState> instances;
  std::unordered_map<std::string, std::string> instance_of_node;
  std::map<std::string, SourceState> sources;  // by uuid of their stream

  const InstanceState* find_instance(const std::string& id) const;
  InstanceState* find_instance(const std::string& id);
  const NodeState* find_node(const std::string& id) const;
  NodeState* find_node(const std::string& id);
  bool operator==(const UsageState&) const = default;
};

// One line of usage. `node_id` is empty where it is of the instance as a whole.
struct UsageRecord {
  std::string id;
  int64_t position = 0;  // of the close, in the log
  int32_t ordinal = 0;   // within the close: by instance, node, window
  std::string project_id;
  std::string instance_id;
  std::string node_id;
  Window window;
  int64_t closed_ms = 0;
  bool is_correction = false;
  Amounts amounts{};
  bool operator==(const UsageRecord&) const = default;
};

// What a fold changed that somebody keeps.
struct UsageChange {
  std::vector<UsageRecord> records;
  std::set<std::string> instances;  // whose name, nodes or times are others now
};

std::string windows_stream_uuid();
std::string source_uuid(const std::string& source);  // "host:<name>", "proxy:<id>"
std::string record_id(const UsageRecord& record);

}  // namespace trunkline::metering
