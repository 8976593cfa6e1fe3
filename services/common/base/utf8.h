// Text that somebody else wrote. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline {

// At most so many bytes, cut between two characters; bytes that are no UTF-8 become '?'. A
// Protobuf string that is none makes its whole message unreadable.
std::string bounded_text(std::string_view text, size_t most_bytes);

// What makes a text look like another one, or unlike itself, where it is shown: U+0080 to U+009F,
// marks of direction, what has no width, the language tags, the line and paragraph separators. The
// joiners U+200C and U+200D belong to scripts and emoji: only a `name` must not have them.
// "U+202E" of the first one; nothing if there is none. `text` is UTF-8.
std::optional<std::string> hidden_character(std::string_view text, bool name);

}  // namespace trunkline
