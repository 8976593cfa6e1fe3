#include "agent/domain/lineage.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace trunkline::agent {
namespace {

constexpr uint64_t kPage = 8192;
constexpr uint64_t kPageHeader = 24;
constexpr uint64_t kSegmentHeader = 40;

uint64_t header_at(uint64_t page, uint64_t segment_bytes) {
  return page % segment_bytes == 0 ? kSegmentHeader : kPageHeader;
}

}  // namespace

uint64_t parse_lsn(std::string_view text) {
  const std::string copy(text);
  char* end = nullptr;
  const uint64_t high = std::strtoull(copy.c_str(), &end, 16);
  if (end == copy.c_str() || *end != '/') return 0;
  const char* low = end + 1;
  const uint64_t value = std::strtoull(low, &end, 16);
  return end == low ? 0 : high << 32 | value;
}

// A line is "<timeline>\t<where it was left>\t<reason>".
std::vector<TimelineSwitch> parse_history(std::string_view file, uint32_t timeline) {
  std::vector<TimelineSwitch> out;
  std::vector<std::pair<uint32_t, uint64_t>> left;
  while (!file.empty()) {
    const size_t end = std::min(file.find('\n'), file.size());
    const std::string line(file.substr(0, end));
    file.remove_prefix(std::min(end + 1, file.size()));
    char* at = nullptr;
    const auto number = static_cast<uint32_t>(std::strtoul(line.c_str(), &at, 10));
    if (number == 0 || at == line.c_str()) continue;
    while (*at == ' ' || *at == '\t') ++at;
    left.emplace_back(number, parse_lsn(at));
  }
  for (size_t i = 0; i < left.size(); ++i) {
    out.push_back({i + 1 < left.size() ? left[i + 1].first : timeline, left[i].second});
  }
  return out;
}

std::string history_file_name(uint32_t timeline) {
  char name[32];
  std::snprintf(name, sizeof name, "%08X.history", timeline);
  return name;
}

ControlData parse_control_data(const std::string& text) {
  const auto value = [&](const std::string& name) -> std::string {
    const size_t at = text.find("\n" + name + ":");
    if (at == std::string::npos) return "";
    const size_t from = text.find_first_not_of(' ', at + name.size() + 2);
    return text.substr(from, text.find('\n', from) - from);
  };
  const auto number = [&](const std::string& name) {
    return static_cast<uint32_t>(std::strtoul(value(name).c_str(), nullptr, 10));
  };
  ControlData out;
  out.shut_down = value("Database cluster state") == "shut down";
  out.checkpoint_lsn = parse_lsn(value("Latest checkpoint location"));
  out.timeline = number("Latest checkpoint's TimeLineID");
  out.recovery_timeline = number("Min recovery ending loc's timeline");
  out.max_connections = number("max_connections setting");
  out.max_worker_processes = number("max_worker_processes setting");
  return out;
}

bool is_segment_name(const std::string& name) {
  return name.size() == 24 && name.find_first_not_of("0123456789ABCDEF") == std::string::npos;
}

std::string segment_name(uint32_t timeline, uint64_t lsn, uint64_t segment_bytes) {
  const uint64_t number = lsn / segment_bytes;
  const uint64_t in_a_row = (uint64_t{1} << 32) / segment_bytes;
  char name[64];
  std::snprintf(name, sizeof name, "%08X%08X%08X", timeline,
                static_cast<uint32_t>(number / in_a_row), static_cast<uint32_t>(number % in_a_row));
  return name;
}

uint64_t record_end(uint64_t lsn, uint32_t bytes, uint64_t segment_bytes) {
  uint64_t left = bytes;
  uint64_t at = lsn;
  if (at % kPage == 0) at += header_at(at, segment_bytes);
  while (true) {
    const uint64_t room = kPage - at % kPage;
    if (left <= room) break;
    left -= room;
    at += room;
    at += header_at(at, segment_bytes);
  }
  return (at + left + 7) / 8 * 8;
}

uint32_t timeline_of_segment(const std::vector<std::string>& names, uint64_t lsn,
                             uint64_t segment_bytes) {
  if (lsn == 0) return 0;
  const std::string suffix = segment_name(0, lsn - 1, segment_bytes).substr(8);
  uint32_t newest = 0;
  for (const auto& name : names) {
    if (name.size() != 24 || name.substr(8) != suffix) continue;
    newest = std::max(newest,
                      static_cast<uint32_t>(std::strtoul(name.substr(0, 8).c_str(), nullptr, 16)));
  }
  return newest;
}

Lineage compare_lineage(const std::vector<TimelineSwitch>& own, uint32_t timeline, uint64_t end_lsn,
                        bool exact, const std::vector<TimelineSwitch>& assigned) {
  const auto find = [&](uint32_t wanted) {
    return std::find_if(assigned.begin(), assigned.end(),
                        [&](const TimelineSwitch& s) { return s.timeline == wanted; });
  };
  for (const TimelineSwitch& step : own) {
    const auto same = find(step.timeline);
    if (same == assigned.end() || same->begin_lsn != step.begin_lsn) {
      const bool newer = assigned.empty() || step.timeline > assigned.back().timeline;
      return newer ? Lineage::newer : Lineage::replace;
    }
  }
  auto next = assigned.begin();
  if (timeline != 1) {
    next = find(timeline);
    if (next == assigned.end()) return Lineage::replace;
    ++next;
  }
  if (next == assigned.end()) return Lineage::follows;
  return exact && end_lsn <= next->begin_lsn ? Lineage::follows : Lineage::rewind;
}

}  // namespace trunkline::agent
