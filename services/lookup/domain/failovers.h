// The failovers of an instance as people ask for them: when, why, seen from which facts, who became
// primary and how long it took. Told from the events of its group alone. Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "lookup/domain/history.h"

namespace trunkline::lookup {

// `events`: of the stream group-<instance>, all and in order. One JSON document for each
// FailoverStarted, newest first, at most `limit`:
// {term, kind, status, from_node, from_host, to_node, to_host, started_at, promoted_at, opened_at,
//  duration_ms, rule, why, facts, blocked: [{at, rule, why, facts}], promotion: {rule, why, facts},
//  lost_bytes, requested_by}. What is not known (yet) is not there. `status` is
// "UNDER_WAY", "BLOCKED", "COMPLETED", "GIVEN_UP" (a switchover, and the old primary went on:
// `promotion` says why), or "SUPERSEDED" by the failover of a later term; "REFUSED"
// where the primary of `term` is away and nobody may be promoted, "WITHDRAWN" when it is back.
std::vector<std::string> failovers_json(std::span<const HistoryEvent> events, size_t limit);

}  // namespace trunkline::lookup
