#include "api-gateway/domain/target.h"

#include <algorithm>

namespace trunkline::gateway {
namespace {

constexpr size_t kMostParameters = 200;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool is_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t more = lead < 0x80 ? 0 : lead < 0xc2 ? 9 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    if (more > 3 || lead > 0xf4 || i + more >= text.size()) return false;
    for (size_t k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      // Overlong forms, surrogates and what is above U+10FFFF.
      if (k == 1 && ((lead == 0xe0 && next < 0xa0) || (lead == 0xed && next > 0x9f) ||
                     (lead == 0xf0 && next < 0x90) || (lead == 0xf4 && next > 0x8f))) {
        return false;
      }
    }
    i += more + 1;
  }
  return true;
}

size_t character_count(std::string_view utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

Outcome<std::string> percent_decode(std::string_view text, bool form, std::string_view what) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return bad_request("bad_encoding", std::string(what) + ": '%' must be followed by two "
                                                               "hexadecimal digits");
      }
      c = static_cast<char>(high << 4 | low);
      i += 2;
    } else if (form && c == '+') {
      c = ' ';
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      return bad_request("bad_encoding", std::string(what) + " must not hold control characters");
    }
    out.push_back(c);
  }
  if (!is_utf8(out)) return bad_request("bad_encoding", std::string(what) + " must be UTF-8");
  return out;
}

Outcome<std::vector<std::string>> path_segments(std::string_view raw_path) {
  std::vector<std::string> segments;
  if (raw_path.starts_with('/')) raw_path.remove_prefix(1);
  if (raw_path.ends_with('/')) raw_path.remove_suffix(1);
  if (raw_path.empty()) return segments;
  while (true) {
    const size_t slash = raw_path.find('/');
    auto segment = percent_decode(raw_path.substr(0, slash), false, "the path");
    if (!segment) return segment.problem();
    segments.push_back(std::move(*segment));
    if (slash == std::string_view::npos) return segments;
    raw_path.remove_prefix(slash + 1);
  }
}

Outcome<QueryParameters> query_parameters(std::string_view raw_query) {
  QueryParameters out;
  while (!raw_query.empty()) {
    const size_t end = std::min(raw_query.find('&'), raw_query.size());
    const std::string_view pair = raw_query.substr(0, end);
    raw_query.remove_prefix(std::min(end + 1, raw_query.size()));
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    auto key = percent_decode(pair.substr(0, equals), true, "the query");
    if (!key) return key.problem();
    auto value = percent_decode(
        equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1), true,
        "query parameter '" + shown(*key) + "'");
    if (!value) return value.problem();
    out.emplace_back(std::move(*key), std::move(*value));
    if (out.size() > kMostParameters) {
      return bad_request("too_many_parameters", "a query must not have more than " +
                                                    std::to_string(kMostParameters) +
                                                    " parameters");
    }
  }
  return out;
}

std::optional<TimePoint> query_time(std::string text) {
  const ptrdiff_t behind_date = std::min<ptrdiff_t>(11, std::ssize(text));
  std::replace(text.begin() + behind_date, text.end(), ' ', '+');
  return parse_rfc3339(text);
}

}  // namespace trunkline::gateway
