// Timelines: is a node's data that of the log, and how far? A history lists where each timeline
// after the first began; the log's is that of the newest primary that was seen open. Pure.
#pragma once

#include "replication/domain/group_facts.h"
#include "replication/domain/group_state.h"

namespace trunkline::replication {

// Whether the data is the log's, or behind it: not forked from it.
bool history_fits(const GroupState& state, const NodeSeen& seen);

// On the newest open primary's own timeline, or one that began on it: it has all that this primary
// had when it was promoted, so every write that was acknowledged before its term.
bool continues_newest_primary(const GroupState& state, const NodeSeen& seen);

// Whether `next`, whose history fits, has all of the WAL that the other has in common with the log
// and with what `next` goes on with. The other's data may have forked from there: what it has
// beyond is no primary's that anybody followed, or was left out by a promotion before.
bool has_all_of(const GroupState& state, const NodeSeen& next, const NodeSeen& other);

}  // namespace trunkline::replication
