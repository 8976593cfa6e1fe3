// JSON documents as the API sends them: the order of the fields is kept.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace trunkline::cli {

using Json = nlohmann::ordered_json;

// The member as text for people: strings as they are, numbers and booleans as JSON writes them,
// arrays joined by ", ", "" if it is not there or null. `path` may go down with dots ("a.b").
std::string text_of(const Json& document, const std::string& path);

// Multi-line JSON; bad UTF-8 is replaced, never thrown on.
std::string pretty(const Json& document);
// One line.
std::string compact(const Json& document);

}  // namespace trunkline::cli
