// Small translations between domain outcomes and the wire.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <variant>
#include <vector>

#include "base/decision.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::runtime {

// Name of the member that is set in the message's first oneof ("create_instance"); "" if none.
std::string oneof_name(const google::protobuf::Message& message);

v1::CommandAnswer rejection_answer(const Rejection& rejection);

template <class Event>
v1::CommandAnswer answer_of(const Decision<Event>& decision) {
  v1::CommandAnswer answer;
  if (const auto* rejection = std::get_if<Rejection>(&decision))
    return rejection_answer(*rejection);
  if (const auto* already = std::get_if<AlreadySo>(&decision)) {
    answer.mutable_ignored()->set_why(already->why);
  } else {
    answer.mutable_accepted();
  }
  return answer;
}

}  // namespace trunkline::runtime
