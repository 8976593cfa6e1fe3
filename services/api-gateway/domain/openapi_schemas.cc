#include <string>

#include "api-gateway/domain/audit_query.h"
#include "api-gateway/domain/observe.h"
#include "api-gateway/domain/billing_openapi.h"
#include "api-gateway/domain/openapi.h"
#include "api-gateway/domain/order.h"
#include "api-gateway/domain/reference.h"
#include "api-gateway/domain/resource_schema.h"

namespace trunkline::gateway {
namespace {

using Json = nlohmann::ordered_json;

enum class Use { answer, create, update };

std::string pattern_of(TextRule rule) {
  switch (rule) {
    case TextRule::database_name:
      return "^(?!(postgres|template0|template1)$)[A-Za-z_][A-Za-z0-9_]{0,62}$";
    case TextRule::user_name:
      return "^(?!(pg_|dbaas_|postgres))[A-Za-z_][A-Za-z0-9_$]{0,62}$";
    case TextRule::image: return "^[a-z0-9_-][a-z0-9._-]*$";
    case TextRule::locale: return "^[A-Za-z0-9_.@-]*$";
    // Of the characters that are not seen (base/utf8.h), those that a pattern can name briefly.
    case TextRule::line:
      return "^[^\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u200b-\\u200f\\u2028-\\u202e"
             "\\u2060-\\u206f\\ufeff]*$";
    case TextRule::free:
      return "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u200b"
             "\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]*$";
    case TextRule::secret: return "^[^\\u0000]*$";
  }
  return {};
}

Json words_of(std::string_view words) {
  Json out = Json::array();
  while (true) {
    const size_t bar = words.find('|');
    out.push_back(std::string(words.substr(0, bar)));
    if (bar == std::string_view::npos) return out;
    words.remove_prefix(bar + 1);
  }
}

void put_type(const Field& field, Use use, Json* out) {
  Json& schema = *out;
  switch (field.type) {
    case FieldType::text: {
      schema["type"] = "string";
      if (field.max == 0) break;
      schema["minLength"] = field.min;
      schema["maxLength"] = field.max;
      const std::string pattern = pattern_of(field.text_rule);
      if (!pattern.empty() && use != Use::answer) schema["pattern"] = pattern;
      if (field.text_rule == TextRule::secret) schema["format"] = "password";
      break;
    }
    case FieldType::integer:
      schema["type"] = "integer";
      schema["format"] = "int64";
      schema["minimum"] = field.min;
      if (field.max != INT64_MAX) schema["maximum"] = field.max;
      break;
    case FieldType::boolean: schema["type"] = "boolean"; break;
    case FieldType::uuid:
      schema["type"] = "string";
      schema["format"] = "uuid";
      break;
    case FieldType::reference:
      schema["type"] = "string";
      schema["format"] = "uri-reference";
      schema["example"] = resource_uri(field.refers_to, "8e2d4c0e-5f0b-4b36-9d0e-0a4f6b1c2d3e",
                                       "1c6a2b7e-93f4-4d0a-8c11-7f2e5d4b3a21");
      break;
    case FieldType::timestamp:
      schema["type"] = "string";
      schema["format"] = "date-time";
      break;
    case FieldType::word:
      schema["type"] = "string";
      schema["enum"] = words_of(field.words);
      break;
    case FieldType::text_list:
      schema["type"] = "array";
      schema["items"] = {{"type", "string"}};
      break;
    case FieldType::object: schema["type"] = "object"; break;
    case FieldType::object_list:
      schema["type"] = "array";
      schema["items"] = {{"type", "object"}};
      break;
  }
}

Json endpoint_schema() {
  return {{"type", "object"},
          {"properties",
           {{"host", {{"type", "string"}}},
            {"port", {{"type", "integer"}}},
            {"uri", {{"type", "string"}}}}}};
}

// The inside of what the platform alone writes.
void put_inside(const Field& field, Json* out) {
  Json& schema = *out;
  if (field.name == "error") {
    schema["properties"] = {{"type", {{"type", "string"}}},
                            {"code", {{"description", "A stable word"}}},
                            {"message", {{"type", "string"}}}};
  } else if (field.name == "failover") {
    schema["properties"] = {
        {"since", {{"type", "string"}, {"format", "date-time"}}},
        {"kind", {{"type", "string"}, {"enum", {"failover", "switchover", "override"}}}},
        {"from", {{"type", "string"}, {"format", "uuid"}}},
        {"rule", {{"type", "string"}}},
        {"why", {{"type", "string"}}}};
  } else if (field.name == "pinned_sessions") {
    schema["properties"] = {
        {"sessions", {{"type", "integer"}, {"minimum", 1}}},
        {"why",
         {{"type", "array"},
          {"items",
           {{"type", "object"},
            {"properties",
             {{"reason", {{"type", "string"}}},
              {"sessions", {{"type", "integer"}, {"minimum", 1}}}}}}}}}};
  } else if (field.name == "writes") {
    schema["properties"] = {
        {"possible", {{"type", "boolean"}}},
        {"since", {{"type", "string"}, {"format", "date-time"}}},
        {"why",
         {{"type", "string"},
          {"enum",
           {"failover", "disk_full", "host_disk_full", "files_full", "host_files_full",
            "no_sync_standby"}}}}};
  } else if (field.name == "orphans") {
    schema["items"] = {{"type", "object"},
                       {"properties",
                        {{"node", {{"type", "string"}, {"format", "uuid"}}},
                         {"instance", {{"type", "string"}}},
                         {"data_bytes", {{"type", "integer"}, {"minimum", 0}}}}}};
  } else if (field.name == "endpoints") {
    schema["properties"] = {{"read_write", endpoint_schema()}, {"read_only", endpoint_schema()}};
  } else if (field.name == "nodes") {
    schema["items"] = {
        {"type", "object"},
        {"properties",
         {{"uuid", {{"type", "string"}, {"format", "uuid"}}},
          {"role", {{"type", "string"}, {"enum", {"primary", "standby"}}}},
          {"status", {{"type", "string"}, {"enum", {"NEW", "IN_PROGRESS", "ACTIVE", "ERROR"}}}},
          {"host", {{"type", "string"}}},
          {"zone", {{"type", "string"}}},
          {"lag_bytes", {{"type", "integer"}, {"minimum", 0}}}}}};
  }
}

bool belongs(const Field& field, Use use) {
  switch (use) {
    case Use::answer: return field.shown;
    case Use::create:
      return field.on_create == OnCreate::required || field.on_create == OnCreate::optional;
    case Use::update: return field.on_update != OnUpdate::refused_403;
  }
  return false;
}

Json resource_schema(Resource resource, Use use) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const Field& field : fields_of(resource)) {
    if (!belongs(field, use)) continue;
    Json schema = Json::object();
    put_type(field, use, &schema);
    put_inside(field, &schema);
    std::string about(field.about);
    if (use == Use::update && field.on_update == OnUpdate::frozen_400) {
      about += about.empty() ? "Cannot be changed" : "; cannot be changed";
    }
    if (!about.empty()) schema["description"] = about;
    if (use == Use::create && !field.default_json.empty()) {
      schema["default"] = Json::parse(field.default_json);
    }
    if (use == Use::answer && field.on_create != OnCreate::required) {
      if (field.on_create != OnCreate::optional) schema["readOnly"] = true;
    }
    if (!field.shown) schema["writeOnly"] = true;
    properties[std::string(field.name)] = std::move(schema);
    if (use == Use::create && field.on_create == OnCreate::required) {
      required.push_back(std::string(field.name));
    }
  }
  Json out = {{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) out["required"] = std::move(required);
  if (use != Use::answer) out["additionalProperties"] = false;
  return out;
}

Json event_schema() {
  return {{"type", "object"},
          {"properties",
           {{"position", {{"type", "integer"}}},
            {"time", {{"type", "string"}, {"format", "date-time"}}},
            {"type", {{"type", "string"}}},
            {"stream", {{"type", "string"}}},
            {"version", {{"type", "integer"}}},
            {"actor", {{"type", "string"}}},
            {"command_id", {{"type", "string"}}},
            {"correlation_id", {{"type", "string"}}},
            {"payload", {{"type", "object"}}}}}};
}

Json order_schema(const Order& order) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const OrderField& field : order.fields) {
    const std::string name(field.name);
    properties[name] = field.type == FieldType::boolean
                           ? Json{{"type", "boolean"}}
                           : Json{{"type", "string"}, {"format", "uuid"}};
    properties[name]["description"] = std::string(field.about);
    if (field.required) required.push_back(name);
  }
  Json out = {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  if (!required.empty()) out["required"] = required;
  return out;
}

Json alert_schema() {
  const Json text = {{"type", "string"}};
  const Json time = {{"type", "string"}, {"format", "date-time"}};
  return {{"type", "object"},
          {"properties",
           {{"rule", text},
            {"severity", {{"type", "string"}, {"enum", {"warning", "critical"}}}},
            {"subject", text},
            {"about", text},
            {"detail", text},
            {"since", time},
            {"raised_at", time}}}};
}

Json failover_schema() {
  const Json text = {{"type", "string"}}, integer = {{"type", "integer"}, {"minimum", 0}};
  const Json uuid = {{"type", "string"}, {"format", "uuid"}};
  const Json time = {{"type", "string"}, {"format", "date-time"}};
  const Json facts = {{"type", "array"}, {"items", text}};
  const Json decision = {{"rule", text}, {"why", text}, {"facts", facts}};
  Json blocked = decision;
  blocked["at"] = time;
  return {
      {"type", "object"},
      {"properties",
       {{"term", integer},
        {"kind", {{"type", "string"}, {"enum", {"failover", "switchover", "override"}}}},
        {"status",
         {{"type", "string"},
          {"enum",
           {"UNDER_WAY", "BLOCKED", "COMPLETED", "GIVEN_UP", "SUPERSEDED", "REFUSED",
            "WITHDRAWN"}}}},
        {"from_node", uuid},
        {"from_host", text},
        {"to_node", uuid},
        {"to_host", text},
        {"started_at", time},
        {"promoted_at", time},
        {"opened_at", time},
        {"duration_ms", integer},
        {"rule", text},
        {"why", text},
        {"facts", facts},
        {"blocked",
         {{"type", "array"}, {"items", {{"type", "object"}, {"properties", blocked}}}}},
        {"promotion", {{"type", "object"}, {"properties", decision}}},
        {"lost_bytes", integer},
        {"requested_by", text}}}};
}

Json replayed_schema() {
  const Json text = {{"type", "string"}}, integer = {{"type", "integer"}, {"minimum", 1}};
  const Json ruling = {{"type", "object"},
                       {"properties", {{"rule", text}, {"why", text}, {"assigns", text}}}};
  return {
      {"type", "object"},
      {"properties",
       {{"position", integer},
        {"version", integer},
        {"time", {{"type", "string"}, {"format", "date-time"}}},
        {"event",
         {{"type", "string"},
          {"enum", {"failover_started", "failover_blocked", "primary_assigned"}}}},
        {"result", {{"type", "string"}, {"enum", {"SAME", "DIFFERENT", "NOT_RECORDED"}}}},
        {"why", {{"type", "string"}, {"description", "What is different, in a sentence"}}},
        {"then", ruling},
        {"now", ruling}}}};
}

}  // namespace

Json openapi_schemas() {
  Json schemas = Json::object();
  schemas["Problem"] = {
      {"type", "object"},
      {"required", {"type", "code", "message"}},
      {"properties",
       {{"type", {{"type", "string"}, {"description", "The rule that was broken"}}},
        {"code", {{"type", "integer"}, {"description", "HTTP status"}}},
        {"message",
         {{"type", "string"}, {"description", "What is wrong, which field, what is allowed"}}}}}};
  for (const Resource resource : {Resource::instance, Resource::user, Resource::database,
                                  Resource::version, Resource::host, Resource::token,
                                  Resource::quota, Resource::operation}) {
    const std::string name(info(resource).schema);
    schemas[name] = resource_schema(resource, Use::answer);
    if (!info(resource).create_message.empty()) {
      schemas[name + "Create"] = resource_schema(resource, Use::create);
    }
    if (!info(resource).update_message.empty()) {
      schemas[name + "Update"] = resource_schema(resource, Use::update);
    }
  }
  schemas["TokenCreated"] = {
      {"allOf",
       {{{"$ref", "#/components/schemas/Token"}},
        {{"type", "object"},
         {"properties",
          {{"token", {{"type", "string"}, {"description", "The secret; shown only here"}}}}}}}}};
  schemas["Event"] = event_schema();
  put_observe_schemas(&schemas);
  schemas["Failover"] = failover_schema();
  schemas["ReplayedDecision"] = replayed_schema();
  put_billing_schemas(&schemas);
  schemas["Alert"] = alert_schema();
  schemas["AuditEntry"] = audit_schema();
  for (const Order& order : all_orders()) {
    if (!order.schema.empty()) schemas[std::string(order.schema)] = order_schema(order);
  }
  return schemas;
}

}  // namespace trunkline::gateway
