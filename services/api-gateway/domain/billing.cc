#include "api-gateway/domain/billing.h"

#include <algorithm>
#include <stdexcept>

#include "api-gateway/domain/list_query.h"
#include "api-gateway/domain/plan_write.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/webhook_key.h"

namespace trunkline::gateway {
namespace {

using P = BillingParameter;
using B = Billing;

constexpr P kLimit{"page_limit", "integer", false, "Rows of a page; default: the most"};
constexpr P kMarker{"page_marker", "text", false, "X-Pagination-Marker of the page before"};
constexpr P kFormat{"format", "json|csv", false, "csv is also what `Accept: text/csv` asks for"};
constexpr P kPage[] = {kLimit, kMarker};
constexpr P kNamedPage[] = {{"name", "text", false, "Exactly this name"}, kLimit, kMarker};
constexpr P kLimitOnly[] = {kLimit};
constexpr P kUsage[] = {
    {"project", "uuid", false, "Of this project; a project's token sees its own"},
    {"instance", "uuid", false, "Of this instance"},
    {"node", "uuid", false, "Of this node"},
    {"meter", "text", true, "These meters; default: all"},
    {"from", "time", false, "From the window that this time is in; default: a day before `to`"},
    {"to", "time", false, "Up to this time; default: now"},
    {"window", "1m|1h|1d|1mo", false, "Length of a row's window, UTC; default: 1h"},
    {"group_by", "project|instance|node|meter|state", true,
     "A row of each of these; meters are never added up; default: instance,meter"},
    kFormat, kLimit, kMarker};
constexpr P kInvoice[] = {
    {"price_list", "uuid", false, "Required"},
    {"compare_with", "uuid", false, "Another price list: shows the difference"},
    {"at", "integer", false, "As of this position of the log; default: now"},
    kFormat, kLimit, kMarker};
constexpr P kPriceAt[] = {
    {"at", "time", false, "The version that holds then; default: the newest"}};

// clang-format off
constexpr BillingRoute kRoutes[] = {
  {"GET",    "/v1/usage", B::usage, kUsage, "", "UsageRow", true},
  {"GET",    "/v1/usage/{record}/events", B::usage_events, kPage, "", "Event", true},
  {"GET",    "/v1/invoices/{project}/{month}", B::invoice, kInvoice, "", "Invoice"},
  {"POST",   "/v1/price-lists", B::price_list_create, {}, "PriceListWrite", "PriceList"},
  {"GET",    "/v1/price-lists", B::price_lists, kNamedPage, "", "PriceList", true},
  {"GET",    "/v1/price-lists/{uuid}", B::price_list, kPriceAt, "", "PriceList"},
  {"PUT",    "/v1/price-lists/{uuid}", B::price_list_update, {}, "PriceListWrite", "PriceList"},
  {"DELETE", "/v1/price-lists/{uuid}", B::price_list_retire, {}, "", ""},
  {"POST",   "/v1/webhooks", B::webhook_create, {}, "WebhookCreate", "WebhookSecret"},
  {"GET",    "/v1/webhooks", B::webhooks, kPage, "", "Webhook", true},
  {"GET",    "/v1/webhooks/{uuid}", B::webhook, {}, "", "Webhook"},
  {"PUT",    "/v1/webhooks/{uuid}", B::webhook_update, {}, "WebhookUpdate", "WebhookSecret"},
  {"DELETE", "/v1/webhooks/{uuid}", B::webhook_delete, {}, "", ""},
  {"POST",   "/v1/webhooks/{uuid}/resend", B::webhook_resend, {}, "WebhookResend", "Webhook"},
  {"GET",    "/v1/webhooks/{uuid}/deliveries", B::webhook_deliveries, kLimitOnly, "", "Deliveries"},
  {"DELETE", "/v1/webhooks/{uuid}/dead-letters", B::webhook_forget, {}, "", ""},
};
// clang-format on

// ---- query parameters ------------------------------------------------------------------------

struct Given {
  std::map<std::string, std::vector<std::string>, std::less<>> values;

  std::string one(std::string_view name) const {
    const auto found = values.find(name);
    return found == values.end() ? std::string() : found->second.back();
  }
  std::vector<std::string> all(std::string_view name) const {
    const auto found = values.find(name);
    return found == values.end() ? std::vector<std::string>() : found->second;
  }
  int64_t number(std::string_view name, int64_t otherwise) const {
    const std::string text = one(name);
    return text.empty() ? otherwise : std::stoll(text);
  }
};

Problem bad_parameter(std::string_view name, std::string_view wanted) {
  return bad_request("bad_value", std::string(name) + " must be " + std::string(wanted));
}

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 18 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// Milliseconds as text, cut.
std::optional<std::string> time_value(std::string text) {
  // '+' of an offset reads as a space in a query.
  std::replace(text.begin() + std::min<ptrdiff_t>(11, std::ssize(text)), text.end(), ' ', '+');
  const auto time = parse_rfc3339(text);
  if (!time || to_unix_us(*time) < 0) return std::nullopt;
  return std::to_string(to_unix_us(*time) / 1000);
}

Outcome<std::string> checked_value(const P& parameter, const std::string& value) {
  if (parameter.type == "uuid") {
    auto uuid = canonical_uuid(value);
    if (!uuid) return bad_request("bad_uuid", std::string(parameter.name) + " must be a UUID");
    return std::move(*uuid);
  }
  if (parameter.type == "time") {
    auto time = time_value(value);
    if (!time) return bad_parameter(parameter.name, "an RFC 3339 time");
    return std::move(*time);
  }
  if (parameter.name == "page_limit") {
    if (!is_number(value) || std::stoll(value) < 1 || std::stoll(value) > kMostRows) {
      return bad_request("bad_page_limit", "page_limit must be from 1 to 1000");
    }
    return value;
  }
  if (parameter.type == "integer") {
    if (!is_number(value)) return bad_parameter(parameter.name, "a position in the log");
    return value;
  }
  if (parameter.type == "text") {
    if (value.size() > 512) return bad_parameter(parameter.name, "at most 512 bytes long");
    return value;
  }
  if (!is_word_of(parameter.type, value)) {
    return bad_parameter(parameter.name, "one of " + std::string(parameter.type));
  }
  return value;
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> out(1);
  for (const char c : text) {
    if (c == ',') {
      out.emplace_back();
    } else {
      out.back().push_back(c);
    }
  }
  return out;
}

Outcome<Given> take_parameters(const BillingRoute& route, const QueryParameters& parameters) {
  Given given;
  for (const auto& [key, value] : parameters) {
    const auto known = std::ranges::find(route.parameters, key, &P::name);
    if (known == route.parameters.end()) {
      return bad_request("unknown_parameter",
                         "there is no query parameter '" + shown(key) + "' here");
    }
    if (!known->repeated && given.values.contains(key)) {
      return bad_request("repeated_parameter", key + " may be given once");
    }
    for (const auto& part : known->repeated ? split_at_commas(value) : std::vector{value}) {
      auto checked = checked_value(*known, part);
      if (!checked) return checked.problem();
      given.values[key].push_back(std::move(*checked));
    }
  }
  return given;
}

bool wants_csv(const Given& given, const HttpRequest& request) {
  if (const std::string format = given.one("format"); !format.empty()) return format == "csv";
  const auto accept = request.header("accept");
  return accept && accept->starts_with("text/csv");
}

// ---- reading ---------------------------------------------------------------------------------

constexpr int64_t kDayMs = 86'400'000;

Plan plan_usage(const Given& given, const HttpRequest& request, const Caller& caller,
                TimePoint now) {
  ReadMany plan;
  plan.missing = Problem{404, "not_found", "there is no such project, instance or node"};
  plan.limit = static_cast<uint32_t>(given.number("page_limit", kMostRows));
  if (wants_csv(given, request)) {
    plan.csv_columns = {"window_start", "window_end", "project_id", "instance", "node",
                        "meter",        "state",      "quantity",   "unit",     "record"};
  }
  *plan.query.mutable_scope() = scope_of(caller);
  auto* usage = plan.query.mutable_query_usage();
  usage->set_project_id(given.one("project"));
  usage->set_instance_id(given.one("instance"));
  usage->set_node_id(given.one("node"));
  for (auto& meter : given.all("meter")) usage->add_meters(std::move(meter));
  const int64_t to = given.number("to", to_unix_us(now) / 1000);
  usage->set_to_unix_ms(to);
  usage->set_from_unix_ms(given.number("from", std::max<int64_t>(0, to - kDayMs)));
  usage->set_window(given.one("window").empty() ? "1h" : given.one("window"));
  auto groups = given.all("group_by");
  if (groups.empty()) groups = {"instance", "meter"};
  for (auto& group : groups) usage->add_group_by(std::move(group));
  usage->set_limit(plan.limit);
  usage->set_marker(given.one("page_marker"));
  return plan;
}

Outcome<Plan> plan_usage_events(const RouteMatch& match, const Given& given,
                                const Caller& caller) {
  const std::string marker = given.one("page_marker");
  if (!marker.empty() && !is_number(marker)) {
    return bad_request("bad_page_marker", "page_marker must be a position in the log");
  }
  ReadMany plan;
  plan.missing = not_found("this record");
  plan.limit = static_cast<uint32_t>(given.number("page_limit", kMostRows));
  *plan.query.mutable_scope() = scope_of(caller);
  auto* events = plan.query.mutable_list_usage_events();
  events->set_record(match.word);
  events->set_limit(plan.limit);
  events->set_after_position(given.number("page_marker", 0));
  return Plan(std::move(plan));
}

bool is_month(std::string_view text) {
  if (text.size() != 7 || text[4] != '-') return false;
  if (!is_number(text.substr(0, 4)) || !is_number(text.substr(5))) return false;
  const int month = std::stoi(std::string(text.substr(5)));
  return std::stoi(std::string(text.substr(0, 4))) >= 1970 && month >= 1 && month <= 12;
}

Outcome<Plan> plan_invoice(const RouteMatch& match, const HttpRequest& request, const Given& given,
                           const Caller& caller) {
  if (!is_month(match.word)) {
    return bad_request("bad_month", "the month must have the form 2026-11");
  }
  if (given.one("price_list").empty()) {
    return bad_request("price_list_missing", "price_list is required");
  }
  ReadMany plan;
  plan.shape = ReadMany::Shape::invoice;
  plan.missing = Problem{404, "not_found", "there is no such project or price list"};
  plan.limit = static_cast<uint32_t>(given.number("page_limit", kMostRows));
  if (wants_csv(given, request)) {
    plan.csv_columns = {"project_id", "instance", "name",  "meter",  "state",  "quantity", "unit",
                        "price",      "per",      "price_list_version", "from", "to", "amount",
                        "currency"};
  }
  *plan.query.mutable_scope() = scope_of(caller);
  auto* invoice = plan.query.mutable_get_invoice();
  invoice->set_project_id(match.project_id);
  invoice->set_month(match.word);
  invoice->set_price_list_id(given.one("price_list"));
  invoice->set_compare_with_id(given.one("compare_with"));
  invoice->set_at_position(given.number("at", 0));
  invoice->set_limit(plan.limit);
  invoice->set_marker(given.one("page_marker"));
  return Plan(std::move(plan));
}

Plan plan_all(Resource resource, const Given& given, const Caller& caller) {
  ReadMany plan;
  plan.missing = Problem{404, "not_found", "there is no such list"};
  plan.limit = static_cast<uint32_t>(given.number("page_limit", kMostRows));
  *plan.query.mutable_scope() = scope_of(caller);
  auto* list = plan.query.mutable_list_resources();
  list->set_kind(kind_of(resource));
  list->set_limit(plan.limit);
  list->set_marker(given.one("page_marker"));
  if (const std::string name = given.one("name"); !name.empty()) {
    auto* filter = list->add_filters();
    filter->set_field("name");
    filter->add_any_of(name);
  }
  return plan;
}

Plan plan_one(Resource resource, const RouteMatch& match, const Given& given,
              const Caller& caller) {
  ReadOne plan;
  plan.missing = missing_resource(resource, match.uuid);
  plan.query = get_query(resource, match.uuid, {}, caller);
  plan.query.mutable_get_resource()->set_at_unix_us(given.number("at", 0) * 1000);
  return plan;
}

Plan plan_deliveries(const RouteMatch& match, const Given& given, const Caller& caller) {
  ReadOne plan;
  plan.missing = missing_resource(Resource::webhook, match.uuid);
  *plan.query.mutable_scope() = scope_of(caller);
  auto* deliveries = plan.query.mutable_get_deliveries();
  deliveries->set_webhook_id(match.uuid);
  deliveries->set_limit(static_cast<uint32_t>(given.number("page_limit", 100)));
  return plan;
}

// ---- writing ---------------------------------------------------------------------------------

Outcome<v1::Command> command_from(Billing what, const json& body) {
  v1::Command command;
  switch (what) {
    case B::price_list_create:
    case B::price_list_update: return price_list_command(body);
    case B::webhook_create: return webhook_create_command(body);
    case B::webhook_update: return webhook_update_command(body);
    case B::webhook_resend: return webhook_resend_command(body);
    case B::price_list_retire: command.mutable_price_list()->mutable_retire_price_list(); break;
    case B::webhook_delete: command.mutable_webhook()->mutable_delete_webhook(); break;
    case B::webhook_forget: command.mutable_webhook()->mutable_forget_dead_letters(); break;
    case B::usage:
    case B::usage_events:
    case B::invoice:
    case B::price_lists:
    case B::price_list:
    case B::webhooks:
    case B::webhook:
    case B::webhook_deliveries: throw std::logic_error("a question is no command");
  }
  return command;
}

Outcome<Plan> plan_change_of(const BillingRoute& route, const RouteMatch& match,
                             const HttpRequest& request, const Caller& caller,
                             const Fresh& fresh) {
  json body = json::object();
  if (!route.request_schema.empty()) {
    auto parsed = parse_json_object(request.body);
    if (!parsed) return parsed.problem();
    body = std::move(*parsed);
  }
  auto command = command_from(route.what, body);
  if (!command) return command.problem();
  Write plan;
  auto command_id = choose_command_id(match, request, caller, fresh, &plan.repeatable);
  if (!command_id) return command_id.problem();
  plan.command_id = *command_id;
  const Resource resource = match.route->resource;
  const bool creates = match.uuid.empty();
  const std::string id = creates ? uuid_from_name("resource/" + plan.command_id) : match.uuid;
  if (!creates) plan.needs.push_back(need(resource, id, {}, caller));
  command->set_aggregate_id(id);
  if (resource == Resource::webhook && fresh.webhook_master.empty()) {
    return Problem{503, "unavailable", "webhooks are not set up: there is no master secret"};
  }
  const bool shows_key = route.what == B::webhook_create ||
                         command->webhook().update_webhook().rotate_key();
  if (shows_key) {
    plan.extra_of = [id, master = fresh.webhook_master](const json& document) -> json {
      const auto number = document.value("key_number", uint32_t{1});
      return {{"secret", webhook_key_text(webhook_key(master, id, number))}};
    };
  }
  if (route.what == B::webhook_create) plan.extra = plan.extra_of(json::object());
  plan.build = [command = *command](const std::vector<json>&,
                                    const MakeVerifier&) -> Outcome<v1::Command> {
    return command;
  };
  if (route.answer_schema.empty()) {
    plan.success = 204;
  } else {
    plan.read_back = get_query(resource, id, {}, caller);
    plan.success = creates ? 201 : 200;
    if (creates) plan.location = match.asked_path + "/" + id;
  }
  return Plan(std::move(plan));
}

}  // namespace

std::span<const BillingRoute> all_billing_routes() { return kRoutes; }

const BillingRoute& billing_route(const Route& route) {
  for (const BillingRoute& row : kRoutes) {
    if (row.method == route.method && row.pattern == route.pattern) return row;
  }
  throw std::logic_error("a route of billing without a row in kRoutes");
}

Outcome<Plan> plan_billing(const RouteMatch& match, const HttpRequest& request,
                           const QueryParameters& parameters, const Caller& caller,
                           const Fresh& fresh) {
  const BillingRoute& route = billing_route(*match.route);
  const auto given = take_parameters(route, parameters);
  if (!given) return given.problem();
  switch (route.what) {
    case B::usage: return plan_usage(*given, request, caller, fresh.now);
    case B::usage_events: return plan_usage_events(match, *given, caller);
    case B::invoice: return plan_invoice(match, request, *given, caller);
    case B::price_lists:
    case B::webhooks: return plan_all(match.route->resource, *given, caller);
    case B::price_list:
    case B::webhook: return plan_one(match.route->resource, match, *given, caller);
    case B::webhook_deliveries: return plan_deliveries(match, *given, caller);
    case B::price_list_create:
    case B::price_list_update:
    case B::price_list_retire:
    case B::webhook_create:
    case B::webhook_update:
    case B::webhook_delete:
    case B::webhook_resend:
    case B::webhook_forget: break;
  }
  return plan_change_of(route, match, request, caller, fresh);
}

}  // namespace trunkline::gateway
