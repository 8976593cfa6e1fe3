// Tables for terminals. Pure; thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace trunkline::cli {

struct Column {
  std::string title;
  bool right = false;      // numbers
  bool may_shrink = false; // cut with … when the table is wider than the terminal
};
using Row = std::vector<std::string>;

// `text` safe to show: control characters (escape sequences of a hostile name among them) and bad
// UTF-8 become U+FFFD, line breaks and tabs a space.
std::string printable(std::string_view text);

// Columns that the text takes on a terminal: 2 for wide characters, 0 for combining ones.
size_t display_width(std::string_view text);

// Header, rows, one line each, without trailing blanks. `width`: of the terminal, 0 for no limit.
std::string render_table(const std::vector<Column>& columns, const std::vector<Row>& rows,
                         size_t width);

// "name:  value" lines, values aligned. Empty values are left out.
std::string render_fields(const std::vector<std::pair<std::string, std::string>>& fields);

}  // namespace trunkline::cli
