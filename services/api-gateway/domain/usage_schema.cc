#include "api-gateway/domain/usage_schema.h"

#include <string>
#include <string_view>
#include <utility>

namespace trunkline::gateway {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::pair<std::string_view, std::string_view> kMeters[] = {
    {"instance_seconds_new", "s in state NEW"},
    {"instance_seconds_in_progress", "s in state IN_PROGRESS"},
    {"instance_seconds_active", "s in state ACTIVE"},
    {"instance_seconds_error", "s in state ERROR"},
    {"bytes_in", "B"},
    {"bytes_out", "B"},
    {"connections", "count"},
    {"connection_seconds", "s"},
    {"vcpu_seconds", "vCPU s"},
    {"ram_gb_seconds", "GB s"},
    {"storage_gb_seconds", "GB s, as ordered"},
    {"storage_used_gb_seconds", "GB s"},
    {"transactions", "count"},
    {"wal_bytes", "B"},
    {"read_bytes", "B"},
    {"write_bytes", "B"},
    {"cpu_seconds", "s"},
};

}  // namespace

Json usage_schema() {
  Json properties = {
      {"instance", {{"type", "string"}, {"format", "uuid"}}},
      {"node",
       {{"type", {"string", "null"}},
        {"format", "uuid"},
        {"description", "null: of the instance as a whole"}}},
      {"window_start", {{"type", "string"}, {"format", "date-time"}}},
      {"window_end", {{"type", "string"}, {"format", "date-time"}}},
      {"kind", {{"type", "string"}, {"enum", {"original", "correction"}}}},
      {"position", {{"type", "integer"}, {"minimum", 1}}}};
  for (const auto& [name, unit] : kMeters) {
    properties[std::string(name)] = {{"type", "number"}, {"description", std::string(unit)}};
  }
  return {{"$schema", "http://json-schema.org/draft-07/schema#"},
          {"title", "Usage of a Trunkline instance or node in one window"},
          {"description",
           "A correction holds what is to be added to what was said of its window before; a meter "
           "that is not there is 0"},
          {"type", "object"},
          {"required", {"instance", "node", "window_start", "window_end", "kind", "position"}},
          {"properties", std::move(properties)}};
}

}  // namespace trunkline::gateway
