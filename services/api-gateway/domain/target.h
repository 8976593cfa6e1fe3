// Paths and query strings: percent decoding, segments, parameters. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api-gateway/domain/problem.h"
#include "base/clock.h"

namespace trunkline::gateway {

// Decodes %XX (and '+' as space if `form`). Refuses broken escapes, control characters and what is
// not UTF-8; `what` is for the message.
Outcome<std::string> percent_decode(std::string_view text, bool form, std::string_view what);

// Decoded segments; one trailing slash is dropped. "/v1/x/" → {"v1", "x"}; "/" → {}.
Outcome<std::vector<std::string>> path_segments(std::string_view raw_path);

// Decoded key=value pairs in order; a key may come more than once.
using QueryParameters = std::vector<std::pair<std::string, std::string>>;
Outcome<QueryParameters> query_parameters(std::string_view raw_query);

// An RFC 3339 time; a '+' of an offset that was not escaped reads as a space in a query.
std::optional<TimePoint> query_time(std::string text);

bool is_utf8(std::string_view text);
// Number of code points of valid UTF-8.
size_t character_count(std::string_view utf8);

}  // namespace trunkline::gateway
