// Bodies of price lists and webhooks.
#include <algorithm>
#include <initializer_list>

#include "api-gateway/domain/billing.h"
#include "base/clock.h"
#include "base/ids.h"

namespace trunkline::gateway {
namespace {

// The platform's own fields: a client may send back what it was shown.
const std::initializer_list<std::string_view> kPriceListShown = {
    "uuid", "number", "minor_digits", "versions", "created_at", "updated_at", "retired_at"};
const std::initializer_list<std::string_view> kWebhookShown = {
    "uuid", "project_id", "key_number", "created_at", "updated_at", "trouble"};

bool has(std::initializer_list<std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

std::optional<Problem> check_names(const json& body, std::string_view what,
                                   std::initializer_list<std::string_view> taken,
                                   std::initializer_list<std::string_view> ignored) {
  for (const auto& [name, value] : body.items()) {
    if (has(taken, name) || has(ignored, name)) continue;
    return bad_request("unknown_field",
                       std::string(what) + " has no field '" + shown(name) + "' to set");
  }
  return std::nullopt;
}

Outcome<std::string> text_field(const json& body, const char* name, bool required,
                                const std::string& where = {}) {
  const auto found = body.find(name);
  if (found == body.end()) {
    if (!required) return std::string();
    return bad_request(std::string(name) + "_missing", where + name + " is required");
  }
  if (!found->is_string()) return bad_request("bad_type", where + name + " must be a string");
  return found->get<std::string>();
}

Outcome<int64_t> time_field(const json& body, const char* name) {
  const auto text = text_field(body, name, true);
  if (!text) return text.problem();
  const auto time = parse_rfc3339(*text);
  if (!time || to_unix_us(*time) < 0 || to_unix_us(*time) % 1000 != 0) {
    return bad_request("bad_value",
                       std::string(name) + " must be an RFC 3339 time of whole milliseconds");
  }
  return to_unix_us(*time) / 1000;
}

Outcome<bool> add_price(const json& given, v1::PublishPriceList* list) {
  if (!given.is_object()) return bad_request("bad_type", "prices must be a list of objects");
  if (auto problem =
          check_names(given, "a price", {"meter", "state", "plan", "amount", "per"}, {})) {
    return *problem;
  }
  auto* price = list->add_prices();
  const std::pair<const char*, std::string*> fields[] = {{"meter", price->mutable_meter()},
                                                         {"amount", price->mutable_amount()},
                                                         {"per", price->mutable_per()},
                                                         {"state", price->mutable_state()},
                                                         {"plan", price->mutable_plan()}};
  for (const auto& [name, into] : fields) {
    const bool required = into != price->mutable_state() && into != price->mutable_plan();
    auto text = text_field(given, name, required, "prices: ");
    if (!text) return text.problem();
    *into = std::move(*text);
  }
  return true;
}

std::optional<Problem> take_flag(const json& body, const char* name, std::optional<bool>* out) {
  const auto found = body.find(name);
  if (found == body.end()) return std::nullopt;
  if (!found->is_boolean()) {
    return bad_request("bad_type", std::string(name) + " must be true or false");
  }
  *out = found->get<bool>();
  return std::nullopt;
}

}  // namespace

Outcome<v1::Command> price_list_command(const json& body) {
  if (auto problem = check_names(body, "a price list",
                                 {"name", "currency", "valid_from", "prices"}, kPriceListShown)) {
    return *problem;
  }
  v1::Command command;
  auto* list = command.mutable_price_list()->mutable_publish_price_list();
  auto name = text_field(body, "name", true);
  if (!name) return name.problem();
  auto currency = text_field(body, "currency", true);
  if (!currency) return currency.problem();
  const auto valid_from = time_field(body, "valid_from");
  if (!valid_from) return valid_from.problem();
  list->set_name(std::move(*name));
  list->set_currency(std::move(*currency));
  list->set_valid_from_unix_ms(*valid_from);
  const auto prices = body.find("prices");
  if (prices == body.end()) return bad_request("prices_missing", "prices is required");
  if (!prices->is_array()) return bad_request("bad_type", "prices must be a list of objects");
  for (const auto& price : *prices) {
    auto added = add_price(price, list);
    if (!added) return added.problem();
  }
  return command;
}

Outcome<v1::Command> webhook_create_command(const json& body) {
  if (auto problem = check_names(body, "a webhook", {"url", "project_id", "description"}, {})) {
    return *problem;
  }
  v1::Command command;
  auto* webhook = command.mutable_webhook()->mutable_create_webhook();
  auto url = text_field(body, "url", true);
  if (!url) return url.problem();
  auto project = text_field(body, "project_id", false);
  if (!project) return project.problem();
  auto description = text_field(body, "description", false);
  if (!description) return description.problem();
  if (!project->empty()) {
    const auto uuid = canonical_uuid(*project);
    if (!uuid) return bad_request("bad_uuid", "project_id must be a UUID");
    webhook->set_project_id(*uuid);
  }
  webhook->set_url(std::move(*url));
  webhook->set_description(std::move(*description));
  return command;
}

Outcome<v1::Command> webhook_update_command(const json& body) {
  if (auto problem = check_names(body, "a webhook", {"url", "description", "enabled", "rotate_key"},
                                 kWebhookShown)) {
    return *problem;
  }
  v1::Command command;
  auto* webhook = command.mutable_webhook()->mutable_update_webhook();
  if (body.contains("url")) {
    auto url = text_field(body, "url", true);
    if (!url) return url.problem();
    webhook->set_url(std::move(*url));
  }
  if (body.contains("description")) {
    auto description = text_field(body, "description", true);
    if (!description) return description.problem();
    webhook->set_description(std::move(*description));
  }
  std::optional<bool> enabled, rotate;
  if (auto problem = take_flag(body, "enabled", &enabled)) return *problem;
  if (auto problem = take_flag(body, "rotate_key", &rotate)) return *problem;
  if (enabled) webhook->set_enabled(*enabled);
  webhook->set_rotate_key(rotate.value_or(false));
  return command;
}

Outcome<v1::Command> webhook_resend_command(const json& body) {
  if (auto problem = check_names(body, "this order", {"from"}, {})) return *problem;
  const auto from = time_field(body, "from");
  if (!from) return from.problem();
  v1::Command command;
  command.mutable_webhook()->mutable_resend_webhook()->set_from_unix_ms(*from);
  return command;
}

}  // namespace trunkline::gateway
