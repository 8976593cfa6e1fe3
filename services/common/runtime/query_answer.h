// Answers to questions on tl.query.<service>.
#pragma once

#include <string>

#include "bus/bus.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::runtime {

v1::QueryAnswer failed(v1::QueryStatus status, std::string message);
v1::QueryAnswer not_found();
v1::QueryAnswer bad_field(std::string why);
v1::QueryAnswer found(std::string json);
v1::QueryAnswer cannot_be_parsed();
v1::QueryAnswer too_many_waiting();

// An answer that cannot be sent is a line in the service's log: whoever asked asks again.
void send_answer(bus::Bus& bus, const std::string& reply, const std::string& answer);
void send_answer(bus::Bus& bus, const std::string& reply, const v1::QueryAnswer& answer);

}  // namespace trunkline::runtime
