#include "lookup/domain/json_writer.h"

#include <charconv>
#include <cmath>

namespace trunkline::lookup {

void append_json_text(std::string& out, std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  size_t plain_from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, plain_from, i - plain_from);
    plain_from = i + 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == 0) {
      out += "\xEF\xBF\xBD";
    } else {
      out += "\\u00";
      out += kDigits[c >> 4];
      out += kDigits[c & 15];
    }
  }
  out.append(text, plain_from);
}

std::string number_text(std::optional<double> value) {
  if (!value || !std::isfinite(*value)) return "null";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, *value, std::chars_format::general, 9).ptr;
  return std::string(buffer, end);
}

}  // namespace trunkline::lookup
