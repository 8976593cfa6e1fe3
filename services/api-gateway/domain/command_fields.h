// From checked field values to the command's message, along the paths that the resource table
// names. Pure.
#pragma once

#include "api-gateway/domain/validate.h"
#include "trunkline/v1/envelope.pb.h"

namespace trunkline::gateway {

enum class Verb { create, update, remove };

// Puts the message of (resource, verb) into `command` and fills it: `id` into the id field of a
// part of an instance, `values` by the paths of the table. The password must already have been
// replaced by its verifier. Throws std::logic_error if the table names a field that is not there.
void fill_command(Resource resource, Verb verb, const std::string& id, const FieldValues& values,
                  v1::Command* command);

}  // namespace trunkline::gateway
