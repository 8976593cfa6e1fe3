// Old decisions about failovers against the table of today: from the group as the log had it then,
// and the facts that were recorded with the decision. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "replication/domain/group_table.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {

// An event of the group's stream as the log has it.
struct LoggedEvent {
  int64_t position = 0;
  TimePoint recorded_at;
  v1::GroupEvent event;
};

enum class ReplayResult {
  same,
  different,
  not_recorded,  // the decision was made before facts were recorded with it
};

struct Ruling {
  std::string rule;
  std::string why;
  std::string assigns;  // "failover in term 2 away from node <id>", "nothing"
};

struct Replayed {
  int64_t position = 0;  // of the event that has the decision's reason
  uint64_t version = 0;
  TimePoint recorded_at;
  std::string event;  // its type, "failover_started"
  ReplayResult result = ReplayResult::not_recorded;
  Ruling then;
  Ruling now;       // empty if it was not recorded
  std::string why;  // in a sentence, what is different
};

// `stream`: from version 1 on, without holes. Its decisions about failovers, oldest first: those
// that begin one, say what it waits for, or end it. Operators' requests are decided as such.
std::vector<Replayed> replay_decisions(std::span<const LoggedEvent> stream);
// By another table, whose last row always matches.
std::vector<Replayed> replay_decisions(std::span<const LoggedEvent> stream,
                                       std::span<const Row> table);

}  // namespace trunkline::replication
