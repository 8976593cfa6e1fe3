// Settings with a prefix of a client's own ("SET app.tenant = …") are listed nowhere by PostgreSQL,
// so a session that has one cannot be made again elsewhere; row security may rest on it. Pure.
#pragma once

#include <string_view>

namespace trunkline::proxy {

// True if the SQL text looks like setting one for longer than a transaction. Errs on that side.
bool sets_own_setting(std::string_view sql);

}  // namespace trunkline::proxy
