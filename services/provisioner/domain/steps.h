// How long each step may take, and the other times and bounds of the reactor.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "provisioner/domain/instance_state.h"

namespace trunkline::provisioner {

constexpr seconds deadline_of(Step step) {
  switch (step) {
    case Step::none: return seconds(0);
    case Step::placing: return seconds(10);
    case Step::creating_nodes: return seconds(60);
    case Step::removing_nodes: return seconds(60);
    case Step::forming: return seconds(120);
  }
  return seconds(0);
}

inline constexpr std::string_view kDeadlineMissed = "deadline_missed";

// Users and databases of an open primary that its host has not applied.
inline constexpr seconds kObjectsDeadline{30};
// A host that has been silent for longer is taken for down: nothing is placed on it or sent to it.
inline constexpr seconds kReportFresh{10};
// A node that its host never listed counts as gone only if it is missing from a report that much
// younger than the removal: a task sent before it may still have been on its way.
inline constexpr seconds kRemovalGrace{1};
// A node nobody knows of is left alone for this long after the provisioner began to watch.
inline constexpr seconds kOrphanGrace{5};
// Nodes of a host that were removed meanwhile are kept, if they are more than so many and more than
// so great a part, for so long after the provisioner began to watch: the log may be the wrong one.
inline constexpr int kManyOrphans = 5;
inline constexpr int kManyOrphansPercent = 5;
inline constexpr seconds kOrphanBrake{3600};

// Tries of a host at one task before its failure counts.
inline constexpr uint32_t kFailedTries = 5;
inline constexpr uint32_t kFailedObjectTries = 3;
// Nodes of an instance that are given up for their host's failure before the instance fails.
inline constexpr uint32_t kMaxRelocations = 3;

}  // namespace trunkline::provisioner
