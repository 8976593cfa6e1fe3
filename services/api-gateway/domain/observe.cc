#include "api-gateway/domain/observe.h"

#include "api-gateway/domain/list_query.h"
#include "base/clock.h"

namespace trunkline::gateway {
namespace {

using Json = nlohmann::ordered_json;

struct Span {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  int64_t step_ms = 0;
};

Problem bad_time(const std::string& name) {
  return bad_request("bad_" + name, name + " must be an RFC 3339 time");
}

// "90", "90s", "5m", "1h", "1d".
std::optional<int64_t> duration_ms(std::string_view text) {
  int64_t unit = 1000;
  if (!text.empty() && (text.back() < '0' || text.back() > '9')) {
    switch (text.back()) {
      case 's': break;
      case 'm': unit = 60'000; break;
      case 'h': unit = 3'600'000; break;
      case 'd': unit = 86'400'000; break;
      default: return std::nullopt;
    }
    text.remove_suffix(1);
  }
  if (text.empty() || text.size() > 7) return std::nullopt;
  int64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  if (value == 0) return std::nullopt;
  return value * unit;
}

Outcome<Span> parse_span(const QueryParameters& parameters) {
  Span span;
  for (const auto& [key, value] : parameters) {
    if (key == "from" || key == "to") {
      const auto time = query_time(value);
      if (!time || to_unix_us(*time) <= 0) return bad_time(key);
      (key == "from" ? span.from_ms : span.to_ms) = to_unix_us(*time) / 1000;
    } else if (key == "step") {
      const auto step = duration_ms(value);
      if (!step) {
        return bad_request("bad_step", "step must be seconds, or a number with s, m, h or d");
      }
      span.step_ms = *step;
    } else {
      return unknown_parameter(key);
    }
  }
  return span;
}

Json string_schema(const char* format = nullptr) {
  Json out = {{"type", "string"}};
  if (format != nullptr) out["format"] = format;
  return out;
}

Json parameter(const char* name, Json schema, const char* about) {
  return {{"name", name}, {"in", "query"}, {"description", about}, {"schema", std::move(schema)}};
}

Json json_of(const char* schema) {
  return {{"application/json",
           {{"schema", {{"$ref", std::string("#/components/schemas/") + schema}}}}}};
}

}  // namespace

bool is_observed(Action action) {
  return action == Action::metrics || action == Action::report || action == Action::fleet ||
         action == Action::prometheus;
}

bool wants_html(const std::string& accept) {
  const size_t html = accept.find("text/html");
  const size_t json = accept.find("application/json");
  return html != std::string::npos && (json == std::string::npos || html < json);
}

Outcome<Plan> plan_observe(const RouteMatch& match, const HttpRequest& request,
                           const QueryParameters& parameters, const Caller& caller) {
  ReadOne plan;
  *plan.query.mutable_scope() = scope_of(caller);
  plan.missing = missing_resource(Resource::instance, match.uuid);
  const Action action = match.route->action;
  if (action == Action::fleet || action == Action::prometheus) {
    if (auto problem = refuse_parameters(parameters)) return *problem;
    if (action == Action::fleet) {
      plan.query.mutable_get_fleet();
    } else {
      plan.query.mutable_get_prometheus()->set_instance_id(match.uuid);
      plan.form = ReadOne::Form::prometheus;
    }
    return Plan(std::move(plan));
  }
  const auto span = parse_span(parameters);
  if (!span) return span.problem();
  const auto put = [&](auto* wish) {
    wish->set_from_unix_ms(span->from_ms);
    wish->set_to_unix_ms(span->to_ms);
    wish->set_step_ms(span->step_ms);
  };
  if (action == Action::metrics) {
    plan.query.mutable_get_metrics()->set_instance_id(match.uuid);
    put(plan.query.mutable_get_metrics());
    return Plan(std::move(plan));
  }
  plan.missing = missing_resource(Resource::database, match.uuid);
  plan.query.mutable_get_database_report()->set_instance_id(match.instance_id);
  plan.query.mutable_get_database_report()->set_database_id(match.uuid);
  put(plan.query.mutable_get_database_report());
  const std::string accept(request.header("accept").value_or(""));
  if (wants_html(accept)) plan.form = ReadOne::Form::report_page;
  return Plan(std::move(plan));
}

Json observe_parameters(Action action) {
  Json out = Json::array();
  if (action != Action::metrics && action != Action::report) return out;
  out.push_back(parameter("from", string_schema("date-time"),
                          action == Action::metrics ? "Default: an hour before `to`"
                                                    : "Default: a day before `to`"));
  out.push_back(parameter("to", string_schema("date-time"), "Default: now"));
  out.push_back(parameter("step", {{"type", "string"}, {"pattern", "^[1-9][0-9]{0,6}[smhd]?$"}},
                          "Seconds, or with a unit; at least 10 s, of times more than a day ago 5 "
                          "minutes; at most 500 points"));
  return out;
}

Json observe_success(Action action) {
  Json content;
  if (action == Action::metrics) content = json_of("Metrics");
  if (action == Action::fleet) content = json_of("Fleet");
  if (action == Action::prometheus) {
    content = {{"text/plain", {{"schema", string_schema()}}}};
  }
  if (action == Action::report) {
    content = json_of("DatabaseReport");
    content["text/html"] = {{"schema", string_schema()}};
  }
  return {{"description", "As it is now"}, {"content", std::move(content)}};
}

void put_observe_schemas(Json* schemas) {
  const Json object = {{"type", "object"}};
  const Json objects = {{"type", "array"}, {"items", object}};
  const Json series = {
      {"type", "object"},
      {"description", "`times` in seconds since 1970, and one list of the same length a metric; "
                      "null where nothing is known"}};
  (*schemas)["Metrics"] = {
      {"type", "object"},
      {"properties",
       {{"instance", string_schema()},
        {"name", string_schema()},
        {"status", string_schema()},
        {"now",
         {{"type", "object"},
          {"properties",
           {{"nodes", objects},
            {"databases", objects},
            {"locks", objects},
            {"slow_statements", objects}}}}},
        {"history",
         {{"type", "object"},
          {"properties",
           {{"from", string_schema("date-time")},
            {"to", string_schema("date-time")},
            {"step_seconds", {{"type", "integer"}}},
            {"nodes", {{"type", "array"}, {"items", series}}}}}}}}}};
  const Json health = {
      {"type", "object"},
      {"properties",
       {{"status", {{"type", "string"}, {"enum", {"GOOD", "FAIR", "BAD"}}}},
        {"findings", objects}}}};
  (*schemas)["DatabaseReport"] = {{"type", "object"},
                                  {"properties",
                                   {{"uuid", string_schema("uuid")},
                                    {"name", string_schema()},
                                    {"instance", string_schema()},
                                    {"instance_name", string_schema()},
                                    {"instance_status", string_schema()},
                                    {"made_at", string_schema("date-time")},
                                    {"health", health},
                                    {"now", object},
                                    {"nodes", objects},
                                    {"history", series},
                                    {"slow_statements", objects}}}};
  (*schemas)["Fleet"] = {{"type", "object"},
                         {"properties",
                          {{"made_at", string_schema("date-time")},
                           {"hosts", objects},
                           {"instances", object},
                           {"alerts", objects}}}};
}

}  // namespace trunkline::gateway
