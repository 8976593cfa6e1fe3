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

std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Outcome<uint32_t> parse_lines(const std::string& text) {
  const auto lines = number_of(text);
  if (!lines || *lines > kMostLogLines) {
    return bad_request("bad_limit",
                       "limit must be a number from 0 to " + std::to_string(kMostLogLines));
  }
  return static_cast<uint32_t>(*lines);
}

// <node>.<generation>.<offset>
bool parse_place(const std::string& text, LogWish* wish) {
  const size_t first = text.find('.'), last = text.rfind('.');
  if (first == std::string::npos || first == last) return false;
  const auto node = canonical_uuid(text.substr(0, first));
  const auto generation = number_of(std::string_view(text).substr(first + 1, last - first - 1));
  const auto offset = number_of(std::string_view(text).substr(last + 1));
  if (!node || !generation || !offset) return false;
  wish->node = *node;
  wish->from.emplace();
  wish->from->set_generation(std::to_string(*generation));
  wish->from->set_offset(*offset);
  return true;
}

std::string member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Outcome<LogWish> parse_log_query(const QueryParameters& parameters) {
  LogWish wish;
  bool chosen = false;
  for (const auto& [key, value] : parameters) {
    chosen = chosen || key == "node" || key == "since" || key == "limit";
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
    } else if (key == "from") {
      if (!parse_place(value, &wish)) {
        return bad_request("bad_from", std::string("from must be what an answer named in ") +
                                           kLogPlaceHeader);
      }
    } else {
      return unknown_parameter(key);
    }
  }
  if (wish.from && chosen) {
    return bad_request("bad_from", "from goes with neither node nor since nor limit");
  }
  return wish;
}

std::string log_place_text(const std::string& node, const v1::LogPlace& place) {
  return node + "." + place.generation() + "." + std::to_string(place.offset());
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
