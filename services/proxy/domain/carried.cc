#include "proxy/domain/carried.h"

#include <charconv>

#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

// Understood the same whatever standard_conforming_strings is.
std::string quoted(std::string_view text) {
  std::string out = " E'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out.push_back(c);
    out.push_back(c);
  }
  return out + "'";
}

std::vector<uint32_t> parse_types(std::string_view array) {
  std::vector<uint32_t> out;
  const char* at = array.data();
  const char* const end = at + array.size();
  while (at < end) {
    uint32_t value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error == std::errc()) out.push_back(value);
    at = error == std::errc() ? next : at + 1;
  }
  return out;
}

}  // namespace

std::string capture_sql() {
  return simple_query(
      "SELECT 'setting', name, setting, '' FROM pg_catalog.pg_settings"
      " WHERE source = 'session' AND name NOT LIKE 'transaction%';"
      "SELECT 'setting', 'role', pg_catalog.current_setting('role'), ''"
      " WHERE pg_catalog.current_setting('role') <> 'none';"
      "SELECT CASE WHEN from_sql THEN 'prepare' ELSE 'parse' END, name, statement,"
      " parameter_types::pg_catalog.oid[]::pg_catalog.text FROM pg_catalog.pg_prepared_statements;"
      "SELECT 'rooted', 'a temporary table', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_class"
      " WHERE relnamespace = pg_catalog.pg_my_temp_schema());"
      "SELECT 'rooted', 'LISTEN', '', '' WHERE EXISTS"
      " (SELECT FROM pg_catalog.pg_listening_channels());"
      "SELECT 'rooted', 'an advisory lock', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_locks"
      " WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid());"
      "SELECT 'rooted', 'a cursor', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors"
      " WHERE is_holdable)");
}

bool take_row(CarriedState& state, std::string_view row_body) {
  auto columns = row_columns(row_body);
  if (!columns || columns->size() != 4) return false;
  std::string& kind = (*columns)[0];
  std::string& name = (*columns)[1];
  std::string& text = (*columns)[2];
  if (kind == "setting") {
    state.settings.emplace_back(std::move(name), std::move(text));
  } else if (kind == "prepare" || kind == "parse") {
    const bool from_sql = kind == "prepare";
    auto types = from_sql ? std::vector<uint32_t>() : parse_types((*columns)[3]);
    state.statements.push_back({std::move(name), std::move(text), from_sql, std::move(types)});
  } else if (kind == "rooted") {
    state.rooted_by = std::move(name);
  } else {
    return false;
  }
  return true;
}

Replay replay(const CarriedState& state) {
  Replay out;
  const auto ask = [&out](std::string messages) {
    out.messages += std::move(messages);
    ++out.ready_count;
  };
  std::string settings;
  std::string last;  // the role's rights may not suffice for the rest
  for (const auto& [name, value] : state.settings) {
    std::string& list = name == "role" ? last : settings;
    if (!list.empty()) list += ',';
    list += " pg_catalog.set_config(" + quoted(name) + "," + quoted(value) + ", false)";
  }
  if (!settings.empty()) ask(simple_query("SELECT" + settings));
  for (const auto& statement : state.statements) {
    if (statement.from_sql) {
      ask(simple_query(statement.sql));
    } else {
      ask(parse_message(statement.name, statement.sql, statement.types) + message('S', {}));
    }
  }
  if (!last.empty()) ask(simple_query("SELECT" + last));
  return out;
}

}  // namespace trunkline::proxy
