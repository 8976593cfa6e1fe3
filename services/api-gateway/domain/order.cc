#include "api-gateway/domain/order.h"

#include "api-gateway/domain/plan_write.h"
#include "base/ids.h"

namespace trunkline::gateway {
namespace {

constexpr OrderField kTarget{"target", FieldType::uuid, false,
                             "uuid of the node; default: the standby that is furthest"};
constexpr OrderField kSwitchover[] = {kTarget};
constexpr OrderField kFailover[] = {
    {"accept_data_loss", FieldType::boolean, true, "true: what no fenced node has is given up"},
    kTarget};
constexpr OrderField kOrphan[] = {
    {"node", FieldType::uuid, true, "uuid of the node, of the host's orphans"}};

constexpr Order kOrders[] = {{Action::switchover, "Switchover", kSwitchover},
                             {Action::failover, "FailoverOverride", kFailover},
                             {Action::drain, "", {}},
                             {Action::declare_lost, "", {}},
                             {Action::remove_orphan, "OrphanRemoval", kOrphan}};

const OrderField* find_field(const Order& order, std::string_view name) {
  for (const OrderField& field : order.fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

std::optional<Problem> check_field(const OrderField& field, const json& value) {
  const std::string name(field.name);
  if (field.type == FieldType::boolean) {
    if (value.is_boolean()) return std::nullopt;
    return bad_request("bad_type", name + " must be true or false");
  }
  if (!value.is_string()) return bad_request("bad_type", name + " must be a string");
  if (canonical_uuid(value.get<std::string>())) return std::nullopt;
  return bad_request("bad_uuid", name + " must be a UUID");
}

std::optional<Problem> check_body(const Order& order, const json& body) {
  for (const auto& [name, value] : body.items()) {
    const OrderField* field = find_field(order, name);
    if (field == nullptr) {
      return bad_request("unknown_field", "this order has no field '" + shown(name) + "'");
    }
    if (auto problem = check_field(*field, value)) return problem;
  }
  for (const OrderField& field : order.fields) {
    if (!field.required || body.contains(field.name)) continue;
    const std::string name(field.name);
    return bad_request(name + "_missing", name + " is required");
  }
  return std::nullopt;
}

v1::Command command_of(Action action, const std::string& uuid, const json& body) {
  v1::Command command;
  command.set_aggregate_id(uuid);
  const auto given = body.find("target");
  const std::string target = given == body.end() ? "" : *canonical_uuid(given->get<std::string>());
  if (action == Action::switchover) {
    command.mutable_group()->mutable_request_switchover()->set_target_id(target);
  } else if (action == Action::failover) {
    auto* failover = command.mutable_group()->mutable_request_failover();
    failover->set_target_id(target);
    failover->set_accept_data_loss(body.at("accept_data_loss").get<bool>());
  } else if (action == Action::drain) {
    command.mutable_host()->mutable_drain_host();
  } else if (action == Action::remove_orphan) {
    command.mutable_host()->mutable_remove_orphan()->set_node_id(
        *canonical_uuid(body.at("node").get<std::string>()));
  } else {
    command.mutable_host()->mutable_declare_host_lost();
  }
  return command;
}

}  // namespace

std::span<const Order> all_orders() { return kOrders; }

const Order* find_order(Action action) {
  for (const Order& order : kOrders) {
    if (order.action == action) return &order;
  }
  return nullptr;
}

Outcome<Plan> plan_order(const RouteMatch& match, const HttpRequest& request, const json& body,
                         const Caller& caller, const Fresh& fresh) {
  const Action action = match.route->action;
  const json given = body.is_null() ? json::object() : body;
  if (auto problem = check_body(*find_order(action), given)) return *problem;
  Write plan;
  auto command_id = choose_command_id(match, request, caller, fresh, &plan.repeatable);
  if (!command_id) return command_id.problem();
  plan.command_id = *command_id;
  plan.needs.push_back(need(match.route->resource, match.uuid, {}, caller));
  plan.build = [action, uuid = match.uuid, given](
                   const std::vector<json>&, const MakeVerifier&) -> Outcome<v1::Command> {
    return command_of(action, uuid, given);
  };
  plan.read_back = get_query(match.route->resource, match.uuid, {}, caller);
  return Plan(std::move(plan));
}

}  // namespace trunkline::gateway
