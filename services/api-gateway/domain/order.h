// Orders: what can be asked of an instance or a host that is no change of a field. One table for
// the validation, the command and the OpenAPI document. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "api-gateway/domain/plan.h"

namespace trunkline::gateway {

struct OrderField {
  std::string_view name;
  FieldType type;  // uuid or boolean
  bool required;
  std::string_view about;
};
struct Order {
  Action action;
  std::string_view schema;  // of the body in the document; empty: it takes none
  std::span<const OrderField> fields;
};
std::span<const Order> all_orders();
const Order* find_order(Action action);

// POST of an order. `body` may be null: none was sent. Answered with the whole object once the
// order is in the log; what becomes of it is in the object's `failover` or `state`.
Outcome<Plan> plan_order(const RouteMatch& match, const HttpRequest& request, const json& body,
                         const Caller& caller, const Fresh& fresh);

}  // namespace trunkline::gateway
