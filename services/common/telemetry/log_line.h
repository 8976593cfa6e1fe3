// Text of a log line and of a span's attribute, from strings of any origin. Pure; thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trunkline::telemetry {

// `text` with every byte that is not part of well-formed UTF-8 replaced by U+FFFD, cut at a
// character's end so that it has at most `limit_bytes` bytes.
std::string clean_utf8(std::string_view text, size_t limit_bytes);

// Appends `text` as a JSON string with its quotes: control characters, quotes, backslashes, DEL and
// the line separators U+2028 and U+2029 escaped, bad UTF-8 replaced, cut at `limit_bytes`.
void append_json_string(std::string& out, std::string_view text, size_t limit_bytes);

struct LogLine {
  std::string_view ts;        // RFC 3339
  std::string_view level;
  std::string_view service;
  std::string_view instance;  // left out if empty
  std::string_view trace_id;  // left out if empty, and span_id with it
  std::string_view span_id;
  std::string_view msg;
};
// One JSON object on one line, with its newline.
std::string format_log_line(const LogLine& line);

}  // namespace trunkline::telemetry
