// From what services answered to what the client is told. Pure but for its place.
#pragma once

#include <optional>
#include <string>

#include "api-gateway/domain/http_message.h"
#include "api-gateway/domain/plan.h"
#include "api-gateway/domain/problem.h"
#include "trunkline/v1/envelope.pb.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::gateway {

HttpResponse json_response(int status, std::string body);
HttpResponse problem_response(const Problem& problem);  // with Retry-After and the like

// Nobody's fault here; `trace_id` finds the reason in the log.
Problem no_token();  // 401
Problem unavailable(const std::string& trace_id);

// Why an answer of lookup is none to show, or nothing if it is good.
std::optional<Problem> query_problem(const std::optional<v1::QueryAnswer>& answer,
                                     const Problem& missing, const std::string& trace_id);

Problem rejection(const v1::Rejected& rejected);

HttpResponse one_response(const ReadOne& plan, v1::QueryAnswer&& answer);
HttpResponse usage_schema_response();
HttpResponse many_response(const ReadMany& plan, const v1::QueryAnswer& answer);

// 202: it will be carried out, or was but cannot be shown now.
HttpResponse operation_response(const std::string& command_id, std::string_view status,
                                const json& extra);
// The whole object as it is now.
HttpResponse written_response(const Write& plan, std::string&& document);

}  // namespace trunkline::gateway
