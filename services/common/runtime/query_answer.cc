#include "runtime/query_answer.h"

#include <spdlog/spdlog.h>

#include "bus/too_large.h"

namespace trunkline::runtime {

v1::QueryAnswer failed(v1::QueryStatus status, std::string message) {
  v1::QueryAnswer answer;
  answer.set_status(status);
  answer.set_message(std::move(message));
  return answer;
}

v1::QueryAnswer not_found() { return failed(v1::QUERY_STATUS_NOT_FOUND, "not there"); }

v1::QueryAnswer bad_field(std::string why) {
  return failed(v1::QUERY_STATUS_BAD_FIELD, std::move(why));
}

v1::QueryAnswer found(std::string json) {
  v1::QueryAnswer answer;
  answer.add_json(std::move(json));
  return answer;
}

v1::QueryAnswer cannot_be_parsed() { return bad_field("the query cannot be parsed"); }

v1::QueryAnswer too_many_waiting() {
  return failed(v1::QUERY_STATUS_TOO_MANY,
                "too many questions of this project are waiting; ask again when some are answered");
}

void send_answer(bus::Bus& bus, const std::string& reply, const std::string& answer) {
  try {
    bus.publish(reply, answer);
  } catch (const bus::BusUnavailable& error) {
    spdlog::warn("an answer could not be sent: {}", error.what());
  }
}

void send_answer(bus::Bus& bus, const std::string& reply, const v1::QueryAnswer& answer) {
  try {
    bus.publish(reply, answer.SerializeAsString());
  } catch (const bus::MessageTooLarge&) {
    send_answer(bus, reply, failed(v1::QUERY_STATUS_UNAVAILABLE, "the answer is too large"));
  } catch (const bus::BusUnavailable& error) {
    spdlog::warn("an answer could not be sent: {}", error.what());
  }
}

}  // namespace trunkline::runtime
