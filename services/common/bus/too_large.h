// A message that cannot be sent, whatever happens: above 1 MB to JetStream, above 32 MB elsewhere
// (publish() sends what is above 1 MB in pieces, and subscribers get it whole; pieces.h). Thrown by
// publish() and the like, and never to be taken for BusUnavailable: the bus has counted and logged
// it (trunkline_bus_too_large_total, which raises an alert), and a publisher goes on with what is
// next.
#pragma once

#include <stdexcept>

namespace trunkline::bus {

class MessageTooLarge : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace trunkline::bus
