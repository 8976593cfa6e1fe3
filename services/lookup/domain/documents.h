// What the read model holds: one JSON document a resource, exactly as REST shows it, with the few
// columns that it is found by. Pure values.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace trunkline::lookup {

// A route is the read model's own: no resource of REST, its `json` is what route.h makes of it.
enum class DocKind : uint8_t { instance, user, database, version, host, token, route, quota };

inline constexpr DocKind kDocKinds[] = {DocKind::instance, DocKind::user, DocKind::database,
                                        DocKind::version,  DocKind::host, DocKind::token,
                                        DocKind::route,    DocKind::quota};

// The quota of all projects that have none of their own, which everybody may see.
inline constexpr std::string_view kDefaultQuotaProject = "00000000-0000-0000-0000-000000000000";

// "instance", "user", …: the value of the column `kind`.
std::string_view to_string(DocKind kind);
std::optional<DocKind> doc_kind_from(std::string_view text);

// Clients choose uuids, so a user or database is only known within its instance.
struct DocKey {
  DocKind kind = DocKind::instance;
  std::string uuid;
  std::string parent = {};  // uuid of the instance of a user or database; else empty
  auto operator<=>(const DocKey&) const = default;
};

struct Document {
  DocKey key;
  std::string project_id;   // of the instance, or of a token; empty: no project
  TimePoint created_at;
  std::string token_hash;   // of a token: SHA-256 in lower-case hex; never in `json`
  std::string json;
};

}  // namespace trunkline::lookup

template <>
struct std::hash<trunkline::lookup::DocKey> {
  size_t operator()(const trunkline::lookup::DocKey& key) const noexcept {
    const std::hash<std::string> hash;
    return (hash(key.uuid) * 31 + hash(key.parent)) * 31 + static_cast<size_t>(key.kind);
  }
};
