#include "api-gateway/domain/reference.h"

#include "base/ids.h"

namespace trunkline::gateway {
namespace {

constexpr std::string_view kCanonical = "/v1/types/postgres/";
constexpr std::string_view kShort = "/v1/postgres/";

// Takes "instances/<uuid>" off the front of `text`.
std::optional<std::string> take_item(std::string_view& text, std::string_view plural) {
  constexpr size_t kUuidSize = 36;
  if (!text.starts_with(plural) || text.size() < plural.size() + 1 + kUuidSize) return std::nullopt;
  if (text[plural.size()] != '/') return std::nullopt;
  auto uuid = canonical_uuid(text.substr(plural.size() + 1, kUuidSize));
  if (uuid) text.remove_prefix(plural.size() + 1 + kUuidSize);
  return uuid;
}

bool is_part_of_instance(Resource resource) {
  return resource == Resource::user || resource == Resource::database;
}

}  // namespace

std::optional<Reference> parse_reference(Resource target, std::string_view uri) {
  if (uri.starts_with(kCanonical)) {
    uri.remove_prefix(kCanonical.size());
  } else if (uri.starts_with(kShort)) {
    uri.remove_prefix(kShort.size());
  } else {
    return std::nullopt;
  }
  Reference out;
  if (is_part_of_instance(target)) {
    auto instance = take_item(uri, info(Resource::instance).plural);
    if (!instance || !uri.starts_with('/')) return std::nullopt;
    uri.remove_prefix(1);
    out.instance_id = *instance;
  }
  auto uuid = take_item(uri, info(target).plural);
  if (!uuid || (!uri.empty() && uri != "/")) return std::nullopt;
  out.uuid = *uuid;
  if (target == Resource::instance) out.instance_id = out.uuid;
  return out;
}

std::string resource_uri(Resource resource, std::string_view uuid, std::string_view instance_id) {
  std::string out(kCanonical);
  if (is_part_of_instance(resource)) {
    out.append(info(Resource::instance).plural).append("/").append(instance_id).append("/");
  }
  return out.append(info(resource).plural).append("/").append(uuid);
}

std::string canonical_reference(Resource target, std::string_view uri) {
  const auto reference = parse_reference(target, uri);
  if (!reference) return std::string(uri);
  return resource_uri(target, reference->uuid, reference->instance_id);
}

}  // namespace trunkline::gateway
