#include "api-gateway/domain/openapi.h"

#include <algorithm>
#include <string>

#include "api-gateway/domain/audit_query.h"
#include "api-gateway/domain/billing.h"
#include "api-gateway/domain/billing_openapi.h"
#include "api-gateway/domain/list_query.h"
#include "api-gateway/domain/log_request.h"
#include "api-gateway/domain/observe.h"
#include "api-gateway/domain/order.h"
#include "api-gateway/domain/resource_schema.h"
#include "api-gateway/domain/routes.h"

namespace trunkline::gateway {
namespace {

using Json = nlohmann::ordered_json;

Json schema_ref(const std::string& name) { return {{"$ref", "#/components/schemas/" + name}}; }
Json json_body(Json schema) {
  return {{"application/json", {{"schema", std::move(schema)}}}};
}

Json query_parameter(std::string_view name, Json schema, std::string_view about) {
  return {{"name", std::string(name)},
          {"in", "query"},
          {"description", std::string(about)},
          {"schema", std::move(schema)}};
}

Json path_parameters(std::string_view pattern) {
  Json out = Json::array();
  while (true) {
    const size_t open = pattern.find('{');
    if (open == std::string_view::npos) return out;
    const size_t close = pattern.find('}');
    const std::string name(pattern.substr(open + 1, close - open - 1));
    Json schema = {{"type", "string"}};
    if (name == "uuid" || name == "instance" || name == "project") schema["format"] = "uuid";
    if (name == "month") schema["example"] = "2026-11";
    if (name == "op") schema["enum"] = {"rebuild", "checksum", "retry-poison"};
    out.push_back({{"name", name}, {"in", "path"}, {"required", true}, {"schema", schema}});
    pattern.remove_prefix(close + 1);
  }
}

void put_limit(Json* parameters) {
  parameters->push_back(query_parameter(
      "page_limit", {{"type", "integer"}, {"minimum", 1}, {"maximum", kMostRows}},
      "Rows of a page; default: the most"));
}

void put_paging(Json* parameters, bool by_position) {
  put_limit(parameters);
  Json marker = by_position ? Json{{"type", "integer"}, {"minimum", 0}}
                            : Json{{"type", "string"}, {"format", "uuid"}};
  parameters->push_back(query_parameter("page_marker", std::move(marker),
                                        "X-Pagination-Marker of the page before"));
}

void put_fields(Resource resource, Json* parameters) {
  Json names = Json::array();
  for (const Field& field : fields_of(resource)) {
    if (field.shown) names.push_back(std::string(field.name));
  }
  Json fields = query_parameter(
      "fields",
      {{"type", "array"},
       {"minItems", 1},
       {"items", {{"type", "string"}, {"enum", std::move(names)}}}},
      "Only these fields");
  fields["style"] = "form";
  fields["explode"] = false;
  parameters->push_back(std::move(fields));
}

Json filter_schema(const Field& field) {
  switch (field.type) {
    case FieldType::integer: return {{"type", "integer"}, {"minimum", 0}};
    case FieldType::boolean: return {{"type", "boolean"}};
    case FieldType::uuid: return {{"type", "string"}, {"format", "uuid"}};
    case FieldType::timestamp: return {{"type", "string"}, {"format", "date-time"}};
    case FieldType::text:
    case FieldType::reference:
    case FieldType::word:
    case FieldType::text_list:
    case FieldType::object:
    case FieldType::object_list: break;
  }
  return {{"type", "string"}};
}

void put_list_parameters(Resource resource, Json* parameters) {
  Json sortable = Json::array();
  for (const Field& field : fields_of(resource)) {
    if (!is_filterable(field)) continue;
    if (is_sortable(field)) sortable.push_back(std::string(field.name));
    Json filter = query_parameter(field.name,
                                  {{"type", "array"}, {"items", filter_schema(field)}},
                                  "Exactly this; repeated: any of these");
    filter["style"] = "form";
    filter["explode"] = true;
    parameters->push_back(std::move(filter));
  }
  parameters->push_back(query_parameter(
      "sort_key", {{"type", "string"}, {"enum", std::move(sortable)}}, "Default: created_at"));
  parameters->push_back(query_parameter(
      "sort_dir", {{"type", "string"}, {"enum", {"asc", "desc"}}, {"default", "asc"}},
      "Direction"));
  put_paging(parameters, false);
  put_fields(resource, parameters);
}

void put_log_parameters(Json* parameters) {
  parameters->push_back(query_parameter("node", {{"type", "string"}, {"format", "uuid"}},
                                        "Of this node; default: the primary"));
  parameters->push_back(query_parameter("since", {{"type", "string"}, {"format", "date-time"}},
                                        "Not older than this"));
  parameters->push_back(query_parameter(
      "limit",
      {{"type", "integer"}, {"minimum", 0}, {"maximum", kMostLogLines}, {"default", 200}},
      "The newest lines"));
  parameters->push_back(query_parameter(
      "follow", {{"type", "boolean"}, {"default", false}},
      "Go on with what comes, until the client closes, at most 15 minutes; the trailer X-Log-Place "
      "says where it ended"));
  parameters->push_back(query_parameter(
      "from", {{"type", "string"}},
      "X-Log-Place of an answer: what comes right behind it, of the same node"));
}

bool sends_command(const Route& route) {
  if (route.action == Action::billing) return route.method != "GET";
  return route.action == Action::create || route.action == Action::update ||
         route.action == Action::remove || find_order(route.action) != nullptr;
}

Json parameters_of(const Route& route) {
  Json parameters = path_parameters(route.pattern);
  if (route.action == Action::list) put_list_parameters(route.resource, &parameters);
  if (route.action == Action::history) put_paging(&parameters, true);
  if (route.action == Action::failovers) put_limit(&parameters);
  if (route.action == Action::replay) {
    put_paging(&parameters, true);
    parameters.push_back(query_parameter("position", {{"type", "integer"}, {"minimum", 1}},
                                         "The decision at this position in the log alone"));
  }
  if (route.action == Action::billing) put_billing_parameters(billing_route(route), &parameters);
  if (route.action == Action::logs) put_log_parameters(&parameters);
  if (route.action == Action::audit) parameters = audit_parameters();
  if (route.action == Action::get) {
    put_fields(route.resource, &parameters);
    if (route.resource == Resource::instance) {
      parameters.push_back(query_parameter(
          "at", {{"type", "string"}, {"pattern", "^[0-9]{4}-.+|^[1-9][0-9]*$"}},
          "As of then: an RFC 3339 time or a position in the log"));
    }
  }
  for (auto& one : observe_parameters(route.action)) parameters.push_back(std::move(one));
  if (sends_command(route)) {
    parameters.push_back({{"name", "Idempotency-Key"},
                          {"in", "header"},
                          {"description", "The same key has one effect and one answer"},
                          {"schema",
                           {{"type", "string"}, {"pattern", "^[!-~]([ -~]{0,253}[!-~])?$"}}}});
  }
  return parameters;
}

Json header(std::string_view about) {
  return {{"description", std::string(about)}, {"schema", {{"type", "string"}}}};
}

Json list_schema(const Route& route) {
  std::string name(info(route.resource).schema);
  if (route.action == Action::history) name = "Event";
  if (route.action == Action::failovers) name = "Failover";
  if (route.action == Action::alerts) name = "Alert";
  if (route.action == Action::audit) name = "AuditEntry";
  if (route.action == Action::replay) name = "ReplayedDecision";
  Json array = {{"type", "array"}, {"items", schema_ref(name)}};
  if (route.resource != Resource::version || route.action != Action::list) return array;
  return {{"type", "object"}, {"properties", {{"versions", std::move(array)}}}};
}

void put_success(const Route& route, Json* responses) {
  const std::string name(info(route.resource).schema);
  Json& out = *responses;
  switch (route.action) {
    case Action::create:
      out["201"] = {
          {"description", "Created"},
          {"headers", {{"Location", header("Of what was created")}}},
          {"content",
           json_body(schema_ref(route.resource == Resource::token ? "TokenCreated" : name))}};
      break;
    case Action::list:
    case Action::history:
    case Action::failovers:
    case Action::audit:
    case Action::replay:
      out["200"] = {{"description", "A page"},
                    {"headers",
                     {{"X-Pagination-Limit", header("Rows of a page")},
                      {"X-Pagination-Marker", header("When there is more: the next page_marker")}}},
                    {"content", json_body(list_schema(route))}};
      break;
    case Action::get:
    case Action::update:
    case Action::switchover:
    case Action::failover:
    case Action::drain:
    case Action::declare_lost:
    case Action::remove_orphan:
      out["200"] = {{"description", "The whole object"}, {"content", json_body(schema_ref(name))}};
      break;
    case Action::billing: put_billing_success(route, &out); break;
    case Action::alerts:
      out["200"] = {{"description", "All that are raised"},
                    {"content", json_body(list_schema(route))}};
      break;
    case Action::logs:
      out["200"] = {{"description", "Lines of the log"},
                    {"content", {{"text/plain", {{"schema", {{"type", "string"}}}}}}}};
      break;
    case Action::remove: out["204"] = {{"description", "Done"}}; break;
    case Action::docs:
    case Action::docs_file:
      out["200"] = {{"description", "A page"}, {"content", {{"text/html", Json::object()}}}};
      break;
    case Action::metrics:
    case Action::report:
    case Action::fleet:
    case Action::prometheus: out["200"] = observe_success(route.action); break;
    case Action::admin:
    case Action::health:
    case Action::ready:
    case Action::openapi:
    case Action::usage_schema:
      out["200"] = {{"description", "Well"}, {"content", json_body({{"type", "object"}})}};
      break;
  }
  if (sends_command(route)) {
    out["202"] = {{"description", "Stored, not answered in time"},
                  {"headers", {{"Location", header("Of the operation")}}},
                  {"content", json_body(schema_ref("Operation"))}};
  }
}

void put_errors(const Route& route, Json* responses) {
  const auto refuse = [&](const char* code) {
    (*responses)[code] = {{"$ref", std::string("#/components/responses/") + code}};
  };
  refuse("400");
  if (route.access != Access::open) {
    refuse("401");
    refuse("403");
  }
  refuse("404");
  refuse("405");
  refuse("408");
  const bool writes = route.method != "GET";
  if (writes && route.action != Action::admin) refuse("409");
  refuse("413");
  refuse("414");
  if (sends_command(route) && route.method != "DELETE") refuse("415");
  refuse("417");
  if (route.access != Access::open) refuse("429");
  refuse("431");
  refuse("503");
}

Json operation(const Route& route, bool long_form) {
  std::string id(route.method);
  for (char c : route.pattern.substr(1)) {
    if (c != '}') id.push_back(c == '/' || c == '{' || c == '-' || c == '.' ? '_' : c);
  }
  if (long_form) id += "_types";
  Json out = {{"operationId", id}, {"summary", std::string(route.summary)}};
  out["tags"] = {route.action == Action::history || route.pattern.starts_with("/v1/postgres") ||
                         route.access != Access::open
                     ? std::string(info(route.resource).plural)
                     : "platform"};
  if (route.access == Access::open) out["security"] = Json::array();
  if (route.access == Access::admin) out["description"] = "For administrators.";
  const Json parameters = parameters_of(route);
  if (!parameters.empty()) out["parameters"] = parameters;
  if (route.action == Action::create || route.action == Action::update) {
    const std::string name(info(route.resource).schema);
    out["requestBody"] = {
        {"required", true},
        {"content",
         json_body(schema_ref(name + (route.action == Action::create ? "Create" : "Update")))}};
  }
  if (route.action == Action::billing && !billing_route(route).request_schema.empty()) {
    const std::string name(billing_route(route).request_schema);
    out["requestBody"] = {{"required", true}, {"content", json_body(schema_ref(name))}};
  }
  const Order* order = find_order(route.action);
  if (order != nullptr && !order->schema.empty()) {
    out["requestBody"] = {{"required", std::ranges::any_of(order->fields, &OrderField::required)},
                          {"content", json_body(schema_ref(std::string(order->schema)))}};
  }
  Json responses = Json::object();
  put_success(route, &responses);
  put_errors(route, &responses);
  out["responses"] = std::move(responses);
  return out;
}

Json error_responses() {
  static constexpr std::pair<const char*, const char*> kErrors[] = {
      {"400", "Bad value, unknown field, bad JSON, malformed UUID, unknown filter or sort key"},
      {"401", "No token, or one that is not valid"},
      {"403", "Not allowed to this token, or a read-only field"},
      {"404", "Not there, or another project's"},
      {"405", "Another method: see Allow"},
      {"408", "The request did not come in time"},
      {"409", "In use, duplicate, or has dependants"},
      {"413", "The body is too large"},
      {"414", "The request line is too long"},
      {"415", "The body is not application/json"},
      {"417", "An expectation other than 100-continue"},
      {"429", "Too many requests of this token at once: see Retry-After"},
      {"431", "The headers are too large"},
      {"503", "The log or the bus is away: see Retry-After"},
  };
  Json out = Json::object();
  for (const auto& [code, about] : kErrors) {
    out[code] = {{"description", about}, {"content", json_body(schema_ref("Problem"))}};
  }
  out["401"]["headers"] = {{"WWW-Authenticate", header("Bearer")}};
  out["405"]["headers"] = {{"Allow", header("The methods of the route")}};
  out["429"]["headers"] = {{"Retry-After", header("Seconds")}};
  out["503"]["headers"] = {{"Retry-After", header("Seconds")}};
  return out;
}

}  // namespace

Json openapi_document() {
  Json out;
  out["openapi"] = "3.0.3";
  out["info"] = {{"title", "Trunkline"},
                 {"version", "1.0.0"},
                 {"description",
                  "PostgreSQL as a service. Every path below /v1/postgres is also there below "
                  "/v1/types/postgres, and with a trailing slash."}};
  out["servers"] = {{{"url", "/"}}};
  out["security"] = {{{"bearer", Json::array()}}};
  Json paths = Json::object();
  for (const Route& route : all_routes()) {
    std::string method;
    for (char c : route.method) method.push_back(static_cast<char>(c - 'A' + 'a'));
    const std::string pattern(route.pattern);
    paths[pattern][method] = operation(route, false);
    if (pattern.starts_with("/v1/postgres/")) {
      paths["/v1/types" + pattern.substr(3)][method] = operation(route, true);
    }
  }
  out["paths"] = std::move(paths);
  out["components"] = {{"securitySchemes", {{"bearer", {{"type", "http"}, {"scheme", "bearer"}}}}},
                       {"responses", error_responses()},
                       {"schemas", openapi_schemas()}};
  return out;
}

}  // namespace trunkline::gateway
