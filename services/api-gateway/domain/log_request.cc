#include "api-gateway/domain/log_request.h"

#include <charconv>

#include "api-gateway/domain/list_query.h"
#include "base/clock.h"
#include "base/ids.h"

namespace trunkline::gateway {
namespace {

Outcome<int64_t> parse_since(const std::string& text) {
  const auto time = query_time(text);
  if (!time) return bad_request("bad_since", "since must be an RFC 3339 time");
  return to_unix_us(*time);
}

Outcome<uint32_t> parse_lines(const std::string& text) {
  uint32_t lines = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), lines);
  if (error != std::errc() || end != text.data() + text.size() || lines > kMostLogLines) {
    return bad_request("bad_limit",
                       "limit must be a number from 0 to " + std::to_string(kMostLogLines));
  }
  return lines;
}

std::string member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Outcome<LogWish> parse_log_query(const QueryParameters& parameters) {
  LogWish wish;
  for (const auto& [key, value] : parameters) {
    if (key == "node") {
      const auto uuid = canonical_uuid(value);
      if (!uuid) return bad_request("bad_node", "node must be the UUID of a node");
      wish.node = *uuid;
    } else if (key == "since") {
      auto since = parse_since(value);
      if (!since) return since.problem();
      wish.since_unix_us = *since;
    } else if (key == "limit") {
      auto lines = parse_lines(value);
      if (!lines) return lines.problem();
      wish.lines = *lines;
    } else if (key == "follow") {
      if (!value.empty() && value != "true" && value != "false") {
        return bad_request("bad_follow", "follow must be true or false");
      }
      wish.follow = value != "false";
    } else {
      return unknown_parameter(key);
    }
  }
  return wish;
}

Outcome<LogSource> choose_log(const json& instance, const std::string& node) {
  const auto nodes = instance.find("nodes");
  const json* chosen = nullptr;
  if (nodes != instance.end() && nodes->is_array()) {
    for (const json& candidate : *nodes) {
      if (!candidate.is_object()) continue;
      const bool wanted = node.empty() ? member(candidate, "role") == "primary"
                                       : member(candidate, "uuid") == node;
      if (wanted || (node.empty() && chosen == nullptr)) chosen = &candidate;
    }
  }
  if (chosen == nullptr || member(*chosen, "host").empty()) {
    return Problem{404, "not_found",
                   node.empty() ? std::string("the instance has no node yet")
                                : "the instance has no node " + node};
  }
  return LogSource{member(*chosen, "host"), member(*chosen, "uuid")};
}

}  // namespace trunkline::gateway
