#include "cli/event_text.h"

#include <google/protobuf/util/json_util.h>

#include <memory>

#include "base/digest.h"
#include "trunkline/v1/group.pb.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/platform.pb.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::cli {
namespace {

std::unique_ptr<google::protobuf::Message> message_for(const std::string& aggregate) {
  if (aggregate == "instance") return std::make_unique<v1::InstanceEvent>();
  if (aggregate == "group") return std::make_unique<v1::GroupEvent>();
  if (aggregate == "host") return std::make_unique<v1::HostEvent>();
  if (aggregate == "version") return std::make_unique<v1::VersionEvent>();
  if (aggregate == "token") return std::make_unique<v1::TokenEvent>();
  if (aggregate == "quota") return std::make_unique<v1::QuotaEvent>();
  if (aggregate == "usage") return std::make_unique<v1::UsageEvent>();
  if (aggregate == "pricelist") return std::make_unique<v1::PriceListEvent>();
  if (aggregate == "webhook") return std::make_unique<v1::WebhookEvent>();
  return nullptr;
}

bool is_secret(const std::string& field) { return field == "scram_verifier" || field == "sha256"; }

void mask(Json& json) {
  if (json.is_object()) {
    for (auto& [name, value] : json.items()) {
      if (is_secret(name)) {
        value = "***";
      } else {
        mask(value);
      }
    }
  } else if (json.is_array()) {
    for (Json& element : json) mask(element);
  }
}

Json undecodable(const eventlog::RecordedEvent& event) {
  return {{"undecodable", std::to_string(event.payload.size()) + " bytes"}};
}

}  // namespace

Json payload_json(const eventlog::RecordedEvent& event) {
  const auto message = message_for(eventlog::aggregate_of(event.stream));
  if (!message || !message->ParseFromString(event.payload)) return undecodable(event);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(*message, &text, options).ok()) {
    return undecodable(event);
  }
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return undecodable(event);
  mask(json);
  const auto body = json.find(event.type);
  return body == json.end() ? json : Json(*body);
}

Json event_json(const eventlog::RecordedEvent& event) {
  return {{"position", event.position},
          {"time", format_rfc3339(event.recorded_at)},
          {"stream", event.stream},
          {"version", event.version},
          {"type", event.type},
          {"schema_version", event.schema_version},
          {"actor", event.metadata.actor},
          {"command_id", event.metadata.command_id},
          {"causation_id", event.metadata.causation_id},
          {"correlation_id", event.metadata.correlation_id},
          {"traceparent", event.metadata.traceparent},
          {"hash", hex(event.hash)},
          {"payload", payload_json(event)}};
}

}  // namespace trunkline::cli
