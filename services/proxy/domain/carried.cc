#include "proxy/domain/carried.h"

#include <algorithm>
#include <charconv>

#include "proxy/domain/prepared_text.h"
#include "proxy/domain/wire.h"

namespace trunkline::proxy {
namespace {

// Of our own statement; the unnamed one is the client's.
constexpr char kOwn[] = "trunkline carries";
constexpr uint32_t kText = 25;  // the type's OID

constexpr char kCalm[] = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE";
// Evaluated from left to right: read, then set until the transaction ends.
constexpr char kHeld[] =
    "SELECT 'held', pg_catalog.current_setting('statement_timeout'),"
    " pg_catalog.current_setting('lock_timeout'), pg_catalog.current_setting('client_encoding'),"
    " pg_catalog.current_setting('search_path'), pg_catalog.current_setting('jit'),"
    " pg_catalog.current_setting('role'),"
    " pg_catalog.current_setting('standard_conforming_strings'),"
    " pg_catalog.getdatabaseencoding(),"
    " pg_catalog.set_config('statement_timeout', '0', true),"
    " pg_catalog.set_config('lock_timeout', '0', true),"
    " pg_catalog.set_config('client_encoding', pg_catalog.getdatabaseencoding(), true),"
    " pg_catalog.set_config('jit', 'off', true),"
    " pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)";
constexpr size_t kHeldColumns = 14;
// Read in a search path of the system's own.
constexpr char kAll[] =
    "SELECT CASE WHEN name = 'trunkline.own_settings' THEN 'guard' ELSE 'setting' END, name,"
    " setting, '' FROM pg_catalog.pg_settings"
    " WHERE source = 'session' AND context IN ('user', 'superuser')"
    " AND pg_catalog.left(name, 12) <> 'transaction_' AND name NOT IN ('statement_timeout',"
    " 'lock_timeout', 'client_encoding', 'search_path', 'jit')"
    " OR name = 'trunkline.own_settings' AND context = 'internal'"
    " UNION ALL SELECT 'setting', own.name, pg_catalog.current_setting(own.name, true), ''"
    " FROM pg_catalog.unnest(pg_catalog.string_to_array("
    "pg_catalog.current_setting('trunkline.own_settings', true), pg_catalog.chr(10)))"
    " AS own(name) WHERE own.name <> ''"
    " UNION ALL SELECT CASE WHEN from_sql THEN 'prepare' ELSE 'parse' END, name, statement,"
    " parameter_types::pg_catalog.oid[]::pg_catalog.text FROM pg_catalog.pg_prepared_statements"
    " WHERE name <> 'trunkline carries'"
    " UNION ALL SELECT 'tied', 'a temporary table or the like', '', ''"
    " WHERE EXISTS (SELECT FROM pg_catalog.pg_class"
    " WHERE relnamespace = pg_catalog.pg_my_temp_schema())"
    " OR EXISTS (SELECT FROM pg_catalog.pg_depend"
    " WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass"
    " AND refobjid = pg_catalog.pg_my_temp_schema())"
    " UNION ALL SELECT 'tied', 'LISTEN', '', '' WHERE EXISTS"
    " (SELECT FROM pg_catalog.pg_listening_channels())"
    " UNION ALL SELECT 'tied', 'an advisory lock', '', '' WHERE EXISTS"
    " (SELECT FROM pg_catalog.pg_locks"
    " WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid())"
    " UNION ALL SELECT 'tied', 'a cursor WITH HOLD', '', '' WHERE EXISTS"
    " (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)";

constexpr char kBegin[] =
    "SELECT pg_catalog.set_config('statement_timeout', '0', false),"
    " pg_catalog.set_config('lock_timeout', '0', false),"
    " pg_catalog.set_config('client_encoding', $1, false)";
constexpr char kSet[] = "SELECT pg_catalog.set_config($1, $2, false)";

std::string run_once(std::string_view sql) {
  return parse_message(kOwn, sql, {}) + bind_message(kOwn, {}) + execute_message() +
         close_statement(kOwn);
}

std::string set(const std::string& name, const std::string& value) {
  return bind_message(kOwn, {name, value}) + execute_message();
}

// They would change how what comes after them is run.
bool comes_late(std::string_view name) { return name.starts_with("default_transaction_"); }

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

void take_held(CarriedState& state, std::vector<std::string>& columns) {
  state.statement_timeout = std::move(columns[1]);
  state.lock_timeout = std::move(columns[2]);
  state.client_encoding = std::move(columns[3]);
  state.settings.emplace_back("search_path", std::move(columns[4]));
  state.settings.emplace_back("jit", std::move(columns[5]));
  state.role = std::move(columns[6]);
  state.standard_strings = columns[7] == "on";
  state.server_encoding = std::move(columns[8]);
}

}  // namespace

std::string capture_messages() {
  return run_once(kCalm) + run_once(kHeld) + run_once(kAll) + sync_message();
}

bool take_row(CarriedState& state, std::string_view row_body) {
  auto columns = row_columns(row_body);
  if (!columns || columns->empty()) return false;
  state.bytes += row_body.size();
  if (state.bytes > kMostCarriedBytes) {
    state.tied_by = "more prepared statements than are carried";
    return true;
  }
  const std::string kind = (*columns)[0];
  if (kind == "held" && columns->size() == kHeldColumns) {
    take_held(state, *columns);
    return true;
  }
  if (columns->size() != 4) return false;
  std::string& name = (*columns)[1];
  std::string& text = (*columns)[2];
  if (kind == "setting") {
    state.settings.emplace_back(std::move(name), std::move(text));
  } else if (kind == "guard") {
    state.lists_own_settings = true;
  } else if (kind == "parse") {
    state.statements.push_back({std::move(name), std::move(text), parse_types((*columns)[3])});
  } else if (kind == "prepare") {
    auto sql = prepared_statement(text, name, !state.standard_strings);
    if (!sql) {
      state.tied_by = "a PREPARE that cannot be told from the text around it";
      return true;
    }
    state.statements.push_back({std::move(name), std::move(*sql), parse_types((*columns)[3])});
  } else if (kind == "tied") {
    state.tied_by = std::move(name);
  } else {
    return false;
  }
  return true;
}

void take_followed(CarriedState& state, const TieSet& ties, bool strings_changed) {
  for (const Tie tie : {Tie::random_seed, Tie::sequence, Tie::own_setting}) {
    if (tie == Tie::own_setting && state.lists_own_settings) continue;
    if (ties.has(tie)) state.tied_by = tie_text(tie);
  }
  const auto has_escape = [](const CarriedState::Statement& statement) {
    return statement.sql.find('\\') != std::string::npos;
  };
  if (strings_changed &&
      std::any_of(state.statements.begin(), state.statements.end(), has_escape)) {
    state.tied_by = "a prepared statement of before standard_conforming_strings was changed";
  }
}

Replay replay_begin(const CarriedState& state) {
  Replay out;
  out.messages = parse_message({}, kBegin, {kText}) + bind_message({}, {state.server_encoding}) +
                 execute_message() + sync_message();
  out.steps = {Replay::Step::must_work};
  return out;
}

Replay replay(const CarriedState& state, std::string_view unnamed) {
  Replay out;
  const auto end_step = [&out](Replay::Step kind) {
    out.messages += sync_message();
    out.steps.push_back(kind);
  };
  out.messages = parse_message(kOwn, kSet, {kText, kText});
  for (const auto& [name, value] : state.settings) {
    if (!comes_late(name)) out.messages += set(name, value);
  }
  out.messages += set("role", state.role);  // its rights may not suffice for others
  end_step(Replay::Step::must_work);
  for (const auto& statement : state.statements) {
    out.messages += parse_message(statement.name, statement.sql, statement.types);
    end_step(Replay::Step::may_fail);
  }
  for (const auto& [name, value] : state.settings) {
    if (comes_late(name)) out.messages += set(name, value);
  }
  out.messages += set("client_encoding", state.client_encoding);
  end_step(Replay::Step::must_work);
  if (!unnamed.empty()) {
    out.messages += message('P', unnamed);
    end_step(Replay::Step::unnamed);
  }
  out.messages += set("lock_timeout", state.lock_timeout);
  out.messages += set("statement_timeout", state.statement_timeout);
  out.messages += close_statement(kOwn);
  end_step(Replay::Step::must_work);
  return out;
}

bool is_the_statements_own(std::string_view sqlstate) {
  for (const std::string_view kind : {"08", "25", "40", "53", "54", "55", "57", "58", "XX"}) {
    if (sqlstate.starts_with(kind)) return false;
  }
  return true;
}

void ServerParameters::take(char type, std::string_view body) {
  if (type == 'N') notices_ += message(type, body);
  if (type == 'S') newest_.insert_or_assign(std::string(Reader(body).text()), body);
}

void ServerParameters::take_all(std::string_view messages) {
  while (messages.size() >= kHeader) {
    const size_t size = get_uint32(messages.data() + 1) - 4;
    take(messages[0], messages.substr(kHeader, size));
    messages.remove_prefix(kHeader + size);
  }
}

std::string ServerParameters::messages() const {
  std::string out = notices_;
  for (const auto& [name, body] : newest_) out += message('S', body);
  return out;
}

}  // namespace trunkline::proxy
