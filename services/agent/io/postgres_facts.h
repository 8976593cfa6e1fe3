// What a running node's PostgreSQL says of itself. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/io/pg_connection.h"

namespace trunkline::agent {

struct StandbyFacts {
  std::string node_id;
  std::string state;       // "streaming", "catchup", …
  std::string sync_state;  // "async", "potential", "sync", "quorum"
  uint64_t flush_lsn = 0;
  int64_t reply_unix_us = 0;
};

struct SlotFacts {
  std::string name;
  std::string node_id;
  bool lost = false;  // invalidated: it keeps no WAL any more
};

struct PostgresFacts {
  bool in_recovery = false;
  uint32_t timeline = 0;
  uint64_t flush_lsn = 0;   // primary: flushed; standby: the end of what it is known to have
  uint64_t replay_lsn = 0;  // standby
  bool wal_receiver_streaming = false;
  std::string config_mark;  // of the configuration that is in force (see postgres_settings.h)
  std::string sync_names;   // synchronous_standby_names in force
  std::vector<StandbyFacts> standbys;
  std::vector<SlotFacts> slots;  // ours
  uint32_t connections = 0;      // client backends, without the platform's own
  int64_t started_unix_us = 0;
  int32_t receiver_pid = 0;  // of the WAL receiver, whatever it does; 0: there is none
  // Of a standby: flush_lsn is all that it has; otherwise there may be more on its disk.
  bool end_known = false;
  int64_t upstream_silent_ms = -1;
  bool replay_blocked = false;  // a standby's replay waits for sessions of its own
  bool replay_paused = false;   // and it stands: the primary's settings are above its own
  uint64_t insert_lsn = 0;      // of a primary: written, and maybe not on disk
  bool wal_waited_for = false;  // somebody waits for WAL to be on disk
};

struct DatabaseSize {
  std::string database_id;
  std::string name;
  uint64_t bytes = 0;
};

// All throw PgError.
PostgresFacts read_facts(PgConnection& connection, std::chrono::milliseconds deadline);
bool read_restart_pending(PgConnection& connection);
// Of an open primary: lets the replication role answer pg_rewind, where it may not yet.
void ensure_rewind_grants(PgConnection& connection);
std::vector<DatabaseSize> read_database_sizes(PgConnection& connection);

}  // namespace trunkline::agent
