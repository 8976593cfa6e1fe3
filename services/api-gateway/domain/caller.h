// Who asks, as the token says, and what that allows. Pure.
#pragma once

#include <optional>
#include <string>

#include "api-gateway/domain/problem.h"
#include "api-gateway/domain/routes.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::gateway {

enum class CallerRole { admin, member, reader };

struct Caller {
  std::string token_id;
  CallerRole role = CallerRole::reader;
  std::string project_id;       // empty for an administrator
  int64_t expires_unix_us = 0;  // 0: never
};

// What an instance that an administrator orders without naming a project belongs to.
inline constexpr char kDefaultProject[] = "00000000-0000-0000-0000-000000000000";

// The caller that lookup's document of a token describes; nothing if it makes no sense.
std::optional<Caller> caller_from(const std::string& token_document);

// The token in "Bearer <token>"; nothing if the header has another form.
std::optional<std::string> bearer_token(std::string_view authorization);

// Why the caller must not use the route at all (403), or nothing.
std::optional<Problem> check_access(const Caller& caller, const Route& route);

v1::Scope scope_of(const Caller& caller);

}  // namespace trunkline::gateway
