// What an agent says about single users and databases, that they cannot be made or what was done
// to them by SQL: few enough for a report that names every node of the host. Pure.
#pragma once

#include <vector>

#include "agent/domain/objects_plan.h"

namespace trunkline::agent {

inline constexpr size_t kFailureBytes = 200;      // of one text
inline constexpr size_t kFailuresWithText = 64;   // of one node; the others have their code only

inline constexpr size_t kMostNotes = 8;           // of one node: of passwords, and of all else

std::vector<ObjectFailure> in_bounds(std::vector<ObjectFailure> failures);

// The notes to report, from those that were and the `fresh` ones of this look. What was seen before
// `oldest_unix_us` is not reported any more. A password that is to be adopted is noted anew with
// each look; where many wait, `turn`, a random number, says which are reported.
std::vector<ObjectNote> notes_to_report(std::vector<ObjectNote> reported,
                                        const std::vector<ObjectNote>& fresh,
                                        int64_t oldest_unix_us, uint64_t turn);

}  // namespace trunkline::agent
