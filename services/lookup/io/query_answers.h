// What every answer to a question is made with.
#pragma once

#include <cstdint>
#include <string>

#include "trunkline/v1/query.pb.h"

namespace trunkline::lookup {

// A NATS message holds one megabyte.
inline constexpr size_t kMaxAnswerBytes = 900'000;
inline constexpr uint32_t kMaxEvents = 1000;

inline v1::QueryAnswer failed(v1::QueryStatus status, std::string message) {
  v1::QueryAnswer answer;
  answer.set_status(status);
  answer.set_message(std::move(message));
  return answer;
}
inline v1::QueryAnswer not_found() { return failed(v1::QUERY_STATUS_NOT_FOUND, "not there"); }
inline v1::QueryAnswer bad_field(std::string why) {
  return failed(v1::QUERY_STATUS_BAD_FIELD, std::move(why));
}
inline v1::QueryAnswer found(std::string json) {
  v1::QueryAnswer answer;
  answer.add_json(std::move(json));
  return answer;
}

}  // namespace trunkline::lookup
