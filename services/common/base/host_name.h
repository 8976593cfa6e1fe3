// What a host may be called: one rule for all, since the name is a token of bus subjects, a
// directory's name, and part of certificates and of the nodes' list of peers. Pure.
#pragma once

#include <string_view>

namespace trunkline {

inline constexpr char kHostNameRule[] =
    "1 to 63 lower-case letters, digits, dashes and underscores, the first a letter or a digit";

inline bool is_host_name(std::string_view name) {
  return !name.empty() && name.size() <= 63 && name[0] != '-' && name[0] != '_' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") ==
             std::string_view::npos;
}

}  // namespace trunkline
