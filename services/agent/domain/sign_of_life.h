// What a server's error says of the server. Pure.
#pragma once

#include <string_view>

namespace trunkline::agent {

// True if a server that answers with this SQLSTATE serves others all the same: it is short of
// something, or does not like the question. Not one that starts, stops or has just crashed, not one
// whose files cannot be read (nobody can bring that about by SQL), and not where nobody answered
// ("").
inline bool is_sign_of_life(std::string_view sqlstate) {
  if (sqlstate.size() != 5 || sqlstate.starts_with("08") || sqlstate.starts_with("58") ||
      sqlstate.starts_with("XX")) {
    return false;
  }
  // admin_shutdown, crash_shutdown, cannot_connect_now
  return sqlstate != "57P01" && sqlstate != "57P02" && sqlstate != "57P03";
}

// True if a postmaster that was open and answers with this SQLSTATE starts its server anew, since
// one of its processes died: crash_shutdown, cannot_connect_now.
inline bool is_sign_of_recovery(std::string_view sqlstate) {
  return sqlstate == "57P02" || sqlstate == "57P03";
}

}  // namespace trunkline::agent
