// What a node has used, in counters that only grow although everything that they are read from
// begins anew at times: the server's statistics after a crash, a process's at each start, the end
// of the WAL on another timeline. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/domain/lineage.h"

namespace trunkline::agent {

// A number that its source counts from zero on. Another source is another run of it.
struct SourceCount {
  std::string source;  // "": there is none
  uint64_t value = 0;
  bool operator==(const SourceCount&) const = default;
};

struct DatabaseTransactions {
  std::string reset;  // when it began anew, as the server says
  uint64_t count = 0;
  bool operator==(const DatabaseTransactions&) const = default;
};

// What a server that answers says.
struct ServerReading {
  bool primary = false;
  uint32_t timeline = 0;
  uint64_t flush_lsn = 0;                // of a primary
  std::vector<TimelineSwitch> history;   // of `timeline`; may be empty if that is known already
  std::string bgwriter_reset;            // a crash renews both, a superuser one at a time
  std::string archiver_reset;
  std::map<uint32_t, DatabaseTransactions> databases;  // by oid
};

struct CounterReading {
  std::optional<ServerReading> server;
  SourceCount cpu_ms;
  SourceCount read_bytes;
  SourceCount write_bytes;
};

// Totals, and how far each source had come when it was read last. WAL counts from where the node's
// own reign on a timeline began or, where that is not known, from where it was first seen.
struct CounterState {
  std::string epoch;  // UUID
  uint64_t transactions = 0;
  uint64_t wal_bytes = 0;
  uint64_t cpu_ms = 0;
  uint64_t read_bytes = 0;
  uint64_t write_bytes = 0;

  bool server_seen = false;
  uint32_t wal_timeline = 0;  // written by this node up to wal_lsn; 0: none that is not settled
  uint64_t wal_lsn = 0;
  std::string bgwriter_reset;
  std::string archiver_reset;
  std::map<uint32_t, DatabaseTransactions> databases;
  SourceCount cpu_mark;
  SourceCount read_mark;
  SourceCount write_mark;
  bool operator==(const CounterState&) const = default;
};

CounterState advance(CounterState state, const CounterReading& reading);

// Whether advance() needs the history of the reading's timeline.
bool needs_history(const CounterState& state, bool primary, uint32_t timeline);

}  // namespace trunkline::agent
