// What names, passwords and other texts may look like. Pure.
#pragma once

#include <optional>
#include <string_view>

#include "api-gateway/domain/problem.h"
#include "api-gateway/domain/resource_schema.h"

namespace trunkline::gateway {

// Why `value` breaks the length or the rule of `field`, or nothing. A secret's value never gets
// into the message.
std::optional<Problem> check_text(const Field& field, std::string_view value);

}  // namespace trunkline::gateway
