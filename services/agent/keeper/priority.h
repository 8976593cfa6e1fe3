// The keeper and its second must act in time on a machine that is short of memory or processors:
// their memory stays in place, and they run before everybody's ordinary processes. Where that is
// not allowed they do without. Part of the keeper: nothing here throws.
#pragma once

#include <sys/resource.h>

namespace trunkline::agent {

// Of this process and those that it will start: where memory is short the kernel takes others
// before them. False if that is not allowed, as it is to root alone.
bool spare_from_oom();

// As the process was started; its children that are no keepers have them, too.
struct OrdinaryLimits {
  rlimit memory{};
  rlimit realtime{};
};

// Lets this process take priority after it has dropped its rights. Of use as root only.
OrdinaryLimits allow_priority();

struct Priority {
  bool memory_locked = false;
  bool realtime = false;
};
// Of this process alone; neither goes to a child. A loop that never waits loses it after 2 s.
Priority take_priority();

// Of a child that is to be an ordinary process.
void restore(const OrdinaryLimits& limits);

}  // namespace trunkline::agent
