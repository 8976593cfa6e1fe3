#include "api-gateway/domain/list_query.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api-gateway/domain/reference.h"
#include "base/clock.h"
#include "base/ids.h"

namespace trunkline::gateway {
namespace {

std::optional<int64_t> parse_number(std::string_view text, int64_t least, int64_t most) {
  if (text.empty() || text.size() > 18) return std::nullopt;
  int64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  if (value < least || value > most) return std::nullopt;
  return value;
}

std::optional<Problem> add_fields(Resource resource, std::string_view list,
                                  std::vector<std::string>* fields) {
  while (true) {
    const size_t comma = list.find(',');
    const std::string_view name = list.substr(0, comma);
    const Field* field = find_field(resource, name);
    if (field == nullptr || !field->shown) {
      return bad_request("unknown_field", "fields: " + with_article(resource) +
                                              " has no field '" + shown(name) + "'");
    }
    fields->emplace_back(name);
    if (comma == std::string_view::npos) return std::nullopt;
    list.remove_prefix(comma + 1);
  }
}

// The text that the field's JSON value has when it is this one.
Outcome<std::string> filter_value(const Field& field, const std::string& text) {
  const auto bad = [&](std::string_view wanted) {
    return bad_request("bad_filter",
                       "filter " + std::string(field.name) + " must be " + std::string(wanted));
  };
  switch (field.type) {
    case FieldType::integer: {
      const auto number = parse_number(text, 0, INT64_MAX);
      if (!number) return bad("a number");
      return std::to_string(*number);
    }
    case FieldType::uuid: {
      auto uuid = canonical_uuid(text);
      if (!uuid) return bad("a UUID");
      return std::move(*uuid);
    }
    case FieldType::timestamp: {
      std::string plus = text;  // '+' of an offset reads as a space in a query
      std::replace(plus.begin() + std::min<ptrdiff_t>(11, std::ssize(plus)), plus.end(), ' ', '+');
      const auto time = parse_rfc3339(plus);
      if (!time) return bad("an RFC 3339 time");
      return format_rfc3339(*time);
    }
    case FieldType::reference: return canonical_reference(field.refers_to, text);
    case FieldType::boolean:
      if (text != "true" && text != "false") return bad("true or false");
      return text;
    case FieldType::word:
      if (!is_word_of(field.words, text)) return bad("one of " + std::string(field.words));
      return text;
    case FieldType::text:
    case FieldType::text_list:
    case FieldType::object:
    case FieldType::object_list: break;
  }
  return text;
}

Outcome<bool> add_filter(Resource resource, const std::string& key, const std::string& value,
                         v1::ListResources* query) {
  const Field* field = find_field(resource, key);
  if (field == nullptr) return unknown_parameter(key);
  if (!is_filterable(*field)) {
    return bad_request("bad_filter", key + " cannot be filtered by");
  }
  auto text = filter_value(*field, value);
  if (!text) return text.problem();
  for (auto& filter : *query->mutable_filters()) {
    if (filter.field() != key) continue;
    filter.add_any_of(std::move(*text));
    return true;
  }
  auto* filter = query->add_filters();
  filter->set_field(key);
  filter->add_any_of(std::move(*text));
  return true;
}

}  // namespace

bool is_word_of(std::string_view words, std::string_view word) {
  while (true) {
    const size_t bar = words.find('|');
    if (words.substr(0, bar) == word) return true;
    if (bar == std::string_view::npos) return false;
    words.remove_prefix(bar + 1);
  }
}

Problem unknown_parameter(std::string_view key) {
  return bad_request("unknown_parameter", "there is no query parameter '" + shown(key) + "' here");
}

Outcome<uint32_t> parse_limit(std::string_view text) {
  const auto limit = parse_number(text, 1, kMostRows);
  if (!limit) {
    return bad_request("bad_page_limit",
                       "page_limit must be from 1 to " + std::to_string(kMostRows));
  }
  return static_cast<uint32_t>(*limit);
}

Outcome<ListWish> parse_list_query(Resource resource, const QueryParameters& parameters) {
  ListWish wish;
  wish.query.set_limit(kMostRows);
  for (const auto& [key, value] : parameters) {
    if (key == "fields") {
      if (auto problem = add_fields(resource, value, &wish.fields)) return *problem;
    } else if (key == "sort_key") {
      const Field* field = find_field(resource, value);
      if (field == nullptr || !is_sortable(*field)) {
        return bad_request("bad_sort_key", "sort_key: cannot sort by '" + shown(value) + "'");
      }
      wish.query.set_sort_key(value);
    } else if (key == "sort_dir") {
      if (value != "asc" && value != "desc") {
        return bad_request("bad_sort_dir", "sort_dir must be asc or desc");
      }
      wish.query.set_descending(value == "desc");
    } else if (key == "page_limit") {
      auto limit = parse_limit(value);
      if (!limit) return limit.problem();
      wish.query.set_limit(*limit);
    } else if (key == "page_marker") {
      auto marker = canonical_uuid(value);
      if (!marker) return bad_request("bad_page_marker", "page_marker must be a UUID");
      wish.query.set_marker(*marker);
    } else {
      auto filter = add_filter(resource, key, value, &wish.query);
      if (!filter) return filter.problem();
    }
  }
  return wish;
}

Outcome<GetWish> parse_get_query(Resource resource, const QueryParameters& parameters,
                                 bool history) {
  GetWish wish;
  for (const auto& [key, value] : parameters) {
    if (key == "fields") {
      if (auto problem = add_fields(resource, value, &wish.fields)) return *problem;
    } else if (key == "at" && history) {
      const auto time = query_time(value);
      const auto position = parse_number(value, 1, INT64_MAX);
      if (!time && !position) {
        return bad_request("bad_at", "at must be an RFC 3339 time or a position in the log");
      }
      if (time && to_unix_us(*time) <= 0) {
        return bad_request("bad_at", "at must not be before 1970");
      }
      wish.at_position = position.value_or(0);
      wish.at_unix_us = time ? to_unix_us(*time) : 0;
    } else {
      return unknown_parameter(key);
    }
  }
  return wish;
}

Outcome<EventsWish> parse_events_query(const QueryParameters& parameters) {
  EventsWish wish;
  for (const auto& [key, value] : parameters) {
    if (key == "page_limit") {
      auto limit = parse_limit(value);
      if (!limit) return limit.problem();
      wish.limit = *limit;
    } else if (key == "page_marker") {
      const auto position = parse_number(value, 0, INT64_MAX);
      if (!position) {
        return bad_request("bad_page_marker", "page_marker must be a position in the log");
      }
      wish.after_position = *position;
    } else {
      return unknown_parameter(key);
    }
  }
  return wish;
}

Outcome<ReplayWish> parse_replay_query(const QueryParameters& parameters) {
  ReplayWish wish;
  for (const auto& [key, value] : parameters) {
    if (key == "page_limit") {
      auto limit = parse_limit(value);
      if (!limit) return limit.problem();
      wish.limit = *limit;
      continue;
    }
    const bool is_marker = key == "page_marker";
    if (!is_marker && key != "position") return unknown_parameter(key);
    const auto position = parse_number(value, 1, INT64_MAX);
    if (!position) {
      return bad_request(is_marker ? "bad_page_marker" : "bad_position",
                         key + " must be a position in the log");
    }
    (is_marker ? wish.before_position : wish.position) = *position;
  }
  return wish;
}

Outcome<uint32_t> parse_limit_query(const QueryParameters& parameters) {
  uint32_t limit = kMostRows;
  for (const auto& [key, value] : parameters) {
    if (key != "page_limit") return unknown_parameter(key);
    auto given = parse_limit(value);
    if (!given) return given.problem();
    limit = *given;
  }
  return limit;
}

std::optional<Problem> refuse_parameters(const QueryParameters& parameters) {
  if (parameters.empty()) return std::nullopt;
  return unknown_parameter(parameters.front().first);
}

std::string choose_fields(const std::string& document, const std::vector<std::string>& fields) {
  if (fields.empty()) return document;
  const auto whole = nlohmann::ordered_json::parse(document, nullptr, false);
  if (!whole.is_object()) return document;
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const auto& [name, value] : whole.items()) {
    if (std::find(fields.begin(), fields.end(), name) != fields.end()) out[name] = value;
  }
  return out.dump();
}

}  // namespace trunkline::gateway
