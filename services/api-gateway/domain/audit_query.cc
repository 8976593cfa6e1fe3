#include "api-gateway/domain/audit_query.h"

#include "api-gateway/domain/list_query.h"
#include "base/ids.h"

namespace trunkline::gateway {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLongestActor = 100;
constexpr size_t kLongestMarker = 60;

Outcome<int64_t> parse_time(const std::string& key, const std::string& value) {
  const auto time = query_time(value);
  if (!time || to_unix_us(*time) <= 0) {
    return bad_request("bad_" + key, key + " must be an RFC 3339 time");
  }
  return to_unix_us(*time);
}

std::optional<Problem> put_project(const std::string& value, const Caller& caller,
                                   v1::ListAudit* wish) {
  const auto project = canonical_uuid(value);
  if (!project) return bad_request("bad_project", "project must be a UUID");
  if (caller.role != CallerRole::admin && *project != caller.project_id) {
    return Problem{403, "forbidden", "project must be the token's own project"};
  }
  wish->set_project_id(*project);
  return std::nullopt;
}

std::optional<Problem> put_parameter(const std::string& key, const std::string& value,
                                     const Caller& caller, v1::ListAudit* wish) {
  if (key == "project") return put_project(value, caller, wish);
  if (key == "actor") {
    if (value.empty() || value.size() > kLongestActor) {
      return bad_request("bad_actor", "actor must be the UUID of a token, or as entries have it");
    }
    const auto token = canonical_uuid(value);
    wish->set_actor(token ? "token:" + *token : value);
  } else if (key == "from" || key == "to") {
    const auto time = parse_time(key, value);
    if (!time) return time.problem();
    key == "from" ? wish->set_from_unix_us(*time) : wish->set_to_unix_us(*time);
  } else if (key == "outcome") {
    if (value != "accepted" && value != "ignored" && value != "rejected") {
      return bad_request("bad_outcome", "outcome must be accepted, ignored or rejected");
    }
    wish->set_outcome(value);
  } else if (key == "page_limit") {
    const auto limit = parse_limit(value);
    if (!limit) return limit.problem();
    wish->set_limit(*limit);
  } else if (key == "page_marker") {
    if (value.empty() || value.size() > kLongestMarker) {
      return bad_request("bad_page_marker", "page_marker must be one that a page came with");
    }
    wish->set_marker(value);
  } else {
    return unknown_parameter(key);
  }
  return std::nullopt;
}

Json parameter(const char* name, Json schema, const char* about) {
  return {{"name", name}, {"in", "query"}, {"description", about}, {"schema", std::move(schema)}};
}

Json text(const char* format = nullptr) {
  Json out = {{"type", "string"}};
  if (format != nullptr) out["format"] = format;
  return out;
}

Json outcomes() { return {{"type", "string"}, {"enum", {"accepted", "ignored", "rejected"}}}; }

}  // namespace

Outcome<Plan> plan_audit(const QueryParameters& parameters, const Caller& caller) {
  ReadMany plan;
  plan.missing = Problem{404, "not_found", "there is no such list"};
  *plan.query.mutable_scope() = scope_of(caller);
  v1::ListAudit* wish = plan.query.mutable_list_audit();
  wish->set_limit(kMostRows);
  for (const auto& [key, value] : parameters) {
    if (auto problem = put_parameter(key, value, caller, wish)) return *problem;
  }
  plan.limit = wish->limit();
  return Plan(std::move(plan));
}

Json audit_parameters() {
  return Json::array(
      {parameter("project", text("uuid"), "About this project"),
       parameter("actor", text(), "By this one: the UUID of a token, or as entries have it"),
       parameter("from", text("date-time"), "At or after"),
       parameter("to", text("date-time"), "Before"),
       parameter("outcome", outcomes(), "Only these"),
       parameter("page_limit",
                 {{"type", "integer"}, {"minimum", 1}, {"maximum", kMostRows}},
                 "Rows of a page"),
       parameter("page_marker", text(), "X-Pagination-Marker of the page before")});
}

Json audit_schema() {
  return {{"type", "object"},
          {"properties",
           {{"time", text("date-time")},
            {"command_id", text("uuid")},
            {"actor", text()},
            {"role", text()},
            {"project_id", text("uuid")},
            {"client_address", text()},
            {"user_agent", text()},
            {"command", text()},
            {"target", text()},
            {"outcome", outcomes()},
            {"rule", text()},
            {"message", text()},
            {"trace_id", text()}}}};
}

}  // namespace trunkline::gateway
