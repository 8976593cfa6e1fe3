#include "agent/keeper/priority.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace trunkline::agent {
namespace {

// A keeper is about 3 MB.
constexpr rlim_t kMemory = 64 << 20;
constexpr int kLevel = 1;  // the lowest
constexpr rlim_t kMostMicroseconds = 2'000'000;

void be_ordinary(int) {
  const sched_param none{};
  ::sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none);
}

void raise(int resource, rlim_t to) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return;
  limit.rlim_cur = std::max(limit.rlim_cur, to);
  limit.rlim_max = std::max(limit.rlim_max, to);
  ::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

}  // namespace

bool spare_from_oom() {
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool is_spared = ::write(fd, "-900", 4) == 4;
  ::close(fd);
  return is_spared;
}

OrdinaryLimits allow_priority() {
  OrdinaryLimits before;
  ::getrlimit(RLIMIT_MEMLOCK, &before.memory);
  ::getrlimit(RLIMIT_RTPRIO, &before.realtime);
  raise(RLIMIT_MEMLOCK, kMemory);
  raise(RLIMIT_RTPRIO, kLevel);
  return before;
}

Priority take_priority() {
  Priority out;
#ifndef __SANITIZE_ADDRESS__
  out.memory_locked = ::mlockall(MCL_CURRENT | MCL_FUTURE) == 0;
#endif
  ::signal(SIGXCPU, be_ordinary);
  rlimit spin{};
  if (::getrlimit(RLIMIT_RTTIME, &spin) == 0) {
    spin.rlim_cur = std::min(spin.rlim_max, kMostMicroseconds);
    ::setrlimit(RLIMIT_RTTIME, &spin);
  }
  sched_param level{};
  level.sched_priority = kLevel;
  out.realtime = ::sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &level) == 0;
  return out;
}

void restore(const OrdinaryLimits& limits) {
  ::setrlimit(RLIMIT_MEMLOCK, &limits.memory);
  ::setrlimit(RLIMIT_RTPRIO, &limits.realtime);
  rlimit spin{};
  if (::getrlimit(RLIMIT_RTTIME, &spin) == 0) {
    spin.rlim_cur = spin.rlim_max;
    ::setrlimit(RLIMIT_RTTIME, &spin);
  }
}

}  // namespace trunkline::agent
