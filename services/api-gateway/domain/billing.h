// What metering answers: usage, price lists, invoices and webhooks. One table for the plan and the
// OpenAPI document. Pure.
#pragma once

#include <span>
#include <string_view>

#include "api-gateway/domain/plan.h"
#include "api-gateway/domain/target.h"

namespace trunkline::gateway {

enum class Billing {
  usage,
  usage_events,
  invoice,
  price_list_create,
  price_lists,
  price_list,
  price_list_update,
  price_list_retire,
  webhook_create,
  webhooks,
  webhook,
  webhook_update,
  webhook_delete,
  webhook_resend,
  webhook_deliveries,
  webhook_forget,
};

struct BillingParameter {
  std::string_view name;
  std::string_view type;   // "uuid", "time", "integer", "text", or words: "a|b"
  bool repeated = false;   // commas between values
  std::string_view about = {};
};

struct BillingRoute {
  std::string_view method;
  std::string_view pattern;
  Billing what;
  std::span<const BillingParameter> parameters;
  std::string_view request_schema;  // empty: takes no body
  std::string_view answer_schema;   // empty: 204
  bool list = false;                // an array of answer_schema
};

std::span<const BillingRoute> all_billing_routes();
// Of a route with Action::billing.
const BillingRoute& billing_route(const Route& route);

Outcome<Plan> plan_billing(const RouteMatch& match, const HttpRequest& request,
                           const QueryParameters& parameters, const Caller& caller,
                           const Fresh& fresh);

// Bodies to commands. `create`: nothing that is required may be left out.
Outcome<v1::Command> price_list_command(const json& body);
Outcome<v1::Command> webhook_create_command(const json& body);
Outcome<v1::Command> webhook_update_command(const json& body);
Outcome<v1::Command> webhook_resend_command(const json& body);

}  // namespace trunkline::gateway
