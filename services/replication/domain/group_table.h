// Who has which role: an ordered table of rows {rule, when, assign, why}; the first row whose
// `when` holds wins. A row without `assign` waits, and its `why` is the answer to "what for?".
// Pure. Each decision carries its rule and the facts that it saw into the log; one about a failover
// also for a program to decide from again (group_replay.h).
//
// The table is level-triggered: it looks at the folded log and the newest reports, assigns one
// thing, and is asked again. While a failover is under way its rows are above all others, and the
// last of them always holds.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "replication/domain/group_sight.h"
#include "trunkline/v1/group.pb.h"

namespace trunkline::replication {

struct Row {
  const char* rule;
  const char* assigns;  // what it assigns, for people: "primary", "sync set", …; "" waits
  bool (*when)(const Sight&);
  void (*assign)(const Sight&, v1::GroupDecision*);  // null: wait
  const char* why;
  std::string (*detail)(const Sight&) = nullptr;  // said after `why`, of who or how much
};
std::span<const Row> group_table();

// What to assign next: nothing while the table waits.
std::optional<v1::GroupDecision> decide_roles(const GroupState& state, const GroupFacts& facts,
                                              TimePoint now);

// The same with the row that matched and what it saw, also while it waits: for people.
struct Verdict {
  std::string rule;
  std::string why;
  std::vector<std::string> facts;
  std::optional<v1::GroupDecision> decision;
};
Verdict judge(const GroupState& state, const GroupFacts& facts, TimePoint now);
// By another table, whose last row always matches.
Verdict judge(const GroupState& state, const GroupFacts& facts, TimePoint now,
              std::span<const Row> table);

}  // namespace trunkline::replication
