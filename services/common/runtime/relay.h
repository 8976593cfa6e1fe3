// Publishes every event of the log once, in order and without holes to JetStream (stream TL_EVT).
// Several relays may run: each publish names the id of the message before (the position, as
// Nats-Msg-Id), so all but one are refused and read the stream's tail again. A stream that was
// wiped is refilled from the table. Runs a thread of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bus/bus.h"

namespace trunkline::runtime {

class Relay {
 public:
  Relay(bus::Bus& bus, std::string log_dsn);
  ~Relay();  // stops and joins
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  int64_t position() const;  // last event that the stream is known to hold

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::runtime
