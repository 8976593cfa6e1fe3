#include "cli/table.h"

#include <algorithm>
#include <clocale>
#include <cstdint>
#include <cwchar>

#include "telemetry/log_line.h"

namespace trunkline::cli {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";
constexpr size_t kGap = 2;
constexpr size_t kMinShrunk = 8;

struct Character {
  std::string_view bytes;
  char32_t code = 0;
};

// First character of well-formed UTF-8.
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  size_t length = 1;
  char32_t code = byte(0);
  if (code >= 0xf0) {
    length = 4;
    code &= 0x07;
  } else if (code >= 0xe0) {
    length = 3;
    code &= 0x0f;
  } else if (code >= 0xc0) {
    length = 2;
    code &= 0x1f;
  }
  for (size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3f);
  return {text.substr(0, length), code};
}

// wcwidth() needs a UTF-8 locale; a locale object of our own leaves the process's one alone.
size_t character_width(char32_t code) {
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (code < 0x7f) return 1;
  if (utf8 == nullptr) return 1;
  const locale_t before = uselocale(utf8);
  const int width = wcwidth(static_cast<wchar_t>(code));
  uselocale(before);
  return width < 0 ? 1 : static_cast<size_t>(width);
}

bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
         (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);  // bidi
}

std::string shortened(const std::string& text, size_t width) {
  if (display_width(text) <= width) return text;
  std::string out;
  size_t used = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    const Character character = first_character(rest);
    const size_t wide = character_width(character.code);
    if (used + wide + 1 > width) break;
    out += character.bytes;
    used += wide;
    rest.remove_prefix(character.bytes.size());
  }
  return out + "\xe2\x80\xa6";
}

std::vector<size_t> column_widths(const std::vector<Column>& columns,
                                  const std::vector<Row>& rows, size_t limit) {
  std::vector<size_t> widths;
  size_t total = 0;
  for (size_t i = 0; i < columns.size(); ++i) {
    size_t width = display_width(columns[i].title);
    for (const Row& row : rows) width = std::max(width, display_width(row[i]));
    widths.push_back(width);
    total += width + (i == 0 ? 0 : kGap);
  }
  while (limit != 0 && total > limit) {
    size_t widest = columns.size();
    for (size_t i = 0; i < columns.size(); ++i) {
      if (!columns[i].may_shrink || widths[i] <= kMinShrunk) continue;
      if (widest == columns.size() || widths[i] > widths[widest]) widest = i;
    }
    if (widest == columns.size()) break;
    --widths[widest];
    --total;
  }
  return widths;
}

}  // namespace

std::string printable(std::string_view text) {
  const std::string clean = telemetry::clean_utf8(text, text.size() * 3);
  std::string out;
  std::string_view rest = clean;
  while (!rest.empty()) {
    const Character character = first_character(rest);
    if (character.code == '\n' || character.code == '\t' || character.code == '\r') {
      out += ' ';
    } else if (is_control(character.code)) {
      out += kReplacement;
    } else {
      out += character.bytes;
    }
    rest.remove_prefix(character.bytes.size());
  }
  return out;
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const Character character = first_character(text);
    width += character_width(character.code);
    text.remove_prefix(std::min(character.bytes.size(), text.size()));
  }
  return width;
}

std::string render_table(const std::vector<Column>& columns, const std::vector<Row>& rows,
                         size_t width) {
  std::vector<Row> clean;
  for (const Row& row : rows) {
    Row cells;
    for (size_t i = 0; i < columns.size(); ++i) {
      cells.push_back(i < row.size() ? printable(row[i]) : std::string());
    }
    clean.push_back(std::move(cells));
  }
  const std::vector<size_t> widths = column_widths(columns, clean, width);
  std::string out;
  const auto add_line = [&](const auto& cell_of) {
    std::string line;
    for (size_t i = 0; i < columns.size(); ++i) {
      if (i != 0) line.append(kGap, ' ');
      const std::string cell = shortened(cell_of(i), widths[i]);
      const std::string padding(widths[i] - std::min(widths[i], display_width(cell)), ' ');
      line += columns[i].right ? padding + cell : cell + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  add_line([&](size_t i) { return columns[i].title; });
  for (const Row& row : clean) {
    add_line([&](size_t i) { return row[i]; });
  }
  return out;
}

std::string render_fields(const std::vector<std::pair<std::string, std::string>>& fields) {
  size_t width = 0;
  for (const auto& [name, value] : fields) {
    if (!value.empty()) width = std::max(width, display_width(name));
  }
  std::string out;
  for (const auto& [name, value] : fields) {
    if (value.empty()) continue;
    out += name + ":" + std::string(width - display_width(name) + kGap, ' ') + printable(value) +
           "\n";
  }
  return out;
}

}  // namespace trunkline::cli
