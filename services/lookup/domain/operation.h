// What a client may know of a command that it sent: {uuid, status SUCCEEDED, resource, position,
// created_at}, {uuid, status FAILED, error {type, code, message}, created_at}, or
// {uuid, status PENDING}. Pure.
#pragma once

#include <optional>
#include <string>

#include "lookup/domain/project.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::lookup {

// `first` is the first event that the command led to, `last_position` that of its last one.
std::string succeeded_operation(const std::string& command_id, const LogEvent& first,
                                int64_t last_position);
// Its events are in the log, but not all of them in the documents yet.
std::string pending_operation(const std::string& command_id);
// The command changed nothing: it was rejected, or what it asks for was so already.
// Nothing if `answer` says neither.
std::optional<std::string> operation_without_events(const std::string& command_id,
                                                    const v1::CommandAnswer& answer,
                                                    TimePoint recorded_at);

}  // namespace trunkline::lookup
