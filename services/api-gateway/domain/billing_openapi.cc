#include "api-gateway/domain/billing_openapi.h"

#include <string>

#include "api-gateway/domain/list_query.h"

namespace trunkline::gateway {
namespace {

using Json = nlohmann::ordered_json;

Json text(std::string_view about = {}) {
  Json out = {{"type", "string"}};
  if (!about.empty()) out["description"] = std::string(about);
  return out;
}
Json integer() { return {{"type", "integer"}, {"minimum", 0}}; }
Json boolean() { return {{"type", "boolean"}}; }
Json uuid() { return {{"type", "string"}, {"format", "uuid"}}; }
Json time() { return {{"type", "string"}, {"format", "date-time"}}; }
// Decimal numbers are text: no reader may make a float of them.
Json decimal() {
  return {{"type", "string"}, {"pattern", "^-?[0-9]+(\\.[0-9]+)?$"}, {"example", "12.34"}};
}
Json list_of(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }
Json object(Json properties) {
  return {{"type", "object"}, {"properties", std::move(properties)}};
}
Json body(Json properties, Json required) {
  Json out = object(std::move(properties));
  if (!required.empty()) out["required"] = std::move(required);
  out["additionalProperties"] = false;
  return out;
}
Json ref(std::string_view name) {
  return {{"$ref", "#/components/schemas/" + std::string(name)}};
}
Json words(std::string_view given) {
  Json out = Json::array();
  while (true) {
    const size_t bar = given.find('|');
    out.push_back(std::string(given.substr(0, bar)));
    if (bar == std::string_view::npos) return {{"type", "string"}, {"enum", out}};
    given.remove_prefix(bar + 1);
  }
}

Json parameter_schema(const BillingParameter& parameter) {
  if (parameter.type == "uuid") return uuid();
  if (parameter.type == "time") return time();
  if (parameter.name == "page_limit") {
    return {{"type", "integer"}, {"minimum", 1}, {"maximum", kMostRows}};
  }
  if (parameter.type == "integer") return integer();
  if (parameter.type == "text") return {{"type", "string"}, {"maxLength", 512}};
  return words(parameter.type);
}

Json page_headers() {
  const auto header = [](const char* about) -> Json {
    return {{"description", about}, {"schema", {{"type", "string"}}}};
  };
  return {{"X-Pagination-Limit", header("Rows of a page")},
          {"X-Pagination-Marker", header("When there is more: the next page_marker")}};
}

bool is_paged(const BillingRoute& route) {
  for (const auto& parameter : route.parameters) {
    if (parameter.name == "page_marker") return true;
  }
  return false;
}

bool has_csv(const BillingRoute& route) {
  for (const auto& parameter : route.parameters) {
    if (parameter.name == "format") return true;
  }
  return false;
}

Json price_schema() {
  return body({{"meter", text("As in GET /v1/usage")},
               {"state", words("NEW|IN_PROGRESS|ACTIVE|ERROR")},
               {"plan", text("Left out: of any plan")},
               {"amount", decimal()},
               {"per", decimal()}},
              {"meter", "amount", "per"});
}

Json line_properties() {
  return {{"project_id", uuid()}, {"instance", uuid()},   {"name", text()},
          {"meter", text()},      {"state", text()},      {"quantity", decimal()},
          {"unit", text()},       {"from", time()},       {"to", time()}};
}

Json invoice_schema() {
  Json line = line_properties();
  const Json unpriced = line;
  line["price"] = decimal();
  line["per"] = decimal();
  line["price_list_version"] = integer();
  line["amount"] = decimal();
  line["currency"] = text();
  const Json list = object({{"uuid", uuid()}, {"name", text()}, {"versions", list_of(integer())}});
  return object(
      {{"project_id", uuid()},
       {"month", text()},
       {"from", time()},
       {"to", time()},
       {"position", {{"type", "integer"}, {"description", "Of the log: the same gives the same"}}},
       {"complete", boolean()},
       {"price_list", list},
       {"currency", text()},
       {"total", decimal()},
       {"compared", object({{"price_list", list},
                            {"currency", text()},
                            {"total", decimal()},
                            {"difference", decimal()}})},
       {"lines", list_of(object(line))},
       {"unpriced", list_of(object(unpriced))},
       {"differences", list_of(object({{"project_id", uuid()},
                                       {"instance", uuid()},
                                       {"name", text()},
                                       {"meter", text()},
                                       {"amount", decimal()},
                                       {"compared_amount", decimal()},
                                       {"difference", decimal()}}))}});
}

Json webhook_properties() {
  return {{"uuid", uuid()},
          {"url", text()},
          {"project_id", {{"type", "string"}, {"description", "Empty: all projects"}}},
          {"description", text()},
          {"enabled", boolean()},
          {"key_number", integer()},
          {"created_at", time()},
          {"updated_at", time()},
          {"trouble",
           {{"type", "object"},
            {"description", "What needs attention; left out where nothing does"},
            {"properties",
             {{"rule", words("dead_letters|receiver_away")},
              {"why", text("What the receiver answered, or why it could not be asked")},
              {"since", time()}}}}}};
}

Json deliveries_schema() {
  const Json attempt = object({{"record", uuid()},
                               {"position", integer()},
                               {"at", time()},
                               {"try", integer()},
                               {"status", integer()},
                               {"error", text()},
                               {"duration_ms", integer()}});
  const Json dead = object({{"record", uuid()},
                            {"position", integer()},
                            {"at", time()},
                            {"status", integer()},
                            {"error", text()}});
  return object({{"delivered_position", integer()},
                 {"pending", boolean()},
                 {"tries", integer()},
                 {"next_try_at", time()},
                 {"attempts", list_of(attempt)},
                 {"dead_letters", list_of(dead)}});
}

void put_price_list_schemas(Json* schemas) {
  (*schemas)["Price"] = price_schema();
  const Json version = object({{"number", integer()},
                               {"name", text()},
                               {"valid_from", time()},
                               {"published_at", time()}});
  (*schemas)["PriceList"] = object({{"uuid", uuid()},
                                    {"name", text()},
                                    {"currency", text("ISO 4217")},
                                    {"minor_digits", integer()},
                                    {"number", integer()},
                                    {"valid_from", time()},
                                    {"prices", list_of(ref("Price"))},
                                    {"versions", list_of(version)},
                                    {"created_at", time()},
                                    {"updated_at", time()},
                                    {"retired_at", time()}});
  Json write = body({{"name", {{"type", "string"}, {"minLength", 1}, {"maxLength", 255}}},
                     {"currency", {{"type", "string"}, {"pattern", "^[A-Z]{3}$"}}},
                     {"valid_from", time()},
                     {"prices", list_of(ref("Price"))}},
                    {"name", "currency", "valid_from", "prices"});
  write.erase("additionalProperties");  // what GET shows may be sent back
  (*schemas)["PriceListWrite"] = std::move(write);
}

}  // namespace

void put_billing_parameters(const BillingRoute& route, Json* parameters) {
  for (const auto& parameter : route.parameters) {
    Json schema = parameter_schema(parameter);
    if (parameter.repeated) schema = list_of(std::move(schema));
    Json out = {{"name", std::string(parameter.name)},
                {"in", "query"},
                {"description", std::string(parameter.about)},
                {"schema", std::move(schema)}};
    if (parameter.repeated) {
      out["style"] = "form";
      out["explode"] = false;
    }
    if (parameter.about == "Required") out["required"] = true;
    parameters->push_back(std::move(out));
  }
}

void put_billing_success(const Route& route, Json* responses) {
  const BillingRoute& row = billing_route(route);
  if (row.answer_schema.empty()) {
    (*responses)["204"] = {{"description", "Done"}};
    return;
  }
  const bool creates = row.method == "POST" && row.pattern.find('{') == std::string_view::npos;
  Json schema = row.list ? list_of(ref(row.answer_schema)) : ref(row.answer_schema);
  Json out = {{"description", creates ? "Created" : "Well"},
              {"content", {{"application/json", {{"schema", std::move(schema)}}}}}};
  if (has_csv(row)) out["content"]["text/csv"] = {{"schema", {{"type", "string"}}}};
  if (is_paged(row)) out["headers"] = page_headers();
  if (creates) {
    out["headers"]["Location"] = {{"description", "Of what was created"},
                                  {"schema", {{"type", "string"}}}};
  }
  (*responses)[creates ? "201" : "200"] = std::move(out);
}

void put_billing_schemas(Json* schemas) {
  (*schemas)["UsageRow"] = object({{"window_start", time()},
                                   {"window_end", time()},
                                   {"project_id", uuid()},
                                   {"instance", uuid()},
                                   {"node", uuid()},
                                   {"meter", text()},
                                   {"state", text()},
                                   {"quantity", decimal()},
                                   {"unit", text()},
                                   {"record", text("For GET /v1/usage/{record}/events")}});
  (*schemas)["Invoice"] = invoice_schema();
  put_price_list_schemas(schemas);
  Json webhook = webhook_properties();
  (*schemas)["Webhook"] = object(webhook);
  webhook["secret"] = text("The signing key, whsec_…; only when it was made by this request");
  (*schemas)["WebhookSecret"] = object(std::move(webhook));
  const Json url = {{"type", "string"}, {"format", "uri"}, {"maxLength", 2048}};
  const Json description = {{"type", "string"}, {"maxLength", 1024}};
  (*schemas)["WebhookCreate"] =
      body({{"url", url}, {"project_id", uuid()}, {"description", description}}, {"url"});
  Json update = body({{"url", url},
                      {"description", description},
                      {"enabled", boolean()},
                      {"rotate_key", boolean()}},
                     Json::array());
  update.erase("additionalProperties");
  (*schemas)["WebhookUpdate"] = std::move(update);
  (*schemas)["WebhookResend"] = body({{"from", time()}}, {"from"});
  (*schemas)["Deliveries"] = deliveries_schema();
}

}  // namespace trunkline::gateway
