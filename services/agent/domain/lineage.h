// Where a data directory's WAL comes from and whether it can go on from another's: timelines, as
// history files, pg_control and the control plane tell them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trunkline::agent {

// `timeline` began where the one before it in the history had reached `begin_lsn`.
struct TimelineSwitch {
  uint32_t timeline = 0;
  uint64_t begin_lsn = 0;
  bool operator==(const TimelineSwitch&) const = default;
};

// "0/3000060" -> the number; 0 if it is none.
uint64_t parse_lsn(std::string_view text);

// All timelines up to `timeline` (timeline 1 is not named), from its history file.
std::vector<TimelineSwitch> parse_history(std::string_view file, uint32_t timeline);
std::string history_file_name(uint32_t timeline);  // "00000002.history"

// What `pg_controldata` says.
struct ControlData {
  bool shut_down = false;  // cleanly, as a primary
  uint64_t checkpoint_lsn = 0;
  uint32_t timeline = 0;  // of that checkpoint
  uint32_t recovery_timeline = 0;
  uint32_t max_connections = 0;
  uint32_t max_worker_processes = 0;
};
ControlData parse_control_data(const std::string& text);

// Files of WAL: 24 hexadecimal digits, the timeline first. All of a server's are of one size, a
// power of two, that its data was made with.
inline constexpr uint64_t kUsualSegment = uint64_t{16} << 20;
bool is_segment_name(const std::string& name);
std::string segment_name(uint32_t timeline, uint64_t lsn, uint64_t segment_bytes);

// Where a WAL record of `bytes` at `lsn` ends: page headers lie in between.
uint64_t record_end(uint64_t lsn, uint32_t bytes, uint64_t segment_bytes);

// The newest timeline of the segment files that hold the byte before `lsn`; 0 if none does.
uint32_t timeline_of_segment(const std::vector<std::string>& names, uint64_t lsn,
                             uint64_t segment_bytes);

enum class Lineage {
  follows,  // it can stream from a server of that history
  rewind,   // its WAL goes on where the history left its timeline
  replace,  // its timelines are not those of the history, whatever their numbers say
  newer,    // it has a timeline that is newer than all of the history
};
// `own`: the data's timelines; `timeline` and `end_lsn`: of the end of its WAL. `exact`: the WAL
// ends there; otherwise it may end later. `assigned`: the history to follow; empty means that only
// timeline 1 is known.
Lineage compare_lineage(const std::vector<TimelineSwitch>& own, uint32_t timeline, uint64_t end_lsn,
                        bool exact, const std::vector<TimelineSwitch>& assigned);

}  // namespace trunkline::agent
