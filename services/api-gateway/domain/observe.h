// Routes that show how instances and hosts fare: their query parameters, their schemas, and a
// database's report as a page for people. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "api-gateway/domain/caller.h"
#include "api-gateway/domain/http_message.h"
#include "api-gateway/domain/plan.h"
#include "api-gateway/domain/target.h"

namespace trunkline::gateway {

// Of Action::metrics, report, fleet and prometheus.
Outcome<Plan> plan_observe(const RouteMatch& match, const HttpRequest& request,
                           const QueryParameters& parameters, const Caller& caller);

bool is_observed(Action action);
// True if the text/html of an Accept header is preferred to JSON: named, and no later than it.
bool wants_html(const std::string& accept);

// A whole page without scripts and without anything from elsewhere, from lookup's report.
std::string report_page(const std::string& report_json);
// What a browser may do with that page: show it.
inline constexpr char kReportPolicy[] =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'";

// For the OpenAPI document.
nlohmann::ordered_json observe_parameters(Action action);
nlohmann::ordered_json observe_success(Action action);
void put_observe_schemas(nlohmann::ordered_json* schemas);

}  // namespace trunkline::gateway
