#include "api-gateway/domain/validate.h"

#include "api-gateway/domain/text_rules.h"
#include "base/ids.h"

namespace trunkline::gateway {
namespace {

Problem bad_type(const Field& field, std::string_view wanted) {
  return bad_request("bad_type",
                     std::string(field.name) + " must be " + std::string(wanted));
}

Outcome<FieldValue> check_integer(const Field& field, const json& value) {
  if (!value.is_number_integer()) return bad_type(field, "an integer");
  const bool too_big = value.is_number_unsigned() &&
                       value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (too_big || value.get<int64_t>() < field.min || value.get<int64_t>() > field.max) {
    return bad_request(std::string(field.name) + "_out_of_range",
                       std::string(field.name) + " must be from " + std::to_string(field.min) +
                           " to " + std::to_string(field.max));
  }
  return FieldValue(value.get<int64_t>());
}

Outcome<FieldValue> check_string(const Field& field, const json& value) {
  if (!value.is_string()) return bad_type(field, "a string");
  const auto& text = value.get_ref<const std::string&>();
  if (auto problem = check_text(field, text)) return *problem;
  return FieldValue(text);
}

Outcome<FieldValue> check_uuid(const Field& field, const json& value) {
  if (!value.is_string()) return bad_type(field, "a string");
  auto uuid = canonical_uuid(value.get_ref<const std::string&>());
  if (!uuid) return bad_request("bad_uuid", std::string(field.name) + " must be a UUID");
  return FieldValue(std::move(*uuid));
}

Outcome<FieldValue> check_reference(const Field& field, const json& value) {
  if (!value.is_string()) return bad_type(field, "a string");
  auto reference = parse_reference(field.refers_to, value.get_ref<const std::string&>());
  if (!reference) {
    return Problem{404, "reference_not_found",
                   std::string(field.name) + " must be the URI of a " +
                       std::string(info(field.refers_to).singular) + " that is there: " +
                       resource_uri(field.refers_to, "<uuid>", "<uuid>")};
  }
  return FieldValue(std::move(*reference));
}

Outcome<FieldValue> check_timestamp(const Field& field, const json& value) {
  if (!value.is_string()) return bad_type(field, "a string");
  const auto time = parse_rfc3339(value.get_ref<const std::string&>());
  if (!time) {
    return bad_request("bad_timestamp", std::string(field.name) +
                                            " must be an RFC 3339 time: 2026-01-15T10:30:00Z");
  }
  return FieldValue(to_unix_us(*time));
}

Outcome<FieldValue> check_word(const Field& field, const json& value) {
  if (!value.is_string()) return bad_type(field, "a string");
  const std::string text = value.get<std::string>();
  std::string_view words = field.words;
  while (true) {
    const size_t bar = words.find('|');
    if (words.substr(0, bar) == text) return FieldValue(text);
    if (bar == std::string_view::npos) break;
    words.remove_prefix(bar + 1);
  }
  return bad_request("bad_value",
                     std::string(field.name) + " must be one of " + std::string(field.words));
}

Outcome<FieldValue> check_value(const Field& field, const json& value) {
  switch (field.type) {
    case FieldType::integer: return check_integer(field, value);
    case FieldType::text: return check_string(field, value);
    case FieldType::uuid: return check_uuid(field, value);
    case FieldType::reference: return check_reference(field, value);
    case FieldType::timestamp: return check_timestamp(field, value);
    case FieldType::word: return check_word(field, value);
    case FieldType::boolean:
      if (!value.is_boolean()) return bad_type(field, "true or false");
      return FieldValue(value.get<bool>());
    case FieldType::text_list:
    case FieldType::object:
    case FieldType::object_list: break;
  }
  return FieldValue(std::string());  // read-only: compared as it stands in check_against()
}

Problem unknown_field(Resource resource, std::string_view name) {
  return bad_request("unknown_field",
                     with_article(resource) + " has no field '" + shown(name) + "'");
}

Problem read_only(const Field& field, int code) {
  return Problem{code, "read_only", std::string(field.name) + " is read-only"};
}

std::optional<Problem> check_token_project(const FieldValues& values) {
  const auto* role = value_of<std::string>(values, "role");
  const bool admin = role != nullptr && *role == "admin";
  const bool has_project = values.contains("project_id");
  if (admin && has_project) {
    return bad_request("bad_value", "project_id must not be given for an admin token");
  }
  if (!admin && !has_project) {
    return bad_request("project_id_missing",
                       "project_id is required for a member or reader token");
  }
  return std::nullopt;
}

}  // namespace

std::optional<Problem> check_sync_replicas(int64_t nodes_number, int64_t sync_replica_number) {
  if (sync_replica_number < nodes_number) return std::nullopt;
  return bad_request("sync_replica_number_too_big",
                     "sync_replica_number must be less than nodes_number (" +
                         std::to_string(nodes_number) + ")");
}

Outcome<FieldValues> check_create(Resource resource, const json& body, TimePoint now) {
  FieldValues values;
  for (const auto& [name, value] : body.items()) {
    const Field* field = find_field(resource, name);
    if (field == nullptr) return unknown_field(resource, name);
    if (field->on_create == OnCreate::refused_403) return read_only(*field, 403);
    if (field->on_create == OnCreate::refused_400) return read_only(*field, 400);
  }
  for (const Field& field : fields_of(resource)) {
    const auto given = body.find(field.name);
    if (given == body.end()) {
      if (field.on_create == OnCreate::required) {
        return bad_request(std::string(field.name) + "_missing",
                           std::string(field.name) + " is required");
      }
      if (!field.default_json.empty()) {
        values.emplace(field.name, *check_value(field, json::parse(field.default_json)));
      }
      continue;
    }
    auto value = check_value(field, *given);
    if (!value) return value.problem();
    values.emplace(field.name, std::move(*value));
  }
  if (resource == Resource::instance) {
    const int64_t nodes = *value_of<int64_t>(values, "nodes_number");
    values.emplace("sync_replica_number", FieldValue(int64_t{nodes > 1 ? 1 : 0}));
    const int64_t sync = *value_of<int64_t>(values, "sync_replica_number");
    if (auto problem = check_sync_replicas(nodes, sync)) return *problem;
  }
  if (resource == Resource::token) {
    if (auto problem = check_token_project(values)) return *problem;
    const auto* expires = value_of<int64_t>(values, "expires_at");
    if (expires != nullptr && *expires <= to_unix_us(now)) {
      return bad_request("expires_at_out_of_range", "expires_at must be in the future");
    }
  }
  return values;
}

Outcome<FieldValues> check_update(Resource resource, const json& body, TimePoint) {
  FieldValues values;
  for (const auto& [name, given] : body.items()) {
    const Field* field = find_field(resource, name);
    if (field == nullptr) return unknown_field(resource, name);
    if (field->on_update == OnUpdate::refused_403) return read_only(*field, 403);
    if (field->on_update != OnUpdate::allowed) continue;
    auto value = check_value(*field, given);
    if (!value) return value.problem();
    values.emplace(field->name, std::move(*value));
  }
  return values;
}

std::optional<Problem> check_against(Resource resource, const json& body,
                                     const FieldValues& values, const json& current) {
  for (const Field& field : fields_of(resource)) {
    const auto given = body.find(field.name);
    if (given == body.end() || field.on_update != OnUpdate::frozen_400) continue;
    const auto is = current.find(field.name);
    bool same = is != current.end() && *is == *given;
    if (is != current.end() && is->is_string() && given->is_string() && !same) {
      const auto& text = given->get_ref<const std::string&>();
      if (field.type == FieldType::reference) {
        same = canonical_reference(field.refers_to, text) == is->get<std::string>();
      } else if (field.type == FieldType::uuid) {
        same = canonical_uuid(text) == is->get<std::string>();
      } else if (field.type == FieldType::timestamp) {
        const auto time = parse_rfc3339(text);
        same = time && time == parse_rfc3339(is->get<std::string>());
      }
    }
    if (!same && field.name == "uuid") {
      return bad_request("uuid_mismatch", "uuid must be that of the path, or be left out");
    }
    if (!same) return read_only(field, 400);
  }
  if (resource == Resource::instance) {
    const auto merged = [&](std::string_view name) {
      const auto* value = value_of<int64_t>(values, name);
      return value != nullptr ? *value : current.value(std::string(name), int64_t{0});
    };
    const bool touched = values.contains("nodes_number") || values.contains("sync_replica_number");
    if (touched) {
      if (auto problem = check_sync_replicas(merged("nodes_number"),
                                             merged("sync_replica_number"))) {
        return problem;
      }
    }
    if (merged("disk_size") < current.value("disk_size", int64_t{0})) {
      return bad_request("disk_must_not_shrink",
                         "disk_size must not be less than " +
                             std::to_string(current.value("disk_size", int64_t{0})) +
                             ", the size that the disks have");
    }
  }
  return std::nullopt;
}

}  // namespace trunkline::gateway
