// What the audit log keeps of a command beside its answer. Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "trunkline/v1/envelope.pb.h"

namespace trunkline::runtime {

// One JSON object for log.command_result: who asked for what, from where, and what came of it; of
// the command's body no more than `name`. Whatever a client chose is cut and cleaned.
std::string audit_json(const v1::Command& command, std::string_view stream, std::string_view name,
                       const v1::CommandAnswer& answer);

}  // namespace trunkline::runtime
