#include "agent/domain/follow_failures.h"

#include <array>
#include <utility>

namespace trunkline::agent {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kSigns = {{
    {"has already been removed", "wal_removed"},
    {"database system identifier differs between the primary and standby", "other_system"},
    {"This slot has been invalidated", "slot_invalidated"},
    {"is not in this server's history", "diverged"},
    {"is ahead of the WAL flush position of this server", "diverged"},
    {"of the primary is behind recovery timeline", "diverged"},
}};

}  // namespace

std::string cannot_follow_reason(std::string_view log_lines) {
  size_t newest = 0;
  std::string_view reason;
  for (const auto& [sign, word] : kSigns) {
    const size_t at = log_lines.rfind(sign);
    if (at != std::string_view::npos && (reason.empty() || at > newest)) {
      newest = at;
      reason = word;
    }
  }
  return std::string(reason);
}

bool port_was_taken(std::string_view log_lines) {
  const size_t start = log_lines.rfind("starting PostgreSQL");
  if (start == std::string_view::npos) return false;
  const std::string_view newest = log_lines.substr(start);
  return newest.find("Address already in use") != std::string_view::npos &&
         newest.find("could not create any TCP/IP sockets") != std::string_view::npos;
}

std::string last_fatal_line(std::string_view log_lines) {
  size_t at = std::string_view::npos;
  for (const std::string_view mark : {"FATAL:  ", "PANIC:  "}) {
    const size_t found = log_lines.rfind(mark);
    if (found != std::string_view::npos && (at == std::string_view::npos || found > at)) at = found;
  }
  if (at == std::string_view::npos) return "";
  std::string_view line = log_lines.substr(at);
  line = line.substr(0, line.find('\n'));
  return std::string(line.substr(0, 300));
}

}  // namespace trunkline::agent
