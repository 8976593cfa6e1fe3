// A span of a message on the bus, after the semantic conventions for messaging.
#pragma once

#include <string_view>

#include "telemetry/attributes.h"
#include "telemetry/telemetry.h"

namespace trunkline::telemetry {

// `operation` is what NATS calls it ("send", "process", …), `type` what the conventions do; an
// empty one is left out.
inline void describe_message(Span& span, std::string_view destination, std::string_view operation,
                             std::string_view type) {
  span.set(kMessagingSystem, "nats");
  span.set(kMessagingDestination, destination);
  span.set(kMessagingOperation, operation);
  if (!type.empty()) span.set(kMessagingOperationType, type);
}

}  // namespace trunkline::telemetry
