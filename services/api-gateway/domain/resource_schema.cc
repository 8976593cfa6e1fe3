#include "api-gateway/domain/resource_schema.h"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace trunkline::gateway {
namespace {

using R = Resource;
using T = FieldType;
using C = OnCreate;
using U = OnUpdate;
using X = TextRule;

constexpr std::string_view kStatus = "NEW|IN_PROGRESS|ACTIVE|ERROR";
constexpr std::string_view kObjectStatus = "NEW|ACTIVE|ERROR";

struct Rest {
  int64_t min = 0;
  int64_t max = 0;
  TextRule text_rule = TextRule::free;
  std::string_view words = {};
  Resource refers_to = Resource::instance;
  std::string_view default_json = {};
  std::string_view create_path = {};
  std::string_view update_path = {};
  std::string_view about = {};
  bool shown = true;
  bool stored = true;
};
constexpr Field row(R resource, std::string_view name, T type, C on_create, U on_update,
                    const Rest& rest = {}) {
  return {resource,       name,              type,             on_create,        on_update,
          rest.min,       rest.max,          rest.text_rule,   rest.words,       rest.refers_to,
          rest.default_json, rest.create_path, rest.update_path, rest.about, rest.shown,
          rest.stored};
}

// Rows of one resource stand together. clang-format would give each row ten lines.
// clang-format off
constexpr Field kFields[] = {
  // ---- instance
  row(R::instance, "uuid", T::uuid, C::optional, U::frozen_400,
      {.about = "Chosen by the client or by the platform"}),
  row(R::instance, "name", T::text, C::required, U::allowed,
      {.min = 1, .max = 255, .text_rule = X::line,
       .create_path = "name", .update_path = "name", .about = "Need not be unique"}),
  row(R::instance, "description", T::text, C::optional, U::allowed,
      {.min = 0, .max = 4096, .text_rule = X::free,
       .default_json = "\"\"", .create_path = "description", .update_path = "description"}),
  row(R::instance, "project_id", T::uuid, C::optional, U::frozen_400,
      {.create_path = "project_id",
       .about = "Default: the token's project"}),
  row(R::instance, "created_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::instance, "updated_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::instance, "status", T::word, C::refused_403, U::refused_403,
      {.words = kStatus}),
  row(R::instance, "cpu", T::integer, C::required, U::allowed,
      {.min = 1, .max = 128,
       .create_path = "size.cpu", .update_path = "cpu", .about = "Virtual CPUs of each node"}),
  row(R::instance, "ram", T::integer, C::required, U::allowed,
      {.min = 512, .max = 1048576,
       .create_path = "size.ram_mb", .update_path = "ram_mb", .about = "MB of each node"}),
  row(R::instance, "disk_size", T::integer, C::required, U::allowed,
      {.min = 8, .max = 1024,
       .create_path = "size.disk_gb", .update_path = "disk_gb",
       .about = "GB of each node; can grow, not shrink"}),
  row(R::instance, "nodes_number", T::integer, C::required, U::allowed,
      {.min = 1, .max = 16,
       .create_path = "nodes_number", .update_path = "nodes_number"}),
  row(R::instance, "sync_replica_number", T::integer, C::optional, U::allowed,
      {.min = 0, .max = 15,
       .create_path = "sync_replica_number", .update_path = "sync_replica_number",
       .about = "Less than nodes_number; default: 1 if nodes_number > 1, else 0"}),
  row(R::instance, "version", T::reference, C::required, U::frozen_400,
      {.refers_to = R::version,
       .create_path = "version_id"}),
  row(R::instance, "ipsv4", T::text_list, C::refused_403, U::refused_403,
      {.about = "Addresses of its endpoint"}),
  row(R::instance, "endpoints", T::object, C::refused_400, U::ignored,
      {.about = "read_write and read_only, each host, port, uri without password"}),
  row(R::instance, "nodes", T::object_list, C::refused_400, U::ignored,
      {.about = "role, status, host, zone and lag_bytes of each node"}),
  row(R::instance, "term", T::integer, C::refused_400, U::ignored,
      {.min = 0, .max = INT64_MAX, .about = "Grows with every change of the primary"}),
  row(R::instance, "failover", T::object, C::refused_400, U::ignored,
      {.about = "Why there is no primary now; only while there is none"}),
  row(R::instance, "pinned_sessions", T::object, C::refused_400, U::ignored,
      {.about = "Sessions that a planned switchover would end, and why"}),
  row(R::instance, "writes", T::object, C::refused_400, U::ignored,
      {.about = "Whether clients' writes come to an end: possible, and since and why not"}),
  row(R::instance, "error", T::object, C::refused_400, U::ignored,
      {.about = "code and message, when status is ERROR"}),
  // ---- user
  row(R::user, "uuid", T::uuid, C::optional, U::frozen_400),
  row(R::user, "name", T::text, C::required, U::frozen_400,
      {.min = 1, .max = 63, .text_rule = X::user_name,
       .create_path = "name", .about = "Unique within the instance"}),
  row(R::user, "description", T::text, C::optional, U::allowed,
      {.min = 0, .max = 4096, .text_rule = X::free,
       .default_json = "\"\"", .create_path = "description", .update_path = "description"}),
  row(R::user, "password", T::text, C::required, U::allowed,
      {.min = 8, .max = 99, .text_rule = X::secret,
       .create_path = "scram_verifier", .update_path = "scram_verifier",
       .about = "Goes in and never comes out", .shown = false}),
  row(R::user, "project_id", T::uuid, C::optional, U::frozen_400),
  row(R::user, "instance", T::reference, C::optional, U::frozen_400,
      {.refers_to = R::instance}),
  row(R::user, "status", T::word, C::refused_403, U::refused_403,
      {.words = kObjectStatus}),
  row(R::user, "created_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::user, "updated_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::user, "error", T::object, C::refused_400, U::ignored),
  // ---- database
  row(R::database, "uuid", T::uuid, C::optional, U::frozen_400),
  row(R::database, "name", T::text, C::required, U::allowed,
      {.min = 1, .max = 63, .text_rule = X::database_name,
       .create_path = "name", .update_path = "name", .about = "Unique within the instance"}),
  row(R::database, "description", T::text, C::optional, U::allowed,
      {.min = 0, .max = 4096, .text_rule = X::free,
       .default_json = "\"\"", .create_path = "description", .update_path = "description"}),
  row(R::database, "owner", T::reference, C::required, U::allowed,
      {.refers_to = R::user,
       .create_path = "owner_id", .update_path = "owner_id", .about = "A user of the same instance. When it changes, the objects of the former owner in "
                "this database go with it"}),
  row(R::database, "locale", T::text, C::optional, U::frozen_400,
      {.min = 1, .max = 63, .text_rule = X::locale, .create_path = "locale",
       .about = "How text is sorted and classified; one that the host's image has, else status is "
                "ERROR; default: C.UTF-8"}),
  row(R::database, "encoding", T::word, C::optional, U::frozen_400,
      {.words = "UTF8|LATIN1|LATIN2|LATIN9|WIN1250|WIN1251|WIN1252|EUC_JP",
       .create_path = "encoding", .about = "Must go with the locale; default: UTF8"}),
  row(R::database, "icu_locale", T::text, C::optional, U::frozen_400,
      {.min = 1, .max = 63, .text_rule = X::locale, .create_path = "icu_locale",
       .about = "Sorts text by this locale of ICU instead; default: none"}),
  row(R::database, "project_id", T::uuid, C::optional, U::frozen_400),
  row(R::database, "instance", T::reference, C::optional, U::frozen_400,
      {.refers_to = R::instance}),
  row(R::database, "status", T::word, C::refused_403, U::refused_403,
      {.words = kObjectStatus}),
  row(R::database, "created_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::database, "updated_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::database, "error", T::object, C::refused_400, U::ignored),
  row(R::database, "size_bytes", T::integer, C::refused_400, U::ignored,
      {.min = 0, .max = INT64_MAX, .about = "As its primary last reported", .stored = false}),
  row(R::database, "reported_at", T::timestamp, C::refused_400, U::ignored,
      {.about = "When", .stored = false}),
  // ---- version
  row(R::version, "uuid", T::uuid, C::optional, U::frozen_400),
  row(R::version, "name", T::text, C::required, U::allowed,
      {.min = 1, .max = 255, .text_rule = X::line,
       .create_path = "name", .update_path = "name"}),
  row(R::version, "description", T::text, C::optional, U::allowed,
      {.min = 0, .max = 4096, .text_rule = X::free,
       .default_json = "\"\"", .create_path = "description", .update_path = "description"}),
  row(R::version, "image", T::text, C::required, U::allowed,
      {.min = 1, .max = 63, .text_rule = X::image,
       .create_path = "image", .update_path = "image", .about = "What the hosts run, \"postgresql-15\""}),
  row(R::version, "created_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::version, "updated_at", T::timestamp, C::refused_400, U::frozen_400),
  // ---- host
  row(R::host, "uuid", T::uuid, C::refused_400, U::frozen_400),
  row(R::host, "name", T::text, C::refused_400, U::frozen_400,
      {.min = 1, .max = 255}),
  row(R::host, "zone", T::text, C::refused_400, U::frozen_400,
      {.min = 1, .max = 255}),
  row(R::host, "address", T::text, C::refused_400, U::frozen_400,
      {.min = 1, .max = 255}),
  row(R::host, "schedulable", T::boolean, C::refused_400, U::allowed,
      {.update_path = "schedulable",
       .about = "Whether new nodes are placed on it"}),
  row(R::host, "state", T::word, C::refused_400, U::ignored,
      {.words = "IN_SERVICE|DRAINING|LOST"}),
  row(R::host, "cpu", T::integer, C::refused_400, U::frozen_400,
      {.min = 0, .max = 65536}),
  row(R::host, "ram", T::integer, C::refused_400, U::frozen_400,
      {.min = 0, .max = INT64_MAX,
       .about = "MB"}),
  row(R::host, "disk_size", T::integer, C::refused_400, U::frozen_400,
      {.min = 0, .max = INT64_MAX,
       .about = "GB"}),
  row(R::host, "images", T::text_list, C::refused_400, U::frozen_400),
  row(R::host, "placed", T::object, C::refused_400, U::ignored,
      {.about = "nodes, cpu, ram and disk_size of what is placed on it"}),
  row(R::host, "available", T::boolean, C::refused_400, U::ignored,
      {.about = "Whether its agent reports", .stored = false}),
  row(R::host, "disk_free", T::integer, C::refused_400, U::ignored,
      {.min = 0, .max = INT64_MAX, .about = "GB", .stored = false}),
  row(R::host, "cgroup_limits", T::boolean, C::refused_400, U::ignored,
      {.about = "Whether cpu and memory limits are enforced there", .stored = false}),
  row(R::host, "cgroup_note", T::text, C::refused_400, U::ignored,
      {.about = "Why not", .stored = false}),
  row(R::host, "nodes_apart", T::boolean, C::refused_400, U::ignored,
      {.about = "Whether each tenant's server runs there as an operating system's user of its own",
       .stored = false}),
  row(R::host, "nodes_apart_note", T::text, C::refused_400, U::ignored,
      {.about = "Why not", .stored = false}),
  row(R::host, "nodes_reported", T::integer, C::refused_400, U::ignored,
      {.min = 0, .max = INT64_MAX, .stored = false}),
  row(R::host, "orphans", T::object_list, C::refused_400, U::ignored,
      {.about = "Nodes that the log does not know: stopped, and kept until they are removed",
       .stored = false}),
  row(R::host, "reported_at", T::timestamp, C::refused_400, U::ignored, {.stored = false}),
  row(R::host, "created_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::host, "updated_at", T::timestamp, C::refused_400, U::frozen_400),
  // ---- token
  row(R::token, "uuid", T::uuid, C::optional, U::frozen_400),
  row(R::token, "name", T::text, C::required, U::frozen_400,
      {.min = 1, .max = 255, .text_rule = X::line,
       .create_path = "name"}),
  row(R::token, "role", T::word, C::required, U::frozen_400,
      {.words = "admin|member|reader",
       .create_path = "role"}),
  row(R::token, "project_id", T::uuid, C::optional, U::frozen_400,
      {.create_path = "project_id",
       .about = "Required for member and reader, not given for admin"}),
  row(R::token, "expires_at", T::timestamp, C::optional, U::frozen_400,
      {.create_path = "expires_unix_us", .about = "In the future; default: never"}),
  row(R::token, "created_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::token, "updated_at", T::timestamp, C::refused_400, U::frozen_400),
  // ---- quota
  row(R::quota, "uuid", T::uuid, C::required, U::frozen_400,
      {.about = "Of the project; 00000000-0000-0000-0000-000000000000: of all that have none"}),
  row(R::quota, "project_id", T::uuid, C::refused_400, U::frozen_400, {.about = "The same"}),
  row(R::quota, "instances", T::integer, C::optional, U::allowed,
      {.min = 0, .max = 1'000'000, .default_json = "1000000",
       .create_path = "instances", .update_path = "instances", .about = "Of the project, at most"}),
  row(R::quota, "cpu", T::integer, C::optional, U::allowed,
      {.min = 0, .max = 1'000'000, .default_json = "1000000",
       .create_path = "cpu", .update_path = "cpu", .about = "Of all nodes together, at most"}),
  row(R::quota, "ram", T::integer, C::optional, U::allowed,
      {.min = 0, .max = 1'000'000'000, .default_json = "1000000000",
       .create_path = "ram_mb", .update_path = "ram_mb", .about = "MB of all nodes together, at most"}),
  row(R::quota, "disk_size", T::integer, C::optional, U::allowed,
      {.min = 0, .max = 1'000'000'000, .default_json = "1000000000",
       .create_path = "disk_gb", .update_path = "disk_gb", .about = "GB of all nodes together, at most"}),
  row(R::quota, "created_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::quota, "updated_at", T::timestamp, C::refused_400, U::frozen_400),
  // ---- operation
  row(R::operation, "uuid", T::uuid, C::refused_400, U::frozen_400),
  row(R::operation, "status", T::word, C::refused_403, U::refused_403,
      {.words = "PENDING|SUCCEEDED|FAILED"}),
  row(R::operation, "resource", T::text, C::refused_400, U::frozen_400,
      {.min = 0, .max = 255,
       .about = "URI of what it made or changed"}),
  row(R::operation, "position", T::integer, C::refused_400, U::frozen_400,
      {.min = 0, .max = INT64_MAX,
       .about = "Of its last event in the log"}),
  row(R::operation, "created_at", T::timestamp, C::refused_400, U::frozen_400),
  row(R::operation, "error", T::object, C::refused_400, U::ignored,
      {.about = "type, code and message, when status is FAILED"}),
};

constexpr ResourceInfo kInfos[] = {
  {R::instance, "instance", "instances", "Instance",
   "create_instance", "update_instance", "delete_instance", ""},
  {R::user, "user", "users", "User",
   "create_user", "update_user", "delete_user", "user_id"},
  {R::database, "database", "databases", "Database",
   "create_database", "update_database", "delete_database", "database_id"},
  {R::version, "version", "versions", "Version",
   "create_version", "update_version", "delete_version", ""},
  {R::host, "host", "hosts", "Host",
   "", "set_host_schedulable", "", ""},
  {R::token, "token", "tokens", "Token",
   "create_token", "", "revoke_token", ""},
  {R::quota, "quota", "quotas", "Quota",
   "create_quota", "update_quota", "delete_quota", ""},
  {R::operation, "operation", "operations", "Operation",
   "", "", "", ""},
  {R::usage, "usage", "usage", "UsageRow", "", "", "", ""},
  {R::invoice, "invoice", "invoices", "Invoice", "", "", "", ""},
  {R::price_list, "price list", "price-lists", "PriceList", "", "", "", ""},
  {R::webhook, "webhook", "webhooks", "Webhook", "", "", "", ""},
};
// clang-format on

}  // namespace

std::span<const Field> all_fields() { return kFields; }

std::span<const Field> fields_of(Resource resource) {
  const auto of_it = [&](const Field& field) { return field.resource == resource; };
  const auto* first = std::find_if(std::begin(kFields), std::end(kFields), of_it);
  const auto* last = std::find_if_not(first, std::end(kFields), of_it);
  return {first, last};
}

const Field* find_field(Resource resource, std::string_view name) {
  for (const Field& field : fields_of(resource)) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

const ResourceInfo& info(Resource resource) {
  for (const ResourceInfo& row : kInfos) {
    if (row.resource == resource) return row;
  }
  throw std::logic_error("a resource without a row in kInfos");
}

std::string with_article(Resource resource) {
  const std::string_view singular = info(resource).singular;
  const bool vowel = std::string_view("aeio").find(singular[0]) != std::string_view::npos;
  return (vowel ? "an " : "a ") + std::string(singular);
}

bool is_sortable(const Field& field) {
  return field.type != FieldType::text_list && is_filterable(field);
}

bool is_filterable(const Field& field) {
  const bool composed = field.type == FieldType::object || field.type == FieldType::object_list;
  return !composed && field.shown && field.stored;
}

}  // namespace trunkline::gateway
