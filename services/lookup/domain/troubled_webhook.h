// A webhook to which usage records are not delivered, as metering recorded it.
#pragma once

#include <string>

namespace trunkline::lookup {

struct TroubledWebhook {
  std::string id;
  std::string rule;  // dead_letters, receiver_away
  std::string why;
};

}  // namespace trunkline::lookup
