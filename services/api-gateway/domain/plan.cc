#include "api-gateway/domain/plan.h"

#include <algorithm>

#include "api-gateway/domain/audit_query.h"
#include "api-gateway/domain/billing.h"
#include "api-gateway/domain/list_query.h"
#include "api-gateway/domain/observe.h"
#include "api-gateway/domain/order.h"
#include "api-gateway/domain/plan_write.h"
#include "api-gateway/domain/target.h"

namespace trunkline::gateway {
namespace {

v1::Query list_query(const RouteMatch& match, const Caller& caller, v1::ListResources list) {
  v1::Query query;
  *query.mutable_scope() = scope_of(caller);
  list.set_kind(kind_of(match.route->resource));
  list.set_instance_id(match.instance_id);
  *query.mutable_list_resources() = std::move(list);
  return query;
}

Outcome<Plan> plan_list(const RouteMatch& match, const QueryParameters& parameters,
                        const Caller& caller) {
  auto wish = parse_list_query(match.route->resource, parameters);
  if (!wish) return wish.problem();
  ReadMany plan;
  plan.fields = std::move(wish->fields);
  plan.limit = wish->query.limit();
  plan.missing = Problem{404, "not_found", "there is no such list"};
  if (!match.instance_id.empty()) {
    plan.needs.push_back(need(Resource::instance, match.instance_id, {}, caller));
    plan.missing = plan.needs.back().missing;
  }
  if (match.route->resource == Resource::version) plan.wrap = "versions";
  plan.query = list_query(match, caller, std::move(wish->query));
  return Plan(std::move(plan));
}

Outcome<Plan> plan_get(const RouteMatch& match, const QueryParameters& parameters,
                       const Caller& caller) {
  const Resource resource = match.route->resource;
  auto wish = parse_get_query(resource, parameters, resource == Resource::instance);
  if (!wish) return wish.problem();
  ReadOne plan;
  plan.fields = std::move(wish->fields);
  plan.missing = missing_resource(resource, match.uuid);
  plan.query = get_query(resource, match.uuid, match.instance_id, caller);
  plan.query.mutable_get_resource()->set_at_position(wish->at_position);
  plan.query.mutable_get_resource()->set_at_unix_us(wish->at_unix_us);
  return Plan(std::move(plan));
}

Outcome<Plan> plan_history(const RouteMatch& match, const QueryParameters& parameters,
                           const Caller& caller) {
  const auto wish = parse_events_query(parameters);
  if (!wish) return wish.problem();
  ReadMany plan;
  plan.limit = wish->limit;
  plan.missing = missing_resource(Resource::instance, match.uuid);
  *plan.query.mutable_scope() = scope_of(caller);
  auto* events = plan.query.mutable_list_events();
  events->set_instance_id(match.uuid);
  events->set_limit(wish->limit);
  events->set_after_position(wish->after_position);
  return Plan(std::move(plan));
}

Outcome<Plan> plan_failovers(const RouteMatch& match, const QueryParameters& parameters,
                             const Caller& caller) {
  const auto limit = parse_limit_query(parameters);
  if (!limit) return limit.problem();
  ReadMany plan;
  plan.limit = *limit;
  plan.missing = missing_resource(Resource::instance, match.uuid);
  *plan.query.mutable_scope() = scope_of(caller);
  plan.query.mutable_list_failovers()->set_instance_id(match.uuid);
  plan.query.mutable_list_failovers()->set_limit(*limit);
  return Plan(std::move(plan));
}

Outcome<Plan> plan_alerts(const QueryParameters& parameters, const Caller& caller) {
  if (auto problem = refuse_parameters(parameters)) return *problem;
  ReadMany plan;
  plan.limit = kMostRows;
  plan.missing = Problem{404, "not_found", "there is no such list"};
  *plan.query.mutable_scope() = scope_of(caller);
  plan.query.mutable_list_alerts();
  return Plan(std::move(plan));
}

Outcome<Plan> plan_logs(const RouteMatch& match, const QueryParameters& parameters,
                        const Caller& caller) {
  auto wish = parse_log_query(parameters);
  if (!wish) return wish.problem();
  ReadLog plan;
  plan.wish = std::move(*wish);
  plan.needs.push_back(need(Resource::instance, match.uuid, {}, caller));
  return Plan(std::move(plan));
}

// Replication answers for every project, so lookup is asked first whether the instance is the
// caller's: by its oldest event, which is there of a deleted one, too.
Outcome<Plan> plan_replay(const RouteMatch& match, const QueryParameters& parameters,
                          const Caller& caller) {
  const auto wish = parse_replay_query(parameters);
  if (!wish) return wish.problem();
  ReadMany plan;
  plan.limit = wish->limit;
  plan.missing = missing_resource(Resource::instance, match.uuid);
  Need own{.missing = plan.missing};
  *own.query.mutable_scope() = scope_of(caller);
  own.query.mutable_list_events()->set_instance_id(match.uuid);
  own.query.mutable_list_events()->set_limit(1);
  plan.needs.push_back(std::move(own));
  if (wish->position != 0) {
    plan.missing = not_found("a decision about a failover at position " +
                             std::to_string(wish->position));
  }
  auto* replay = plan.query.mutable_replay_failovers();
  replay->set_instance_id(match.uuid);
  replay->set_position(wish->position);
  replay->set_limit(wish->limit);
  replay->set_before_position(wish->before_position);
  return Plan(std::move(plan));
}

std::optional<Problem> check_content_type(const HttpRequest& request) {
  const Problem wrong{415, "unsupported_media_type", "the body must be application/json in UTF-8"};
  if (request.header_count("content-encoding") > 0) return wrong;
  if (request.header_count("content-type") == 0) return std::nullopt;
  const auto value = request.header("content-type");
  if (!value) return wrong;
  std::string text;
  for (char c : *value) {
    if (c == ' ' || c == '\t' || c == '"') continue;
    text.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  const bool json = text == "application/json" || text == "application/json;" ||
                    text == "application/json;charset=utf-8";
  return json ? std::nullopt : std::optional(wrong);
}

}  // namespace

Answerer answerer_of(const v1::Query& query) {
  const auto is_own = [](v1::Kind kind) {
    return kind == v1::KIND_PRICE_LIST || kind == v1::KIND_WEBHOOK;
  };
  if (query.has_replay_failovers()) return Answerer::replication;
  const bool of_metering = query.has_query_usage() || query.has_list_usage_events() ||
                           query.has_get_invoice() || query.has_get_deliveries() ||
                           is_own(query.get_resource().kind()) ||
                           is_own(query.list_resources().kind());
  return of_metering ? Answerer::metering : Answerer::lookup;
}

Problem missing_resource(Resource resource, const std::string& uuid) {
  return not_found(std::string(info(resource).singular) + " " + uuid);
}

Outcome<Plan> make_plan(const RouteMatch& match, const HttpRequest& request, const Caller& caller,
                        const Fresh& fresh) {
  const auto parameters = query_parameters(request.query);
  if (!parameters) return parameters.problem();
  switch (match.route->action) {
    case Action::list: return plan_list(match, *parameters, caller);
    case Action::get: return plan_get(match, *parameters, caller);
    case Action::history: return plan_history(match, *parameters, caller);
    case Action::failovers: return plan_failovers(match, *parameters, caller);
    case Action::replay: return plan_replay(match, *parameters, caller);
    case Action::metrics:
    case Action::report:
    case Action::fleet:
    case Action::prometheus: return plan_observe(match, request, *parameters, caller);
    case Action::alerts: return plan_alerts(*parameters, caller);
    case Action::logs: return plan_logs(match, *parameters, caller);
    case Action::audit: return plan_audit(*parameters, caller);
    case Action::switchover:
    case Action::failover:
    case Action::drain:
    case Action::declare_lost:
    case Action::remove_orphan: {
      if (auto problem = refuse_parameters(*parameters)) return *problem;
      if (request.body.empty()) return plan_order(match, request, json(), caller, fresh);
      if (auto problem = check_content_type(request)) return *problem;
      auto body = parse_json_object(request.body);
      if (!body) return body.problem();
      return plan_order(match, request, *body, caller, fresh);
    }
    case Action::billing: {
      const bool takes_body = !billing_route(*match.route).request_schema.empty();
      if (takes_body) {
        if (auto problem = check_content_type(request)) return *problem;
      }
      return plan_billing(match, request, *parameters, caller, fresh);
    }
    case Action::create:
    case Action::update: {
      if (auto problem = check_content_type(request)) return *problem;
      if (auto problem = refuse_parameters(*parameters)) return *problem;
      auto body = parse_json_object(request.body);
      if (!body) return body.problem();
      return plan_change(match, request, *body, caller, fresh);
    }
    case Action::remove:
      if (auto problem = refuse_parameters(*parameters)) return *problem;
      return plan_remove(match, request, caller, fresh);
    case Action::admin:
    case Action::health:
    case Action::ready:
    case Action::openapi:
    case Action::docs:
    case Action::docs_file:
    case Action::usage_schema: break;
  }
  return Problem{404, "route_not_found", "there is no such route"};
}

}  // namespace trunkline::gateway
