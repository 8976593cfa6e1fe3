// The writing half of plan.h: bodies to commands. Pure.
#pragma once

#include "api-gateway/domain/plan.h"

namespace trunkline::gateway {

v1::Kind kind_of(Resource resource);
v1::Query get_query(Resource resource, const std::string& uuid, const std::string& instance_id,
                    const Caller& caller);
Need need(Resource resource, const std::string& uuid, const std::string& instance_id,
          const Caller& caller);

// The command's id, which the id of what it creates follows from if the client names none.
// `repeatable`: the client gave an Idempotency-Key.
Outcome<std::string> choose_command_id(const RouteMatch& match, const HttpRequest& request,
                                       const Caller& caller, const Fresh& fresh,
                                       bool* repeatable);

// POST and PUT.
Outcome<Plan> plan_change(const RouteMatch& match, const HttpRequest& request, const json& body,
                          const Caller& caller, const Fresh& fresh);
// DELETE.
Outcome<Plan> plan_remove(const RouteMatch& match, const HttpRequest& request,
                          const Caller& caller, const Fresh& fresh);

// The secret of a new token as its owner gets it, from 32 random bytes: "tl_<base64url>".
std::string token_text(const std::string& random_bytes);

}  // namespace trunkline::gateway
