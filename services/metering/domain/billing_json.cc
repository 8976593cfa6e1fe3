#include "metering/domain/billing_json.h"

#include <nlohmann/json.hpp>

namespace trunkline::metering {
namespace {

using Json = nlohmann::ordered_json;

std::string time_text(int64_t ms) { return format_rfc3339(from_unix_us(ms * 1000)); }

Json price_json(const Price& price) {
  Json out = {{"meter", price.meter}, {"amount", price.amount}, {"per", price.per}};
  if (!price.state.empty()) out["state"] = price.state;
  if (!price.plan.empty()) out["plan"] = price.plan;
  return out;
}

}  // namespace

std::string price_list_json(const PriceListState& list, int64_t at_ms) {
  const PriceListVersion* shown = at_ms != 0 ? version_at(list, at_ms)
                                  : list.versions.empty() ? nullptr
                                                          : &list.versions.back();
  if (shown == nullptr) return {};
  Json prices = Json::array(), versions = Json::array();
  for (const Price& price : shown->prices) prices.push_back(price_json(price));
  for (const PriceListVersion& version : list.versions) {
    versions.push_back({{"number", version.number},
                        {"name", version.name},
                        {"valid_from", time_text(version.valid_from_ms)},
                        {"published_at", format_rfc3339(version.published_at)}});
  }
  Json out = {{"uuid", list.id},
              {"name", shown->name},
              {"currency", list.currency},
              {"minor_digits", list.minor_digits},
              {"number", shown->number},
              {"valid_from", time_text(shown->valid_from_ms)},
              {"prices", std::move(prices)},
              {"versions", std::move(versions)},
              {"created_at", format_rfc3339(list.versions.front().published_at)},
              {"updated_at", format_rfc3339(list.versions.back().published_at)}};
  if (list.retired_at) out["retired_at"] = format_rfc3339(*list.retired_at);
  return out.dump();
}

std::string webhook_json(const WebhookState& webhook) {
  Json out = {{"uuid", webhook.id},
              {"url", webhook.url},
              {"project_id", webhook.project_id.empty() ? Json() : Json(webhook.project_id)},
              {"description", webhook.description},
              {"enabled", webhook.enabled},
              {"key_number", webhook.key_number},
              {"created_at", format_rfc3339(webhook.created_at)},
              {"updated_at", format_rfc3339(webhook.updated_at)}};
  if (!webhook.trouble.rule.empty()) {
    out["trouble"] = {{"rule", webhook.trouble.rule},
                      {"why", webhook.trouble.why},
                      {"since", format_rfc3339(webhook.trouble.since)}};
  }
  return out.dump();
}

}  // namespace trunkline::metering
