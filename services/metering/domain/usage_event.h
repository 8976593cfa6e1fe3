// A usage record as others get it: a CloudEvent 1.0 in structured JSON. Pure.
#pragma once

#include <string>

#include "metering/domain/usage_state.h"

namespace trunkline::metering {

struct EventOrigin {
  std::string source;       // "/trunkline/<platform>"
  std::string data_schema;  // a URL
};

inline constexpr char kUsageEventType[] = "io.trunkline.usage.v1";
inline constexpr char kUsageContentType[] = "application/cloudevents+json";

// Always the same text for the same record. Quantities are exact decimals of the meters' units.
std::string usage_event(const UsageRecord& record, const EventOrigin& origin);

}  // namespace trunkline::metering
