#include "agent/domain/log_text.h"

#include <algorithm>

#include "base/clock.h"

namespace trunkline::agent {
namespace {

constexpr std::string_view kTimeForm = "0000-00-00 00:00:00.000 UTC";
constexpr std::string_view kVerifier = "SCRAM-SHA-256$";
constexpr std::string_view kWord = "password";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool same_letters(std::string_view text, std::string_view lower_case) {
  return text.size() == lower_case.size() &&
         std::equal(text.begin(), text.end(), lower_case.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
         });
}

// Behind the quoted text that begins at `at`, doubled quotes being part of it; the line's end if it
// is not closed. `at` itself if nothing is quoted there.
size_t behind_quoted(std::string_view text, size_t at) {
  size_t i = at;
  while (i < text.size() && (text[i] == ' ' || text[i] == '=')) ++i;
  if (i == text.size() || text[i] != '\'') return at;
  for (++i; i < text.size() && text[i] != '\n'; ++i) {
    if (text[i] != '\'') continue;
    if (i + 1 < text.size() && text[i + 1] == '\'') {
      ++i;
    } else {
      return i + 1;
    }
  }
  return i;
}

}  // namespace

size_t whole_lines(std::string_view text, bool is_full) {
  const size_t end = text.rfind('\n');
  if (end != std::string_view::npos) return end + 1;
  return is_full ? text.size() : 0;
}

std::string_view last_lines(std::string_view text, size_t count) {
  if (count == 0) return {};
  size_t at = text.size();
  while (at > 0) {
    const size_t before = at - 1 == 0 ? std::string_view::npos : text.rfind('\n', at - 2);
    at = before == std::string_view::npos ? 0 : before + 1;
    if (--count == 0) break;
  }
  return text.substr(at);
}

std::string_view lines_since(std::string_view text, int64_t unix_us) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    const auto time = line_time_unix_us(text.substr(at, end - at));
    if (time && *time >= unix_us) return text.substr(at);
    at = end;
  }
  return {};
}

std::optional<int64_t> line_time_unix_us(std::string_view line) {
  if (line.size() < kTimeForm.size()) return std::nullopt;
  for (size_t i = 0; i < kTimeForm.size(); ++i) {
    if (kTimeForm[i] == '0' ? !is_digit(line[i]) : line[i] != kTimeForm[i]) return std::nullopt;
  }
  std::string text(line.substr(0, kTimeForm.size() - 4));
  text[10] = 'T';
  const auto time = parse_rfc3339(text + "Z");
  return time ? std::optional(to_unix_us(*time)) : std::nullopt;
}

std::string last_fatal_line(std::string_view text) {
  size_t at = std::string_view::npos;
  for (const std::string_view mark : {"FATAL:  ", "PANIC:  "}) {
    const size_t found = text.rfind(mark);
    if (found != std::string_view::npos && (at == std::string_view::npos || found > at)) at = found;
  }
  if (at == std::string_view::npos) return "";
  std::string_view line = text.substr(at);
  line = line.substr(0, line.find('\n'));
  return std::string(line.substr(0, 300));
}

std::string without_secrets(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    if (text.substr(i, kVerifier.size()) == kVerifier) {
      out += "***";
      while (i < text.size() && text[i] != '\n' && text[i] != ' ' && text[i] != '\'') ++i;
      continue;
    }
    if (same_letters(text.substr(i, kWord.size()), kWord)) {
      out += text.substr(i, kWord.size());
      i += kWord.size();
      const size_t behind = behind_quoted(text, i);
      if (behind != i) out += " '***'";
      i = behind;
      continue;
    }
    const char c = text[i++];
    const bool control = (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') ||
                         c == 0x7f;
    out.push_back(control ? '?' : c);
  }
  return out;
}

}  // namespace trunkline::agent
