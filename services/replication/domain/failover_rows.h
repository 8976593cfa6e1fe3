// The conditions and assignments of the table's rows about failover, one name a row's part; the
// rows themselves and their order are in group_table.cc. Pure.
#pragma once

#include <string>

#include "replication/domain/group_failover.h"

namespace trunkline::replication::rows {

// No failover is under way.
bool primary_is_gone(const Sight& s);
void start_failover(const Sight& s, v1::GroupDecision* d);
void start_switchover(const Sight& s, v1::GroupDecision* d);

// One is, of this kind.
bool switches_over(const Sight& s);
bool fails_over(const Sight& s);
bool is_overridden(const Sight& s);

bool switchover_ends(const Sight& s);
bool switchover_is_over_time(const Sight& s);
bool switchover_lost_its_primary(const Sight& s);
bool can_promote(const Sight& s);
bool can_promote_overridden(const Sight& s);
bool old_primary_is_all_there_is(const Sight& s);
void promote_switchover_heir(const Sight& s, v1::GroupDecision* d);
void promote_heir(const Sight& s, v1::GroupDecision* d);
void promote_old_primary(const Sight& s, v1::GroupDecision* d);

// What it waits for. The rows above do not hold; `block` records it once.
bool too_few_fenced(const Sight& s);
bool old_primary_may_serve(const Sight& s);
bool nobody_fits(const Sight& s);
bool waits_for_stop(const Sight& s);
bool overridden_too_early(const Sight& s);
void block(const Sight& s, v1::GroupDecision* d);
bool primary_is_back(const Sight& s);  // that it was away is recorded
void end_refusal(const Sight& s, v1::GroupDecision* d);

// Said after a row's `why`, stable while it waits for the same.
std::string what_was_waited_for(const Sight& s);
std::string who_is_missing(const Sight& s);
std::string who_is_not_reached(const Sight& s);
std::string who_is_not_fenced(const Sight& s);
std::string how_much_is_lost(const Sight& s);

}  // namespace trunkline::replication::rows
