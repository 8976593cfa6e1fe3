// The resources of the REST surface as one table. Validation (validate.h), the translation to
// commands (command_fields.h), filters and sort keys (list_query.h) and the OpenAPI document
// (openapi.h) all read it, so that they cannot say different things. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace trunkline::gateway {

enum class Resource {
  instance,
  user,
  database,
  version,
  host,
  token,
  operation,
  quota,
  // of billing.h, with fields of their own
  usage,
  invoice,
  price_list,
  webhook,
};

enum class FieldType {
  text,
  integer,
  boolean,
  uuid,
  reference,   // URI of another resource
  timestamp,   // RFC 3339
  word,        // one of `words`
  text_list,
  object,
  object_list,
};

// Which strings a text field takes, beyond its length (min..max characters).
enum class TextRule { free, line, database_name, user_name, secret, image, locale };

// What a client may do with the field when it creates the resource.
enum class OnCreate {
  required,
  optional,     // left out: `default_json`, or the domain's own default where that is empty
  refused_400,  // the platform sets it
  refused_403,
};
// ... and when it changes it.
enum class OnUpdate {
  allowed,
  ignored,      // the platform's own, and it may change between a client's GET and PUT
  frozen_400,   // the value that it has is fine, another one is refused
  refused_403,  // not even the value that it has
};

struct Field {
  Resource resource;
  std::string_view name;
  FieldType type;
  OnCreate on_create;
  OnUpdate on_update;
  int64_t min = 0;                    // integer: range; text: number of characters
  int64_t max = 0;
  TextRule text_rule = TextRule::free;
  std::string_view words = {};        // of a word: "a|b|c"
  Resource refers_to = Resource::instance;
  std::string_view default_json = {};
  std::string_view create_path = {};  // field of the create command: "size.cpu"; empty: not sent
  std::string_view update_path = {};  // field of the update command
  std::string_view about = {};        // for the document
  bool shown = true;                  // false: goes in and never comes out
  bool stored = true;                 // false: live, from reports; cannot be searched for
};

struct ResourceInfo {
  Resource resource;
  std::string_view singular;       // "instance"
  std::string_view plural;         // "instances"
  std::string_view schema;         // "Instance": name in the document
  std::string_view create_message; // field of the command's oneof: "create_instance"
  std::string_view update_message;
  std::string_view delete_message;
  std::string_view id_path;        // field of those messages that takes the uuid, for parts of an
                                   // instance: "user_id"
};

std::span<const Field> all_fields();
std::span<const Field> fields_of(Resource resource);
const Field* find_field(Resource resource, std::string_view name);
const ResourceInfo& info(Resource resource);
std::string with_article(Resource resource);  // "an instance"
// Shown and stored: a single value may be filtered and sorted by, a list of texts filtered by: any
// of its elements may match.
bool is_sortable(const Field& field);
bool is_filterable(const Field& field);

}  // namespace trunkline::gateway
