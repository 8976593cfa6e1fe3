#include "lookup/domain/fields.h"

#include <span>

namespace trunkline::lookup {
namespace {

struct Field {
  std::string_view name;
  FieldType type;
};

constexpr Field kInstanceFields[] = {
    {"uuid", FieldType::text},           {"name", FieldType::text},
    {"description", FieldType::text},    {"project_id", FieldType::text},
    {"created_at", FieldType::timestamp}, {"updated_at", FieldType::timestamp},
    {"status", FieldType::text},         {"cpu", FieldType::number},
    {"ram", FieldType::number},          {"disk_size", FieldType::number},
    {"nodes_number", FieldType::number}, {"sync_replica_number", FieldType::number},
    {"version", FieldType::text},        {"ipsv4", FieldType::list},
    {"endpoints", FieldType::object},    {"nodes", FieldType::object},
    {"term", FieldType::number},         {"failover", FieldType::object},
    {"pinned_sessions", FieldType::object}, {"writes", FieldType::object},
    {"error", FieldType::object}};
constexpr Field kUserFields[] = {
    {"uuid", FieldType::text},        {"name", FieldType::text},
    {"description", FieldType::text}, {"project_id", FieldType::text},
    {"instance", FieldType::text},    {"status", FieldType::text},
    {"created_at", FieldType::timestamp}, {"updated_at", FieldType::timestamp},
    {"error", FieldType::object}};
constexpr Field kDatabaseFields[] = {
    {"uuid", FieldType::text},        {"name", FieldType::text},
    {"description", FieldType::text}, {"project_id", FieldType::text},
    {"instance", FieldType::text},    {"owner", FieldType::text},
    {"locale", FieldType::text},      {"encoding", FieldType::text},
    {"icu_locale", FieldType::text},
    {"status", FieldType::text},      {"created_at", FieldType::timestamp},
    {"updated_at", FieldType::timestamp}, {"error", FieldType::object}};
constexpr Field kVersionFields[] = {
    {"uuid", FieldType::text},  {"name", FieldType::text},
    {"description", FieldType::text}, {"image", FieldType::text},
    {"created_at", FieldType::timestamp}, {"updated_at", FieldType::timestamp}};
constexpr Field kHostFields[] = {
    {"uuid", FieldType::text},      {"name", FieldType::text},
    {"zone", FieldType::text},      {"address", FieldType::text},
    {"cpu", FieldType::number},     {"ram", FieldType::number},
    {"disk_size", FieldType::number}, {"images", FieldType::list},
    {"schedulable", FieldType::boolean}, {"state", FieldType::text},
    {"created_at", FieldType::timestamp}, {"updated_at", FieldType::timestamp}};
constexpr Field kTokenFields[] = {
    {"uuid", FieldType::text},       {"name", FieldType::text},
    {"role", FieldType::text},       {"project_id", FieldType::text},
    {"expires_at", FieldType::timestamp}, {"created_at", FieldType::timestamp},
    {"updated_at", FieldType::timestamp}};

constexpr Field kQuotaFields[] = {
    {"uuid", FieldType::text},       {"project_id", FieldType::text},
    {"instances", FieldType::number}, {"cpu", FieldType::number},
    {"ram", FieldType::number},      {"disk_size", FieldType::number},
    {"created_at", FieldType::timestamp}, {"updated_at", FieldType::timestamp}};

std::span<const Field> fields_of(DocKind kind) {
  switch (kind) {
    case DocKind::instance: return kInstanceFields;
    case DocKind::user: return kUserFields;
    case DocKind::database: return kDatabaseFields;
    case DocKind::version: return kVersionFields;
    case DocKind::host: return kHostFields;
    case DocKind::token: return kTokenFields;
    case DocKind::quota: return kQuotaFields;
    case DocKind::route: return {};
  }
  return {};
}

}  // namespace

std::optional<FieldType> field_type(DocKind kind, std::string_view field) {
  for (const Field& known : fields_of(kind)) {
    if (known.name == field) return known.type;
  }
  return std::nullopt;
}

bool is_filterable(FieldType type) { return type != FieldType::object; }

bool is_sortable(FieldType type) { return type != FieldType::object && type != FieldType::list; }

}  // namespace trunkline::lookup
