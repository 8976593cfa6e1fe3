#include "agent/domain/disk_rules.h"

#include <algorithm>

namespace trunkline::agent {
namespace {

constexpr uint64_t kMb = 1ull << 20;
constexpr uint64_t kHostTolerance = 16 * kMb;  // growth of a node that is nobody's trouble
constexpr uint32_t kPatientRounds = 2;
constexpr int64_t kCalmMs = 2'000;
constexpr int64_t kLeastClosedMs = 3'000;
constexpr int64_t kLeastStoppedMs = 30'000;

uint64_t share(uint64_t order, uint64_t thousandths) { return order / 1000 * thousandths; }

uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

DiskLevel level_by_use(const DiskState& was, const DiskLook& look, const DiskMarks& marks) {
  const auto in = [&](DiskLevel level) { return was.level >= level; };
  const int64_t age_ms = look.now_ms - was.since_ms;
  if (was.level == DiskLevel::stopped) {
    return age_ms < kLeastStoppedMs ? DiskLevel::stopped : DiskLevel::closed;
  }
  const bool runs_away = was.level == DiskLevel::closed && look.used > was.floor + marks.runaway;
  if (runs_away) return DiskLevel::stopped;
  if (look.used >= (in(DiskLevel::closed) ? marks.reopen : marks.over)) return DiskLevel::closed;
  if (in(DiskLevel::closed) && age_ms < kLeastClosedMs) return DiskLevel::closed;
  if (look.used >= (in(DiskLevel::full) ? marks.calm : marks.full)) return DiskLevel::full;
  if (look.used >= (in(DiskLevel::near_full) ? marks.again : marks.near_full)) {
    return DiskLevel::near_full;
  }
  return DiskLevel::roomy;
}

DiskLevel level_by_host(const DiskState& was, const DiskLook& look) {
  if (look.host == HostRoom::critical) return DiskLevel::closed;
  const bool grew = was.host_low && look.used > was.host_floor + kHostTolerance;
  const bool goes_on = was.by_host && was.level >= DiskLevel::full;
  if (look.host == HostRoom::low && (grew || goes_on)) return DiskLevel::full;
  return DiskLevel::roomy;
}

EndSessions whom_to_end(const DiskState& was, const DiskLook& look, const DiskMarks& marks,
                        DiskState& now) {
  if (now.level >= DiskLevel::closed) return EndSessions::all;
  if (now.level < DiskLevel::full) return EndSessions::none;
  const bool entered = was.level < DiskLevel::full;
  if (!entered && look.used <= now.floor + marks.tolerance) {
    if (look.now_ms - now.since_ms > kCalmMs) now.rounds = 0;
    return EndSessions::none;
  }
  now.floor = look.used;
  now.since_ms = look.now_ms;
  return ++now.rounds > kPatientRounds ? EndSessions::busy : EndSessions::writers;
}

}  // namespace

DiskMarks disk_marks(uint64_t order) {
  return {.again = share(order, 900),
          .near_full = share(order, 950),
          .calm = share(order, 970),
          .full = share(order, 980),
          .reopen = share(order, 990),
          .over = order,
          .tolerance = share(order, 5),
          .runaway = std::max(share(order, 50), 64 * kMb)};
}

uint64_t default_reserve(uint64_t total) { return std::clamp(total / 50, 64 * kMb, 2048 * kMb); }

HostRoom host_room(HostRoom was, uint64_t free, uint64_t reserve) {
  if (free < reserve) return HostRoom::critical;
  if (was == HostRoom::critical && free < reserve / 2 * 3) return HostRoom::critical;
  if (free < reserve * 2) return HostRoom::low;
  if (was != HostRoom::enough && free < reserve / 2 * 5) return HostRoom::low;
  return HostRoom::enough;
}

uint64_t room_before_host_mark(HostRoom now, uint64_t free, uint64_t reserve) {
  if (now == HostRoom::enough) return less(free, reserve * 2);
  return less(free, reserve);
}

DiskVerdict judge_disk(const DiskState& was, const DiskLook& look) {
  const DiskMarks marks = disk_marks(look.order);
  DiskVerdict verdict{was, EndSessions::none};
  DiskState& now = verdict.state;
  if (look.host == HostRoom::enough) {
    now.host_low = false;
  } else {
    now.host_floor = was.host_low ? std::min(was.host_floor, look.used) : look.used;
    now.host_low = true;
  }
  const DiskLevel by_use = level_by_use(was, look, marks);
  const DiskLevel by_host = level_by_host(now, look);
  now.level = std::max(by_use, by_host);
  // One that the host closed stays so for a while.
  const bool held = was.by_host && now.level == DiskLevel::closed && look.used < marks.reopen;
  now.by_host = by_host > by_use || held;
  if (now.level != was.level) {
    now.since_ms = look.now_ms;
    now.floor = look.used;
    if (now.level < DiskLevel::full) now.rounds = 0;
  }
  now.floor = std::min(now.floor, look.used);
  verdict.end = whom_to_end(was, look, marks, now);
  return verdict;
}

uint64_t room_before_mark(const DiskState& state, uint64_t used, uint64_t order) {
  const DiskMarks marks = disk_marks(order);
  uint64_t mark = marks.near_full;
  switch (state.level) {
    case DiskLevel::roomy:
      break;
    case DiskLevel::near_full:
      mark = marks.full;
      break;
    case DiskLevel::full:
      mark = std::min(marks.over, state.floor + marks.tolerance);
      break;
    case DiskLevel::closed:
    case DiskLevel::stopped:
      mark = state.floor + marks.runaway;
      break;
  }
  if (state.host_low) mark = std::min(mark, state.host_floor + kHostTolerance);
  return less(mark, used);
}

const char* to_text(DiskLevel level) {
  switch (level) {
    case DiskLevel::roomy:
      return "roomy";
    case DiskLevel::near_full:
      return "near_full";
    case DiskLevel::full:
      return "full";
    case DiskLevel::closed:
      return "closed";
    case DiskLevel::stopped:
      return "stopped";
  }
  return "";
}

}  // namespace trunkline::agent
