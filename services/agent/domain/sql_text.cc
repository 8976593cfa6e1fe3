#include "agent/domain/sql_text.h"

#include "base/ids.h"

namespace trunkline::agent {
namespace {

std::string quote(std::string_view text, char mark, bool backslashes_count) {
  std::string out(1, mark);
  for (const char c : text) {
    if (c == mark || (backslashes_count && c == '\\')) out += c;
    out += c;
  }
  out += mark;
  return out;
}

}  // namespace

std::string quote_identifier(std::string_view name) {
  return quote(name, '"', false);
}
std::string quote_literal(std::string_view text) {
  return quote(text, '\'', false);
}
std::string quote_setting(std::string_view text) {
  return quote(text, '\'', true);
}

std::string quote_conninfo(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string slot_name(std::string_view node_id) {
  std::string out = "tl_";
  for (const char c : node_id) out += c == '-' ? '_' : c;
  return out;
}

std::string node_of_slot(std::string_view slot) {
  if (!slot.starts_with("tl_")) return "";
  std::string out(slot.substr(3));
  for (char& c : out) {
    if (c == '_') c = '-';
  }
  return is_uuid(out) ? out : "";
}

}  // namespace trunkline::agent
