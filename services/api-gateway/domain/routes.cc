#include "api-gateway/domain/routes.h"

#include <algorithm>

#include "base/ids.h"

namespace trunkline::gateway {
namespace {

using A = Action;
using R = Resource;

// clang-format off
constexpr Route kRoutes[] = {
  {"POST",   "/v1/postgres/instances", A::create, R::instance, Access::token, "Order an instance"},
  {"GET",    "/v1/postgres/instances", A::list, R::instance, Access::token, "List instances"},
  {"GET",    "/v1/postgres/instances/{uuid}", A::get, R::instance, Access::token, "Show an instance, now or as of then"},
  {"PUT",    "/v1/postgres/instances/{uuid}", A::update, R::instance, Access::token, "Change an instance; retries one that failed. Another ram or cpu reaches node after node, with a switchover; one node alone restarts"},
  {"DELETE", "/v1/postgres/instances/{uuid}", A::remove, R::instance, Access::token, "Delete an instance and everything in it"},
  {"GET",    "/v1/postgres/instances/{uuid}/events", A::history, R::instance, Access::token, "Its events from the log, newest last"},
  {"GET",    "/v1/postgres/instances/{uuid}/failovers", A::failovers, R::instance, Access::token, "Its failovers and why they came, newest first"},
  {"GET",    "/v1/postgres/instances/{uuid}/failovers/replay", A::replay, R::instance, Access::token, "Its decisions about failovers, taken again by the present rules; newest first"},
  {"GET",    "/v1/postgres/instances/{uuid}/metrics", A::metrics, R::instance, Access::token, "How it fares, now and over time"},
  {"GET",    "/v1/postgres/instances/{uuid}/prometheus", A::prometheus, R::instance, Access::token, "The same now, for Prometheus to scrape"},
  {"GET",    "/v1/postgres/instances/{uuid}/logs", A::logs, R::instance, Access::token, "PostgreSQL's log of one of its nodes, as text; follow=true goes on with what comes"},
  {"POST",   "/v1/postgres/instances/{uuid}/switchover", A::switchover, R::instance, Access::token, "Make a standby the primary, without loss and without an error for clients"},
  {"POST",   "/v1/postgres/instances/{uuid}/failover", A::failover, R::instance, Access::admin, "Make a standby the primary although writes may be lost"},
  {"POST",   "/v1/postgres/instances/{instance}/users", A::create, R::user, Access::token, "Create a user"},
  {"GET",    "/v1/postgres/instances/{instance}/users", A::list, R::user, Access::token, "List users"},
  {"GET",    "/v1/postgres/instances/{instance}/users/{uuid}", A::get, R::user, Access::token, "Show a user"},
  {"PUT",    "/v1/postgres/instances/{instance}/users/{uuid}", A::update, R::user, Access::token, "Change a user's description or password"},
  {"DELETE", "/v1/postgres/instances/{instance}/users/{uuid}", A::remove, R::user, Access::token, "Delete a user that owns no database"},
  {"POST",   "/v1/postgres/instances/{instance}/databases", A::create, R::database, Access::token, "Create a database"},
  {"GET",    "/v1/postgres/instances/{instance}/databases", A::list, R::database, Access::token, "List databases"},
  {"GET",    "/v1/postgres/instances/{instance}/databases/{uuid}", A::get, R::database, Access::token, "Show a database"},
  {"PUT",    "/v1/postgres/instances/{instance}/databases/{uuid}", A::update, R::database, Access::token, "Rename a database or give it another owner"},
  {"DELETE", "/v1/postgres/instances/{instance}/databases/{uuid}", A::remove, R::database, Access::token, "Delete a database"},
  {"GET",    "/v1/postgres/instances/{instance}/databases/{uuid}/report", A::report, R::database, Access::token, "Health and use of a database, as JSON or as a page"},
  {"GET",    "/v1/postgres/versions", A::list, R::version, Access::token, "List versions on offer"},
  {"GET",    "/v1/postgres/versions/{uuid}", A::get, R::version, Access::token, "Show a version"},
  {"POST",   "/v1/postgres/versions", A::create, R::version, Access::admin, "Offer a version"},
  {"PUT",    "/v1/postgres/versions/{uuid}", A::update, R::version, Access::admin, "Change a version"},
  {"DELETE", "/v1/postgres/versions/{uuid}", A::remove, R::version, Access::admin, "Remove a version from the offer"},
  {"GET",    "/v1/operations/{uuid}", A::get, R::operation, Access::token, "Show a command that was not answered in time"},
  {"GET",    "/v1/hosts", A::list, R::host, Access::admin, "List hosts"},
  {"GET",    "/v1/hosts/{uuid}", A::get, R::host, Access::admin, "Show a host"},
  {"PUT",    "/v1/hosts/{uuid}", A::update, R::host, Access::admin, "Take a host out of placement, or put it back"},
  {"POST",   "/v1/hosts/{uuid}/drain", A::drain, R::host, Access::admin, "Move every node of a host away; PUT schedulable ends it"},
  {"POST",   "/v1/hosts/{uuid}/lost", A::declare_lost, R::host, Access::admin, "Replace the nodes of a host that will not come back as it was"},
  {"POST",   "/v1/hosts/{uuid}/remove-orphan", A::remove_orphan, R::host, Access::admin, "Remove a node that the log does not know, with its data"},
  {"POST",   "/v1/tokens", A::create, R::token, Access::admin, "Create a token; it is shown only in this answer"},
  {"GET",    "/v1/tokens", A::list, R::token, Access::admin, "List tokens"},
  {"GET",    "/v1/tokens/{uuid}", A::get, R::token, Access::admin, "Show a token without its secret"},
  {"DELETE", "/v1/tokens/{uuid}", A::remove, R::token, Access::admin, "Revoke a token"},
  {"POST",   "/v1/quotas", A::create, R::quota, Access::admin, "Set what the instances of a project may have together"},
  {"GET",    "/v1/quotas", A::list, R::quota, Access::token, "List quotas: of projects, and the one of all others"},
  {"GET",    "/v1/quotas/{uuid}", A::get, R::quota, Access::token, "Show the quota of a project"},
  {"PUT",    "/v1/quotas/{uuid}", A::update, R::quota, Access::admin, "Change a quota; what there is already stays"},
  {"DELETE", "/v1/quotas/{uuid}", A::remove, R::quota, Access::admin, "Take a quota away: that of all others holds"},
  {"GET",    "/v1/admin/fleet", A::fleet, R::host, Access::admin, "Every host and instance at a glance"},
  {"GET",    "/v1/usage", A::billing, R::usage, Access::token, "What was used, in windows and groups"},
  {"GET",    "/v1/usage/{record}/events", A::billing, R::usage, Access::token, "The events of the log that a line of usage came from"},
  {"GET",    "/v1/invoices/{project}/{month}", A::billing, R::invoice, Access::token, "What a month of a project costs, by a price list"},
  {"POST",   "/v1/price-lists", A::billing, R::price_list, Access::admin, "Publish a price list"},
  {"GET",    "/v1/price-lists", A::billing, R::price_list, Access::token, "List price lists"},
  {"GET",    "/v1/price-lists/{uuid}", A::billing, R::price_list, Access::token, "Show a price list and its versions"},
  {"PUT",    "/v1/price-lists/{uuid}", A::billing, R::price_list, Access::admin, "Publish a new version; no version is ever changed"},
  {"DELETE", "/v1/price-lists/{uuid}", A::billing, R::price_list, Access::admin, "Retire a price list; invoices may name it still"},
  {"POST",   "/v1/webhooks", A::billing, R::webhook, Access::admin, "Have usage records delivered by HTTP; the key is shown only in this answer"},
  {"GET",    "/v1/webhooks", A::billing, R::webhook, Access::admin, "List webhooks"},
  {"GET",    "/v1/webhooks/{uuid}", A::billing, R::webhook, Access::admin, "Show a webhook"},
  {"PUT",    "/v1/webhooks/{uuid}", A::billing, R::webhook, Access::admin, "Change a webhook; rotate_key shows a new key in this answer only"},
  {"DELETE", "/v1/webhooks/{uuid}", A::billing, R::webhook, Access::admin, "Delete a webhook"},
  {"POST",   "/v1/webhooks/{uuid}/resend", A::billing, R::webhook, Access::admin, "Deliver again from a time on"},
  {"DELETE", "/v1/webhooks/{uuid}/dead-letters", A::billing, R::webhook, Access::admin, "Forget the dead letters that there are"},
  {"GET",    "/v1/webhooks/{uuid}/deliveries", A::billing, R::webhook, Access::admin, "Its newest tries and its dead letters"},
  {"GET",    "/v1/schemas/usage.json", A::usage_schema, R::usage, Access::open, "JSON schema of a usage record's CloudEvent data"},
  {"GET",    "/v1/audit", A::audit, R::operation, Access::token, "Who asked for what, from where, and what came of it, newest first"},
  {"GET",    "/v1/admin/alerts", A::alerts, R::operation, Access::admin, "What needs attention now"},
  {"POST",   "/v1/admin/read-model/{op}", A::admin, R::operation, Access::admin, "Rebuild or check the read model"},
  {"GET",    "/healthz", A::health, R::operation, Access::open, "The gateway runs"},
  {"GET",    "/readyz", A::ready, R::operation, Access::open, "The bus is connected and lookup answers"},
  {"GET",    "/openapi.json", A::openapi, R::operation, Access::open, "This document"},
  {"GET",    "/docs", A::docs, R::operation, Access::open, "Swagger UI"},
  {"GET",    "/docs/{file}", A::docs_file, R::operation, Access::open, "Its files"},
};
// clang-format on

struct Pattern {
  const Route* route;
  std::vector<std::string_view> segments;
};

std::vector<std::string_view> split(std::string_view path) {
  std::vector<std::string_view> out;
  path.remove_prefix(1);
  while (true) {
    const size_t slash = path.find('/');
    out.push_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return out;
    path.remove_prefix(slash + 1);
  }
}

const std::vector<Pattern>& patterns() {
  static const std::vector<Pattern> all = [] {
    std::vector<Pattern> out;
    for (const Route& route : kRoutes) out.push_back({&route, split(route.pattern)});
    return out;
  }();
  return all;
}

bool is_hole(std::string_view segment) { return segment.starts_with('{'); }

// `skip`: segments of the request that stand for one less in the pattern ("types").
bool matches(const Pattern& pattern, const std::vector<std::string>& segments, size_t skip) {
  if (pattern.segments.size() + skip != segments.size()) return false;
  if (skip != 0 && (pattern.segments.size() < 2 || pattern.segments[1] != "postgres")) return false;
  for (size_t i = 0; i < pattern.segments.size(); ++i) {
    const std::string& given = segments[i == 0 ? 0 : i + skip];
    if (is_hole(pattern.segments[i]) ? given.empty() : given != pattern.segments[i]) return false;
  }
  return true;
}

std::variant<RouteMatch, RouteFailure> fill_holes(const Pattern& pattern,
                                                  const std::vector<std::string>& segments,
                                                  size_t skip) {
  RouteMatch match;
  match.route = pattern.route;
  for (size_t i = 0; i < pattern.segments.size(); ++i) {
    const std::string_view name = pattern.segments[i];
    std::string given = segments[i == 0 ? 0 : i + skip];
    if (name == "{uuid}" || name == "{instance}" || name == "{project}") {
      const auto uuid = canonical_uuid(given);
      if (!uuid) {
        return RouteFailure{
            bad_request("bad_uuid", "'" + shown(given) + "' in the path is not a UUID"), {}};
      }
      given = *uuid;
      (name == "{uuid}"       ? match.uuid
       : name == "{project}" ? match.project_id
                             : match.instance_id) = *uuid;
    } else if (is_hole(name)) {
      match.word = given;
    }
    match.path += "/" + given;
    if (i == 1 && skip != 0) match.asked_path += "/types";
    match.asked_path += "/" + given;
  }
  return match;
}

}  // namespace

std::span<const Route> all_routes() { return kRoutes; }

std::variant<RouteMatch, RouteFailure> match_route(std::string_view method,
                                                   const std::vector<std::string>& segments) {
  const size_t skip = segments.size() > 2 && segments[0] == "v1" && segments[1] == "types" ? 1 : 0;
  if (method == "HEAD") method = "GET";
  std::string allow;
  for (const Pattern& pattern : patterns()) {
    if (!matches(pattern, segments, skip)) continue;
    if (pattern.route->method == method) return fill_holes(pattern, segments, skip);
    if (!allow.empty()) allow += ", ";
    allow += pattern.route->method;
    if (pattern.route->method == "GET") allow += ", HEAD";
  }
  if (allow.empty()) {
    return RouteFailure{Problem{404, "route_not_found", "there is no such route"}, {}};
  }
  return RouteFailure{
      Problem{405, "method_not_allowed", "this route takes " + allow + " only"}, allow};
}

}  // namespace trunkline::gateway
