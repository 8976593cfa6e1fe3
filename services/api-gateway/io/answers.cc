#include "api-gateway/io/answers.h"

#include <nlohmann/json.hpp>

#include "api-gateway/domain/billing_text.h"
#include "api-gateway/domain/list_query.h"
#include "api-gateway/domain/observe.h"
#include "api-gateway/domain/usage_schema.h"

namespace trunkline::gateway {

HttpResponse json_response(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.headers = {{"Cache-Control", "no-store"}};
  response.body = std::move(body);
  return response;
}

HttpResponse problem_response(const Problem& problem) {
  HttpResponse response = json_response(problem.code, to_json(problem));
  if (problem.code == 401) {
    response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"trunkline\"");
  }
  if (problem.code == 429 || problem.code == 503) {
    response.headers.emplace_back("Retry-After", "1");
  }
  return response;
}

Problem no_token() {
  return {401, "unauthorized", "an Authorization header with a valid bearer token is required"};
}

Problem unavailable(const std::string& trace_id) {
  return {503, "unavailable",
          "the platform cannot answer now; ask again (correlation id " + trace_id + ")"};
}

std::optional<Problem> query_problem(const std::optional<v1::QueryAnswer>& answer,
                                     const Problem& missing, const std::string& trace_id) {
  if (!answer) return unavailable(trace_id);
  switch (answer->status()) {
    case v1::QUERY_STATUS_OK: return std::nullopt;
    case v1::QUERY_STATUS_NOT_FOUND: return missing;
    case v1::QUERY_STATUS_BAD_FIELD:
      return bad_request("bad_query", answer->message().empty()
                                          ? "a filter, sort key or page marker is not understood"
                                          : answer->message());
    case v1::QUERY_STATUS_TOO_MANY: return Problem{429, "too_many_requests", answer->message()};
    default: return unavailable(trace_id);
  }
}

Problem rejection(const v1::Rejected& rejected) {
  Problem problem{400, rejected.rule(), rejected.message()};
  switch (rejected.blame()) {
    case v1::BLAME_FORBIDDEN: problem.code = 403; break;
    case v1::BLAME_NOT_FOUND: problem.code = 404; break;
    case v1::BLAME_CONFLICT: problem.code = 409; break;
    default: break;
  }
  return problem;
}

HttpResponse one_response(const ReadOne& plan, v1::QueryAnswer&& answer) {
  if (plan.form == ReadOne::Form::prometheus) {
    HttpResponse response = json_response(200, std::move(*answer.mutable_json(0)));
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    return response;
  }
  if (plan.form == ReadOne::Form::report_page) {
    HttpResponse response = json_response(200, report_page(answer.json(0)));
    response.content_type = "text/html; charset=utf-8";
    response.headers.emplace_back("Content-Security-Policy", kReportPolicy);
    response.headers.emplace_back("X-Content-Type-Options", "nosniff");
    return response;
  }
  if (plan.fields.empty()) return json_response(200, std::move(*answer.mutable_json(0)));
  return json_response(200, choose_fields(answer.json(0), plan.fields));
}

HttpResponse usage_schema_response() {
  HttpResponse response = json_response(200, usage_schema().dump());
  response.content_type = "application/schema+json";
  response.headers = {{"Cache-Control", "public, max-age=3600"}};
  return response;
}

namespace {

void put_paging(const ReadMany& plan, const v1::QueryAnswer& answer, HttpResponse* response) {
  response->headers.emplace_back("X-Pagination-Limit", std::to_string(plan.limit));
  if (!answer.next_marker().empty()) {
    response->headers.emplace_back("X-Pagination-Marker", answer.next_marker());
  }
}

HttpResponse shaped_response(const ReadMany& plan, const v1::QueryAnswer& answer) {
  const std::vector<std::string> documents(answer.json().begin(), answer.json().end());
  const bool invoice = plan.shape == ReadMany::Shape::invoice;
  HttpResponse response = json_response(200, {});
  if (plan.csv_columns.empty()) {
    response.body = invoice_text(documents);
  } else {
    response.body = csv_text(plan.csv_columns, invoice ? invoice_lines(documents) : documents);
    response.content_type = "text/csv; charset=utf-8; header=present";
  }
  put_paging(plan, answer, &response);
  return response;
}

}  // namespace

HttpResponse many_response(const ReadMany& plan, const v1::QueryAnswer& answer) {
  if (!plan.csv_columns.empty() || plan.shape == ReadMany::Shape::invoice) {
    return shaped_response(plan, answer);
  }
  size_t size = 32;
  for (const auto& document : answer.json()) size += document.size() + 1;
  std::string body;
  body.reserve(size);
  if (!plan.wrap.empty()) body += "{\"" + plan.wrap + "\":";
  body += '[';
  for (const auto& document : answer.json()) {
    if (body.back() != '[') body += ',';
    body += plan.fields.empty() ? document : choose_fields(document, plan.fields);
  }
  body += ']';
  if (!plan.wrap.empty()) body += '}';
  HttpResponse response = json_response(200, std::move(body));
  put_paging(plan, answer, &response);
  return response;
}

HttpResponse operation_response(const std::string& command_id, std::string_view status,
                                const json& extra) {
  json body = extra.is_object() ? extra : json::object();
  body["uuid"] = command_id;
  body["status"] = std::string(status);
  HttpResponse response = json_response(202, body.dump());
  response.headers.emplace_back("Location", "/v1/operations/" + command_id);
  return response;
}

HttpResponse written_response(const Write& plan, std::string&& document) {
  std::string body = std::move(document);
  json extra = plan.extra;
  if (plan.extra_of) extra = plan.extra_of(json::parse(body, nullptr, false));
  if (extra.is_object()) {
    auto whole = nlohmann::ordered_json::parse(body, nullptr, false);
    if (whole.is_object()) {
      for (const auto& [name, value] : extra.items()) whole[name] = value;
      body = whole.dump();
    }
  }
  HttpResponse response = json_response(plan.success, std::move(body));
  if (!plan.location.empty()) response.headers.emplace_back("Location", plan.location);
  return response;
}

}  // namespace trunkline::gateway
