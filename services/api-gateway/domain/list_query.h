// Query parameters of lists and single resources: filters, sort, paging, chosen fields, and the
// moment of a historic read. Everything that is not understood is refused. Pure.
#pragma once

#include <string>
#include <vector>

#include "api-gateway/domain/problem.h"
#include "api-gateway/domain/resource_schema.h"
#include "api-gateway/domain/target.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::gateway {

inline constexpr uint32_t kMostRows = 1000;

struct ListWish {
  v1::ListResources query;          // without kind and instance
  std::vector<std::string> fields;  // empty: all
};
Outcome<ListWish> parse_list_query(Resource resource, const QueryParameters& parameters);

struct GetWish {
  std::vector<std::string> fields;
  int64_t at_position = 0;
  int64_t at_unix_us = 0;
};
// `history`: whether `at` is understood.
Outcome<GetWish> parse_get_query(Resource resource, const QueryParameters& parameters,
                                 bool history);

struct EventsWish {
  uint32_t limit = kMostRows;
  int64_t after_position = 0;
};
Outcome<EventsWish> parse_events_query(const QueryParameters& parameters);

Problem unknown_parameter(std::string_view key);
// A page_limit.
Outcome<uint32_t> parse_limit(std::string_view text);

struct ReplayWish {
  uint32_t limit = kMostRows;
  int64_t before_position = 0;
  int64_t position = 0;  // 0: all
};
Outcome<ReplayWish> parse_replay_query(const QueryParameters& parameters);

// `page_limit` alone is understood.
Outcome<uint32_t> parse_limit_query(const QueryParameters& parameters);

// No parameter is understood.
std::optional<Problem> refuse_parameters(const QueryParameters& parameters);

// The JSON object `document` with only these fields, in their order there. The document itself if
// `fields` is empty or it is no object.
std::string choose_fields(const std::string& document, const std::vector<std::string>& fields);

// Whether `word` is one of "a|b|c".
bool is_word_of(std::string_view words, std::string_view word);

}  // namespace trunkline::gateway
