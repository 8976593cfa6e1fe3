// A session's state as it is asked of the old server and told to the new one, so that a client
// between two transactions need not notice that its server is another one. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trunkline::proxy {

struct CarriedState {
  struct Statement {
    std::string name;
    std::string sql;
    bool from_sql = false;  // PREPARE, else the protocol's Parse
    std::vector<uint32_t> types;
  };
  std::vector<std::pair<std::string, std::string>> settings;  // in the order to be set
  std::vector<Statement> statements;
  std::string rooted_by;  // what ties the session to its server; empty: it can go
};

// One simple query; its rows go to take_row().
std::string capture_sql();
// False: not a row of capture_sql().
bool take_row(CarriedState& state, std::string_view row_body);

// Messages that make a new session like the old one, each group ended so that the server answers
// `ready_count` times with ReadyForQuery. Empty: nothing to do.
struct Replay {
  std::string messages;
  size_t ready_count = 0;
};
Replay replay(const CarriedState& state);

}  // namespace trunkline::proxy
