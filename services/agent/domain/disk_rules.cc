#include "agent/domain/disk_rules.h"

#include <algorithm>
#include <cstdint>

namespace trunkline::agent {
namespace {

constexpr uint64_t kMb = 1ull << 20;
constexpr uint64_t kLeastBytesAFile = 8192;  // a page: what a file has that has anything
constexpr uint64_t kLeastFiles = 16'384;
constexpr uint32_t kPatientRounds = 2;
constexpr int64_t kCalmMs = 2'000;
constexpr int64_t kLeastClosedMs = 3'000;
constexpr int64_t kLeastStoppedMs = 30'000;

// What a measure knows no shares of.
struct Least {
  uint64_t host_tolerance;  // growth of a node that is nobody's trouble
  uint64_t runaway;
  uint64_t reserve, most_reserve;
};
constexpr Least kLeastOfBytes{16 * kMb, 64 * kMb, 64 * kMb, 2048 * kMb};
constexpr Least kLeastOfFiles{512, 2048, 4096, 131'072};

const Least& least(DiskMeasure measure) {
  return measure == DiskMeasure::files ? kLeastOfFiles : kLeastOfBytes;
}

uint64_t reserve_of(uint64_t total, DiskMeasure measure) {
  return std::clamp(total / 50, least(measure).reserve, least(measure).most_reserve);
}

uint64_t share(uint64_t order, uint64_t thousandths) { return order * thousandths / 1000; }

uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

DiskLevel level_by_use(const DiskState& was, const DiskLook& look, const DiskMarks& marks) {
  const auto in = [&](DiskLevel level) { return was.level >= level; };
  const int64_t age_ms = look.now_ms - was.since_ms;
  if (was.level == DiskLevel::stopped) {
    return age_ms < kLeastStoppedMs ? DiskLevel::stopped : DiskLevel::closed;
  }
  const bool runs_away = was.level == DiskLevel::closed && look.used > was.floor + marks.runaway;
  if (runs_away && !look.is_first) return DiskLevel::stopped;
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
  const bool grew = was.host_low && look.used > was.host_floor + least(look.measure).host_tolerance;
  if (look.host == HostRoom::scarce && grew) return DiskLevel::closed;
  const bool goes_on = was.by_host && was.level >= DiskLevel::full;
  if (look.host >= HostRoom::low && (grew || goes_on)) return DiskLevel::full;
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

DiskAmount at_least(const DiskAmount& a, const DiskAmount& b) {
  return {std::max(a.bytes, b.bytes), std::max(a.files, b.files)};
}

DiskMarks disk_marks(uint64_t order, DiskMeasure measure) {
  return {.again = share(order, 900),
          .near_full = share(order, 950),
          .calm = share(order, 970),
          .full = share(order, 980),
          .reopen = share(order, 990),
          .over = order,
          .tolerance = share(order, 5),
          .runaway = std::max(share(order, 50), least(measure).runaway)};
}

uint64_t files_of_order(uint64_t order, const FileSystem& on) {
  const uint64_t files = on.total.files;
  if (files == 0) return 0;
  const uint64_t bytes_a_file = std::max(kLeastBytesAFile, on.total.bytes / files);
  // Where the host is not low, see host_room().
  const uint64_t most = less(files, default_reserve(on).files / 2 * 5);
  return std::max<uint64_t>(1, std::min(most, std::max(kLeastFiles, order / bytes_a_file)));
}

DiskAmount default_reserve(const FileSystem& of) {
  return {reserve_of(of.total.bytes, DiskMeasure::bytes),
          reserve_of(of.total.files, DiskMeasure::files)};
}

HostRoom host_room(HostRoom was, uint64_t free, uint64_t reserve) {
  if (free < reserve) return HostRoom::critical;
  if (was == HostRoom::critical && free < reserve / 2 * 3) return HostRoom::critical;
  if (free < reserve / 2 * 3) return HostRoom::scarce;
  if (was >= HostRoom::scarce && free < reserve / 4 * 7) return HostRoom::scarce;
  if (free < reserve * 2) return HostRoom::low;
  if (was != HostRoom::enough && free < reserve / 2 * 5) return HostRoom::low;
  return HostRoom::enough;
}

uint64_t room_before_host_mark(HostRoom now, uint64_t free, uint64_t reserve) {
  if (now == HostRoom::enough) return less(free, reserve * 2);
  if (now == HostRoom::low) return less(free, reserve / 2 * 3);
  return less(free, reserve);
}

DiskVerdict judge_disk(const DiskState& was, const DiskLook& look) {
  const DiskMarks marks = disk_marks(look.order, look.measure);
  DiskVerdict verdict{was, EndSessions::none};
  DiskState& now = verdict.state;
  if (look.host == HostRoom::enough) {
    now.host_low = false;
  } else {
    const bool goes_on = was.host_low && !look.is_first;
    now.host_floor = goes_on ? std::min(was.host_floor, look.used) : look.used;
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
  now.floor = look.is_first ? look.used : std::min(now.floor, look.used);
  verdict.end = whom_to_end(was, look, marks, now);
  return verdict;
}

uint64_t room_before_mark(const DiskState& state, uint64_t used, uint64_t order,
                          DiskMeasure measure) {
  const DiskMarks marks = disk_marks(order, measure);
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
  if (state.host_low) mark = std::min(mark, state.host_floor + least(measure).host_tolerance);
  return less(mark, used);
}

HostRooms host_rooms(const HostRooms& was, const FileSystem& fs, const DiskAmount& reserve) {
  return {host_room(was.bytes, fs.free.bytes, reserve.bytes),
          fs.total.files == 0 ? HostRoom::enough
                              : host_room(was.files, fs.free.files, reserve.files)};
}

DiskAmount room_before_host_marks(const HostRooms& now, const FileSystem& fs,
                                  const DiskAmount& reserve) {
  const auto room = [](HostRoom is, uint64_t free, uint64_t kept) {
    return is == HostRoom::critical ? UINT64_MAX : room_before_host_mark(is, free, kept);
  };
  return {room(now.bytes, fs.free.bytes, reserve.bytes),
          fs.total.files == 0 ? UINT64_MAX : room(now.files, fs.free.files, reserve.files)};
}

DiskMeasure NodeDisk::measure() const {
  if (files.level != bytes.level) {
    return files.level > bytes.level ? DiskMeasure::files : DiskMeasure::bytes;
  }
  return bytes.by_host && !files.by_host ? DiskMeasure::files : DiskMeasure::bytes;
}

NodeVerdict judge_node(const NodeDisk& was, const NodeLook& look) {
  const DiskVerdict bytes =
      judge_disk(was.bytes, {look.used.bytes, look.order.bytes, look.host.bytes, look.now_ms,
                             DiskMeasure::bytes, look.is_first});
  DiskVerdict files;
  if (look.order.files > 0) {
    files = judge_disk(was.files, {look.used.files, look.order.files, look.host.files,
                                   look.now_ms, DiskMeasure::files, look.is_first});
  }
  return {{bytes.state, files.state}, std::max(bytes.end, files.end)};
}

DiskAmount room_before_marks(const NodeDisk& disk, const DiskAmount& used,
                             const DiskAmount& order) {
  return {room_before_mark(disk.bytes, used.bytes, order.bytes),
          order.files == 0 ? UINT64_MAX
                           : room_before_mark(disk.files, used.files, order.files,
                                              DiskMeasure::files)};
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
