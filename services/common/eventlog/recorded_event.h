// An event as the log holds it, and the hash that chains it to the one before in its stream.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace trunkline::v1 {
class EventEnvelope;
}

namespace trunkline::eventlog {

struct Metadata {
  std::string command_id;      // UUID of the command whose decision this is
  std::string causation_id;    // command or event that led to the command; may be empty
  std::string correlation_id;  // the user action at the root; may be empty
  std::string actor;
  std::string traceparent;     // W3C; may be empty
};

struct NewEvent {
  std::string type;            // name of the oneof member, e.g. "instance_created"
  uint32_t schema_version = 1;
  std::string payload;         // serialized message of the aggregate, e.g. InstanceEvent
};

struct RecordedEvent {
  int64_t position = 0;        // global, from 1, grows; may have holes where an append failed
  std::string stream;          // "<aggregate>-<uuid>"
  int64_t version = 0;         // within the stream, contiguous from 1
  std::string type;
  uint32_t schema_version = 1;
  std::string payload;
  Metadata metadata;
  TimePoint recorded_at;
  std::string previous_hash;   // 32 bytes; of version 1: 32 zero bytes
  std::string hash;            // 32 bytes
};

std::string stream_name(const std::string& aggregate, const std::string& uuid);
// "instance-0b…" → "instance"; "" if the name has no dash.
std::string aggregate_of(const std::string& stream);
// "instance-0b…" → "0b…".
std::string uuid_of(const std::string& stream);

// SHA-256 over every other field of the event, each length-prefixed; schema.sql computes the same.
std::string compute_hash(const RecordedEvent& event);

void to_envelope(const RecordedEvent& event, int64_t previous_position, v1::EventEnvelope* out);
RecordedEvent from_envelope(const v1::EventEnvelope& envelope);

}  // namespace trunkline::eventlog
