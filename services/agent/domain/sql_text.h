// Quoting of names and values for SQL and for postgresql.conf. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace trunkline::agent {

// "name", with double quotes doubled. The caller has checked that there is no NUL in it.
std::string quote_identifier(std::string_view name);
// 'text' for a session with standard_conforming_strings on.
std::string quote_literal(std::string_view text);
// 'text' for postgresql.conf (backslashes count there).
std::string quote_setting(std::string_view text);
// 'text' for a value within a libpq connection string.
std::string quote_conninfo(std::string_view text);

// The replication slot of a standby: "tl_" and the id with '-' as '_'.
std::string slot_name(std::string_view node_id);
// The node id of a slot of ours, or "" if it is not one.
std::string node_of_slot(std::string_view slot);

}  // namespace trunkline::agent
