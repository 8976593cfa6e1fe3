#include "lookup/domain/history.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include "lookup/domain/json_writer.h"
#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/platform.pb.h"

namespace trunkline::lookup {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

bool is_secret(const std::string& field) { return field == "scram_verifier" || field == "sha256"; }

void remove_secrets(Message& message) {
  std::vector<const FieldDescriptor*> fields;
  const auto* reflection = message.GetReflection();
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (is_secret(field->name())) {
      reflection->ClearField(&message, field);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && field->is_repeated()) {
      for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
        remove_secrets(*reflection->MutableRepeatedMessage(&message, field, i));
      }
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      remove_secrets(*reflection->MutableMessage(&message, field));
    }
  }
}

template <class Event>
std::string payload_json(std::string_view payload) {
  Event event;
  if (!event.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return {};
  remove_secrets(event);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(event, &text, options).ok()) return {};
  return text;
}

std::string payload_of(const LogEvent& event) {
  const auto stream = parse_stream(event.stream);
  if (!stream) return {};
  switch (stream->aggregate) {
    case Aggregate::instance: return payload_json<v1::InstanceEvent>(event.payload);
    case Aggregate::group: return payload_json<v1::GroupEvent>(event.payload);
    case Aggregate::version: return payload_json<v1::VersionEvent>(event.payload);
    case Aggregate::host: return payload_json<v1::HostEvent>(event.payload);
    case Aggregate::token: return payload_json<v1::TokenEvent>(event.payload);
    case Aggregate::quota: return payload_json<v1::QuotaEvent>(event.payload);
  }
  return {};
}

}  // namespace

std::string history_json(const HistoryEvent& entry) {
  const LogEvent& event = entry.event;
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.number("position", static_cast<uint64_t>(event.position));
  json.text("time", format_rfc3339(event.recorded_at));
  json.text("type", event.type);
  json.text("stream", event.stream);
  json.number("version", static_cast<uint64_t>(event.version));
  json.text("actor", entry.actor);
  json.text("command_id", entry.command_id);
  json.text("correlation_id", entry.correlation_id);
  const std::string payload = payload_of(event);
  if (payload.empty()) {
    json.text("error", "the payload cannot be read");
  } else {
    json.raw("payload", payload);
  }
  json.end_object();
  return out;
}

}  // namespace trunkline::lookup
