#include "base/utf8.h"

#include <cstdio>

namespace trunkline {
namespace {

struct Character {
  char32_t value = 0;
  size_t bytes = 0;  // 0: no UTF-8
};

Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (bytes == 0 || text.size() < bytes) return {};
  char32_t value = lead & (0xff >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3f);
  }
  const bool overlong = (bytes == 3 && value < 0x800) || (bytes == 4 && value < 0x10000);
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (overlong || surrogate || value > 0x10ffff) return {};
  return {value, bytes};
}

bool is_hidden(char32_t c, bool name) {
  if (c >= 0x80 && c <= 0x9f) return true;
  if (c == 0x200c || c == 0x200d) return name;
  const bool direction = c == 0x061c || c == 0x200e || c == 0x200f ||
                         (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x206f);
  const bool no_width = c == 0x00ad || c == 0x034f || c == 0x180e || c == 0x200b ||
                        (c >= 0x2060 && c <= 0x2064) || c == 0xfeff || c == 0x3164 ||
                        c == 0x115f || c == 0x1160 || c == 0xffa0;
  const bool separator = c == 0x2028 || c == 0x2029;
  const bool other = (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe007f);
  return direction || no_width || separator || other;
}

}  // namespace

std::string bounded_text(std::string_view text, size_t most_bytes) {
  std::string out;
  while (!text.empty()) {
    const Character c = first_character(text);
    const size_t bytes = c.bytes == 0 ? 1 : c.bytes;
    if (out.size() + bytes > most_bytes) break;
    c.bytes == 0 ? out.append(1, '?') : out.append(text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  return out;
}

std::optional<std::string> hidden_character(std::string_view text, bool name) {
  while (!text.empty()) {
    const Character c = first_character(text);
    if (c.bytes > 0 && is_hidden(c.value, name)) {
      char shown[16];
      std::snprintf(shown, sizeof shown, "U+%04X", static_cast<unsigned>(c.value));
      return shown;
    }
    text.remove_prefix(c.bytes == 0 ? 1 : c.bytes);
  }
  return std::nullopt;
}

}  // namespace trunkline
