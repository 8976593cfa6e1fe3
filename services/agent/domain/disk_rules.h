// What is done when a node, or its whole host, runs out of disk: a function of what was seen and of
// what was decided before. Pure. Times are of one clock that does not step.
//
// A disk has two measures, bytes and files (a file system gives out only so many, and an empty one
// costs next to no bytes). Each is judged by itself with the same levels, and the worse one counts.
//
//   share of the order    level       the node's sessions
//   0.95 (until < 0.90)   near_full   start read-only, which they may undo to make room
//   0.98 (until < 0.97)   full        those that write are ended whenever the node grows
//   1    (until < 0.99)   closed      are all ended, and nobody but the platform gets in
//   1.05 while closed     stopped     the server is stopped, half a minute at least
// A host that is low on room makes nodes full that have grown since then, one that is short of it
// closes these, and one that touches its reserve closes all. No level lies within a tenant's reach.
#pragma once

#include <cstdint>

namespace trunkline::agent {

enum class DiskLevel { roomy, near_full, full, closed, stopped };
enum class HostRoom { enough, low, scarce, critical };
enum class EndSessions {
  none,
  writers,  // that have a transaction id or temporary files
  busy,     // that do anything
  all,
};

enum class DiskMeasure { bytes, files };

struct DiskAmount {
  uint64_t bytes = 0;
  uint64_t files = 0;  // anything that has a name
  bool operator==(const DiskAmount&) const = default;
};
DiskAmount at_least(const DiskAmount& a, const DiskAmount& b);  // each measure's larger one

// `total.files` 0: it does not count them, and nothing is done about files.
struct FileSystem {
  DiskAmount total;
  DiskAmount free;  // to who is not root
};

struct DiskMarks {
  uint64_t again = 0;  // below it the node is roomy again
  uint64_t near_full = 0;
  uint64_t calm = 0;  // below it a full node is so no more
  uint64_t full = 0;
  uint64_t reopen = 0;
  uint64_t over = 0;       // all that is ordered
  uint64_t tolerance = 0;  // that a full node may grow by before its writers are ended
  uint64_t runaway = 0;    // that a closed node may grow by before it is stopped
};
DiskMarks disk_marks(uint64_t order, DiskMeasure measure = DiskMeasure::bytes);

// The files that come with an order of so many bytes: its part of the file system's, but so many
// that an ordinary database does not meet them, and never the host's reserve. 0: not counted.
uint64_t files_of_order(uint64_t order, const FileSystem& on);

// How much is kept for the platform.
DiskAmount default_reserve(const FileSystem& of);
HostRoom host_room(HostRoom was, uint64_t free, uint64_t reserve);
// How far `free` may fall before host_room() says something else.
uint64_t room_before_host_mark(HostRoom now, uint64_t free, uint64_t reserve);

// What is remembered of a node between two looks.
struct DiskState {
  DiskLevel level = DiskLevel::roomy;
  bool by_host = false;     // the host is why
  uint64_t floor = 0;       // growth is counted from here
  uint64_t host_floor = 0;  // the same, since the host has been low
  bool host_low = false;
  uint32_t rounds = 0;      // of ended sessions in a row that it grew in spite of
  int64_t since_ms = 0;     // of the level
  bool operator==(const DiskState&) const = default;
};

struct DiskLook {
  uint64_t used = 0;
  uint64_t order = 0;
  HostRoom host = HostRoom::enough;
  int64_t now_ms = 0;
  DiskMeasure measure = DiskMeasure::bytes;
  bool is_first = false;  // it was never measured whole before: nothing is known of its growth
};

struct DiskVerdict {
  DiskState state;
  EndSessions end = EndSessions::none;
};
DiskVerdict judge_disk(const DiskState& was, const DiskLook& look);

// How much the node may grow before judge_disk() could do something.
uint64_t room_before_mark(const DiskState& state, uint64_t used, uint64_t order,
                          DiskMeasure measure = DiskMeasure::bytes);

// Both measures of the host, and of a node.
struct HostRooms {
  HostRoom bytes = HostRoom::enough;
  HostRoom files = HostRoom::enough;
  HostRoom worse() const { return bytes > files ? bytes : files; }
  bool operator==(const HostRooms&) const = default;
};
HostRooms host_rooms(const HostRooms& was, const FileSystem& fs, const DiskAmount& reserve);
// Before one of them says something else; UINT64_MAX: it cannot.
DiskAmount room_before_host_marks(const HostRooms& now, const FileSystem& fs,
                                  const DiskAmount& reserve);

struct NodeDisk {
  DiskState bytes;
  DiskState files;

  DiskMeasure measure() const;  // that decides
  const DiskState& worse() const { return measure() == DiskMeasure::files ? files : bytes; }
  DiskLevel level() const { return worse().level; }
  bool by_host() const { return worse().by_host; }
};
struct NodeLook {
  DiskAmount used;
  DiskAmount order;
  HostRooms host;
  int64_t now_ms = 0;
  bool is_first = false;
};
struct NodeVerdict {
  NodeDisk disk;
  EndSessions end = EndSessions::none;
};
NodeVerdict judge_node(const NodeDisk& was, const NodeLook& look);
DiskAmount room_before_marks(const NodeDisk& disk, const DiskAmount& used, const DiskAmount& order);

const char* to_text(DiskLevel level);

}  // namespace trunkline::agent
