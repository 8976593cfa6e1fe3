// What of a PostgreSQL log is shown to the owner of its instance. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline::agent {

// Bytes of `text` up to its last line break; all of them if one line alone is longer than that and
// `text` cannot grow any more (`is_full`).
size_t whole_lines(std::string_view text, bool is_full);

// The last `count` lines.
std::string_view last_lines(std::string_view text, size_t count);

// From the first line on that is not older than `unix_us`. A line without a time is as old as the
// one before it.
std::string_view lines_since(std::string_view text, int64_t unix_us);

// The time at the beginning of a line ("2026-01-15 10:30:00.123 UTC", log_line_prefix %m).
std::optional<int64_t> line_time_unix_us(std::string_view line);

// The newest FATAL or PANIC message without its prefix, at most 300 characters: to be shown, as a
// tenant may have written it.
std::string last_fatal_line(std::string_view text);

// Without control characters, and without what follows the word password in quotes or is a
// verifier: PostgreSQL is set so that it logs no statement, but a message may quote a piece of one.
std::string without_secrets(std::string_view text);

}  // namespace trunkline::agent
