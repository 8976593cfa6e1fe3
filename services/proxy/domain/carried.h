// A session's state as it is asked of the old server and told to the new one, so that a client
// between two transactions need not notice that its server is another one. It rests on what the
// server answered and on what was followed in the protocol; no text of the client's is executed.
// Pure; thread-safe.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/domain/session_ties.h"

namespace trunkline::proxy {

struct CarriedState {
  struct Statement {
    std::string name;
    std::string sql;
    std::vector<uint32_t> types;
  };
  using Setting = std::pair<std::string, std::string>;
  std::vector<Setting> settings;  // of the session, in the order to be set
  std::vector<Statement> statements;
  std::string role;
  std::string client_encoding;
  std::string server_encoding;
  std::string statement_timeout;
  std::string lock_timeout;
  bool standard_strings = true;
  bool lists_own_settings = false;  // the server has the guard: `settings` has them too
  std::string tied_by;              // what ties the session to its server; empty: it can go
  size_t bytes = 0;
};

// Sessions with more than this are tied to their server.
inline constexpr size_t kMostCarriedBytes = 16 << 20;

// Messages that ask for the state, ended by one Sync. They run under none of the client's timeouts,
// search path, encoding or isolation, and leave all as it was, the unnamed statement too; its role
// needs no rights for them. Their rows go to take_row().
std::string capture_messages();
// False: not a row of theirs.
bool take_row(CarriedState& state, std::string_view row_body);
// What followed the session adds to what the server said.
void take_followed(CarriedState& state, const TieSet& ties, bool strings_changed);

// Messages that make a new session like the old one. The server answers each step with one
// ReadyForQuery. An error of one that may fail leaves a statement unmade, as its text or the schema
// has it, if its SQLSTATE is_the_statements_own().
struct Replay {
  enum class Step { must_work, may_fail, unnamed };
  std::string messages;
  std::vector<Step> steps;
};
// To be sent, and answered, first: again while it fails with 57014.
Replay replay_begin(const CarriedState& state);
// `unnamed`: the body of the Parse that made the unnamed statement, or empty.
Replay replay(const CarriedState& state, std::string_view unnamed);
bool is_the_statements_own(std::string_view sqlstate);

// What a client is told of a server's parameters: the newest of each; and notices.
class ServerParameters {
 public:
  void take(char type, std::string_view body);
  void take_all(std::string_view messages);  // whole ones
  std::string messages() const;

 private:
  std::map<std::string, std::string, std::less<>> newest_;  // a message's body by its name
  std::string notices_;
};

}  // namespace trunkline::proxy
