#include "proxy/domain/own_settings.h"

namespace trunkline::proxy {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool is_word(char c) {
  return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
         (c & 0x80) != 0;
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Takes `word` in either case off the front if it stands there alone.
bool take_word(std::string_view& text, std::string_view word) {
  if (text.size() < word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i) {
    if (lower(text[i]) != word[i]) return false;
  }
  if (text.size() > word.size() && is_word(text[word.size()])) return false;
  text.remove_prefix(word.size());
  return true;
}

void skip_spaces(std::string_view& text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
}

// The name behind SET [SESSION]: whether it has a dot.
bool names_own(std::string_view text) {
  skip_spaces(text);
  if (take_word(text, "local")) return false;
  if (take_word(text, "session")) skip_spaces(text);
  for (const char c : text) {
    if (c == '.') return true;
    if (!is_word(c) && c != '"') return false;
  }
  return false;
}

}  // namespace

bool sets_own_setting(std::string_view sql) {
  for (size_t at = 0; at + 3 <= sql.size(); ++at) {
    if (lower(sql[at]) != 's' || lower(sql[at + 1]) != 'e' || lower(sql[at + 2]) != 't') continue;
    if (at > 0 && is_word(sql[at - 1])) continue;
    std::string_view rest = sql.substr(at);
    if (take_word(rest, "set_config")) return true;
    if (take_word(rest, "set") && names_own(rest)) return true;
  }
  return false;
}

}  // namespace trunkline::proxy
