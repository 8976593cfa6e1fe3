// Reading PostgreSQL's log: lines that mean a standby can never go on from its upstream, and the
// last fatal line for a failure's message. Pure.
#pragma once

#include <string>
#include <string_view>

namespace trunkline::agent {

// A stable word ("wal_removed", "other_system", "slot_invalidated", "diverged"), or "".
std::string cannot_follow_reason(std::string_view log_lines);

// True if the newest start of a server in `log_lines` failed because its port is taken.
bool port_was_taken(std::string_view log_lines);

// The newest FATAL or PANIC message in `log_lines` without its prefix, at most 300 characters.
std::string last_fatal_line(std::string_view log_lines);

}  // namespace trunkline::agent
