// Who sends a command and from where, for the audit log. Pure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "api-gateway/domain/caller.h"
#include "api-gateway/domain/http_message.h"
#include "api-gateway/domain/strict_json.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::gateway {

const char* role_name(CallerRole role);

// The peer's address. If that is one of `trusted`, what it says in X-Forwarded-For: the last
// address there that is not trusted itself.
std::string client_address(const HttpRequest& request, std::span<const std::string> trusted);

// `command` is built and `found` are the documents that its plan needed.
v1::Origin origin_of(const Caller& caller, const HttpRequest& request,
                     std::span<const std::string> trusted, const v1::Command& command,
                     const std::vector<json>& found);

}  // namespace trunkline::gateway
