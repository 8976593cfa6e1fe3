// What a statement's text tells of a client of a pool: what it asks for that no pool can give, and
// which prepared statements it forgets. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/domain/wire.h"

namespace trunkline::proxy {

struct PoolSql {
  Refusal refusal;                   // an empty sqlstate: none
  bool forgets_all = false;          // DEALLOCATE ALL, DISCARD ALL
  std::vector<std::string> forgets;  // DEALLOCATE name
  // In the place of the text, if not empty: the server knows none of these names.
  std::string instead;
};

// `text` may hold several statements. A text that is cut off is looked at as far as it goes.
PoolSql look_at(std::string_view text);

}  // namespace trunkline::proxy
