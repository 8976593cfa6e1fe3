#include "base/name_rules.h"

#include <algorithm>
#include <array>
#include <span>

namespace trunkline {
namespace {

using Broken = std::optional<BrokenNameRule>;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// PostgreSQL keeps "public" and "none" for itself.
constexpr std::array<std::string_view, 4> kUserPrefixes = {"pg_", "dbaas_", "postgres",
                                                           kPlatformPrefix};
constexpr std::array<std::string_view, 2> kUserNames = {"public", "none"};
constexpr std::array<std::string_view, 1> kDatabasePrefixes = {kPlatformPrefix};
constexpr std::array<std::string_view, 3> kDatabaseNames = {"postgres", "template0", "template1"};

// What was probably meant: "; my_app would do" of "my-app".
std::string suggestion(std::string_view name) {
  std::string close(name);
  std::ranges::replace_if(close, [](char c) { return c == '-' || c == '.' || c == ' '; }, '_');
  if (is_digit(close.front())) close.insert(close.begin(), '_');
  const bool good = close.size() <= kMaxObjectNameBytes && std::ranges::all_of(close, [](char c) {
    return is_letter(c) || is_digit(c) || c == '_';
  });
  return good ? "; " + close + " would do" : "";
}

Broken check_letters(std::string_view name, bool dollar_allowed) {
  const auto is_rest = [&](char c) {
    return is_letter(c) || is_digit(c) || c == '_' || (dollar_allowed && c == '$');
  };
  if (name.empty()) return BrokenNameRule{"name_missing", "name must not be empty"};
  if (name.size() > kMaxObjectNameBytes) {
    return BrokenNameRule{"name_too_long", "name must have 1 to 63 characters"};
  }
  const bool starts = is_letter(name[0]) || name[0] == '_';
  if (starts && std::ranges::all_of(name, is_rest)) return std::nullopt;
  return BrokenNameRule{"name_malformed",
                        std::string("name must start with a letter (a-z, A-Z) or underscore and "
                                    "go on with letters, digits") +
                            (dollar_allowed ? ", underscores and dollar signs"
                                            : " and underscores") +
                            ", at most 63 characters" + suggestion(name)};
}

Broken check_reserved(std::string_view name, std::span<const std::string_view> prefixes,
                      std::span<const std::string_view> names) {
  const auto begins = std::ranges::find_if(
      prefixes, [&](std::string_view prefix) { return name.starts_with(prefix); });
  if (begins != prefixes.end()) {
    return BrokenNameRule{"name_reserved", "name must not start with " + std::string(*begins)};
  }
  if (std::ranges::find(names, name) == names.end()) return std::nullopt;
  return BrokenNameRule{"name_reserved", "name must not be " + std::string(name)};
}

}  // namespace

Broken check_object_user_name(std::string_view name) {
  if (auto broken = check_letters(name, true)) return broken;
  return check_reserved(name, kUserPrefixes, kUserNames);
}

Broken check_object_database_name(std::string_view name) {
  if (auto broken = check_letters(name, false)) return broken;
  return check_reserved(name, kDatabasePrefixes, kDatabaseNames);
}

}  // namespace trunkline
