#include "eventlog/recorded_event.h"

#include "base/digest.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::eventlog {
namespace {

void put_big_endian(std::string& out, uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(value >> shift & 0xff));
  }
}

void put_sized(std::string& out, const std::string& field) {
  put_big_endian(out, field.size(), 4);
  out += field;
}

}  // namespace

std::string stream_name(const std::string& aggregate, const std::string& uuid) {
  return aggregate + "-" + uuid;
}

std::string aggregate_of(const std::string& stream) {
  const size_t dash = stream.find('-');
  return dash == std::string::npos ? std::string() : stream.substr(0, dash);
}

std::string uuid_of(const std::string& stream) {
  const size_t dash = stream.find('-');
  return dash == std::string::npos ? std::string() : stream.substr(dash + 1);
}

std::string compute_hash(const RecordedEvent& event) {
  std::string text;
  text.reserve(event.payload.size() + 400);
  put_big_endian(text, static_cast<uint64_t>(event.position), 8);
  put_big_endian(text, static_cast<uint64_t>(event.version), 8);
  put_big_endian(text, event.schema_version, 4);
  put_big_endian(text, static_cast<uint64_t>(to_unix_us(event.recorded_at)), 8);
  put_sized(text, event.stream);
  put_sized(text, event.type);
  put_sized(text, event.payload);
  put_sized(text, event.metadata.command_id);
  put_sized(text, event.metadata.causation_id);
  put_sized(text, event.metadata.correlation_id);
  put_sized(text, event.metadata.actor);
  put_sized(text, event.metadata.traceparent);
  put_sized(text, event.previous_hash);
  return sha256(text);
}

void to_envelope(const RecordedEvent& event, int64_t previous_position, v1::EventEnvelope* out) {
  out->set_position(static_cast<uint64_t>(event.position));
  out->set_previous_position(static_cast<uint64_t>(previous_position));
  out->set_stream(event.stream);
  out->set_version(static_cast<uint64_t>(event.version));
  out->set_type(event.type);
  out->set_schema_version(event.schema_version);
  out->set_payload(event.payload);
  out->set_command_id(event.metadata.command_id);
  out->set_causation_id(event.metadata.causation_id);
  out->set_correlation_id(event.metadata.correlation_id);
  out->set_actor(event.metadata.actor);
  out->set_traceparent(event.metadata.traceparent);
  out->set_recorded_unix_us(to_unix_us(event.recorded_at));
  out->set_previous_hash(event.previous_hash);
  out->set_hash(event.hash);
}

RecordedEvent from_envelope(const v1::EventEnvelope& envelope) {
  RecordedEvent event;
  event.position = static_cast<int64_t>(envelope.position());
  event.stream = envelope.stream();
  event.version = static_cast<int64_t>(envelope.version());
  event.type = envelope.type();
  event.schema_version = envelope.schema_version();
  event.payload = envelope.payload();
  event.metadata = {envelope.command_id(), envelope.causation_id(), envelope.correlation_id(),
                    envelope.actor(), envelope.traceparent()};
  event.recorded_at = from_unix_us(envelope.recorded_unix_us());
  event.previous_hash = envelope.previous_hash();
  event.hash = envelope.hash();
  return event;
}

}  // namespace trunkline::eventlog
