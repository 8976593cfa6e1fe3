#include "telemetry/log_line.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace trunkline::telemetry {
namespace {

constexpr size_t kMaxMessageBytes = 16 * 1024;
constexpr size_t kMaxFieldBytes = 256;
constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// Length of the well-formed UTF-8 character at the start of `text`; 0 if there is none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length = 0;
  uint8_t second_low = 0x80;
  uint8_t second_high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) second_low = 0xa0;   // overlong
    if (lead == 0xed) second_high = 0x9f;  // surrogates
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) second_low = 0x90;   // overlong
    if (lead == 0xf4) second_high = 0x8f;  // above U+10FFFF
  } else {
    return 0;
  }
  if (text.size() < length) return 0;
  if (byte(1) < second_low || byte(1) > second_high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return length;
}

void append_escaped(std::string& out, std::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  if (character.size() == 1) {
    switch (first) {
      case '"': out += "\\\""; return;
      case '\\': out += "\\\\"; return;
      case '\n': out += "\\n"; return;
      case '\r': out += "\\r"; return;
      case '\t': out += "\\t"; return;
    }
    if (first < 0x20 || first == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", first);
      out += escaped;
      return;
    }
  }
  if (character == "\xe2\x80\xa8") {
    out += "\\u2028";
  } else if (character == "\xe2\x80\xa9") {
    out += "\\u2029";
  } else {
    out += character;
  }
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out += ",\"";
  out += name;
  out += "\":";
  append_json_string(out, value, kMaxFieldBytes);
}

}  // namespace

std::string clean_utf8(std::string_view text, size_t limit_bytes) {
  std::string out;
  out.reserve(std::min(text.size(), limit_bytes));
  while (!text.empty()) {
    const size_t length = character_length(text);
    const std::string_view next = length == 0 ? kReplacement : text.substr(0, length);
    if (out.size() + next.size() > limit_bytes) break;
    out += next;
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

void append_json_string(std::string& out, std::string_view text, size_t limit_bytes) {
  const std::string clean = clean_utf8(text, limit_bytes);
  std::string_view rest = clean;
  out += '"';
  while (!rest.empty()) {
    const size_t length = character_length(rest);
    append_escaped(out, rest.substr(0, length));
    rest.remove_prefix(length);
  }
  out += '"';
}

std::string format_log_line(const LogLine& line) {
  std::string out;
  out.reserve(line.msg.size() + 192);
  out += "{\"ts\":";
  append_json_string(out, line.ts, kMaxFieldBytes);
  append_field(out, "level", line.level);
  append_field(out, "service", line.service);
  if (!line.instance.empty()) append_field(out, "instance", line.instance);
  if (!line.trace_id.empty()) {
    append_field(out, "trace_id", line.trace_id);
    append_field(out, "span_id", line.span_id);
  }
  out += ",\"msg\":";
  append_json_string(out, line.msg, kMaxMessageBytes);
  out += "}\n";
  return out;
}

}  // namespace trunkline::telemetry
