// Checks a body against the resource table: flat, one line a rule, the first broken rule is the
// answer. What only the platform's state can tell (is the reference there, is the name free) is
// not asked here. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "api-gateway/domain/problem.h"
#include "api-gateway/domain/reference.h"
#include "api-gateway/domain/resource_schema.h"
#include "api-gateway/domain/strict_json.h"
#include "base/clock.h"

namespace trunkline::gateway {

// A field's checked value: text, uuid and word as string, integer and timestamp (Unix time in
// microseconds) as int64_t.
using FieldValue = std::variant<std::string, int64_t, bool, Reference>;
using FieldValues = std::map<std::string, FieldValue, std::less<>>;

// Every field known, of its type and in its range, required ones there, defaults filled in.
Outcome<FieldValues> check_create(Resource resource, const json& body, TimePoint now);

// Every field known, of its type and in its range; nothing missing is missed.
Outcome<FieldValues> check_update(Resource resource, const json& body, TimePoint now);

// Against what is there: frozen fields keep their value, and the values of the whole fit together.
std::optional<Problem> check_against(Resource resource, const json& body,
                                     const FieldValues& values, const json& current);

// "sync_replica_number < nodes_number" of an instance.
std::optional<Problem> check_sync_replicas(int64_t nodes_number, int64_t sync_replica_number);

template <class T>
const T* value_of(const FieldValues& values, std::string_view name) {
  const auto found = values.find(name);
  return found == values.end() ? nullptr : std::get_if<T>(&found->second);
}

}  // namespace trunkline::gateway
