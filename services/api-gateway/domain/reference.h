// References between resources are path URIs: "/v1/types/postgres/versions/<uuid>" (the
// "/v1/postgres/" form of the same is accepted). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api-gateway/domain/resource_schema.h"

namespace trunkline::gateway {

struct Reference {
  std::string uuid;
  std::string instance_id;  // of a user or database; of an instance: itself
};

// What `uri` points at, if it has the form of a reference to a `target`. A bare UUID, an absolute
// URL or anything else gives nothing.
std::optional<Reference> parse_reference(Resource target, std::string_view uri);

// The canonical form; `instance_id` is used for users and databases only.
std::string resource_uri(Resource resource, std::string_view uuid, std::string_view instance_id);

// The canonical form of a text that refers to a `target`, or the text itself.
std::string canonical_reference(Resource target, std::string_view uri);

}  // namespace trunkline::gateway
