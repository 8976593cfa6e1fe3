// The projection's tables (io/usage_schema.h): what a fold changed and the checkpoint in one
// transaction. A checkpoint that is not where it was left (another process, a crash of PostgreSQL)
// throws StoreMoved. Every error throws StoreUnavailable; then the store is not to be used any
// more. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "metering/domain/usage_state.h"
#include "metering/io/pg_session.h"

namespace trunkline::metering {

class StoreMoved : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct StoreCheckpoint {
  int64_t position = 0;
  std::string hash;  // of that event
  bool operator==(const StoreCheckpoint&) const = default;
};

struct StoredSnapshot {
  StoreCheckpoint at;
  std::string data;
};

struct PoisonedEvent {
  int64_t position = 0;
  std::string stream;
  std::string error;
};

class UsageStore {
 public:
  UsageStore(PgSession& session, std::string schema);

  // Looks at the tables anew. Nothing if they are not there or of another format.
  std::optional<StoreCheckpoint> checkpoint();
  std::optional<StoredSnapshot> snapshot();
  // Empty tables, in place of those that were there.
  void make(int64_t records_from_ms);
  // Takes the place of the schema `current`.
  void rename_to(const std::string& current);

  void apply(const UsageState& state, const UsageChange& change,
             const std::vector<PoisonedEvent>& poison, const StoreCheckpoint& from,
             const StoreCheckpoint& to);
  void save(const StoredSnapshot& snapshot);
  // Forgets records of windows (and closes) before `records_from_ms`; hours stay.
  void forget_before(int64_t records_from_ms);

 private:
  void make_partitions(const std::vector<UsageRecord>& records);
  void put_records(const std::vector<UsageRecord>& records);
  void put_hours(const std::vector<UsageRecord>& records);
  void put_instances(const UsageState& state, const std::set<std::string>& ids);

  PgSession& session_;
  std::string schema_;
  std::set<int64_t> days_;  // that have a partition
  bool has_staging_ = false;
  int64_t records_from_ms_ = 0;
};

}  // namespace trunkline::metering
