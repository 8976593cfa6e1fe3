#include "api-gateway/domain/caller.h"

#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace trunkline::gateway {

std::optional<Caller> caller_from(const std::string& token_document) {
  const auto document = nlohmann::json::parse(token_document, nullptr, false);
  if (!document.is_object()) return std::nullopt;
  const auto text = [&](const char* name) {
    const auto found = document.find(name);
    return found != document.end() && found->is_string() ? found->get<std::string>()
                                                         : std::string();
  };
  Caller caller;
  caller.token_id = text("uuid");
  caller.project_id = text("project_id");
  const std::string role = text("role");
  if (role == "admin") {
    caller.role = CallerRole::admin;
  } else if (role == "member") {
    caller.role = CallerRole::member;
  } else if (role == "reader") {
    caller.role = CallerRole::reader;
  } else {
    return std::nullopt;
  }
  // A token without a project must not become one that sees every project.
  if (caller.token_id.empty()) return std::nullopt;
  if (caller.role != CallerRole::admin && caller.project_id.empty()) return std::nullopt;
  if (const std::string expires = text("expires_at"); !expires.empty()) {
    const auto time = parse_rfc3339(expires);
    if (!time) return std::nullopt;
    caller.expires_unix_us = to_unix_us(*time);
  }
  return caller;
}

std::optional<std::string> bearer_token(std::string_view authorization) {
  constexpr size_t kLongest = 512;
  const size_t space = authorization.find(' ');
  if (space != 6) return std::nullopt;
  constexpr std::string_view kScheme = "bearer";
  for (size_t i = 0; i < space; ++i) {
    if ((authorization[i] | 0x20) != kScheme[i]) return std::nullopt;
  }
  std::string_view token = authorization.substr(space);
  while (token.starts_with(' ')) token.remove_prefix(1);
  if (token.empty() || token.size() > kLongest) return std::nullopt;
  if (token.find(' ') != std::string_view::npos) return std::nullopt;
  return std::string(token);
}

std::optional<Problem> check_access(const Caller& caller, const Route& route) {
  if (caller.role == CallerRole::admin || route.access == Access::open) return std::nullopt;
  if (route.access == Access::admin) {
    return Problem{403, "forbidden", "only an administrator's token may do this"};
  }
  if (caller.role == CallerRole::reader && route.method != "GET") {
    return Problem{403, "forbidden", "a reader's token may only read"};
  }
  return std::nullopt;
}

v1::Scope scope_of(const Caller& caller) {
  v1::Scope scope;
  if (caller.role == CallerRole::admin) {
    scope.set_all_projects(true);
  } else {
    scope.set_project_id(caller.project_id);
  }
  return scope;
}

}  // namespace trunkline::gateway
