// PREPARE in the text of a query message. Servers keep the whole message as the statement's text,
// with whatever else stood in it, so the one statement has to be found again. Pure; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trunkline::proxy {

// The S of the only "PREPARE name … AS S" in `text`. Nothing: there is none, there are several, or
// `text` is not understood. `backslashes`: '…' has escapes (standard_conforming_strings is off).
std::optional<std::string> prepared_statement(std::string_view text, std::string_view name,
                                              bool backslashes);

}  // namespace trunkline::proxy
