// What users and databases of an instance may be called: one rule for those who take an order
// (gateway, provisioner) and those who carry it out (agent). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trunkline {

inline constexpr size_t kMaxObjectNameBytes = 63;  // PostgreSQL's own limit

// Begins the names of what is the platform's own in a server: no user or database may have it.
inline constexpr std::string_view kPlatformPrefix = "trunkline_";

struct BrokenNameRule {
  std::string rule;     // name_missing, name_too_long, name_malformed or name_reserved
  std::string message;  // a sentence that begins with "name"
};

// The first rule that is broken, or nothing.
std::optional<BrokenNameRule> check_object_user_name(std::string_view name);
std::optional<BrokenNameRule> check_object_database_name(std::string_view name);

}  // namespace trunkline
