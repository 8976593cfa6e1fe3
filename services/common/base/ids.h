// Identifiers. Every id is a lower-case UUID in its canonical 36-character form; a strong type per
// kind keeps one from being passed for another. No I/O; randomness comes from runtime/random.h.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline {

template <class Tag>
class StrongId {
 public:
  StrongId() = default;
  explicit StrongId(std::string value) : value_(std::move(value)) {}
  const std::string& str() const { return value_; }
  bool empty() const { return value_.empty(); }
  auto operator<=>(const StrongId&) const = default;

 private:
  std::string value_;
};

using InstanceId = StrongId<struct InstanceTag>;
using NodeId = StrongId<struct NodeTag>;
using UserId = StrongId<struct UserTag>;
using DatabaseId = StrongId<struct DatabaseTag>;
using VersionId = StrongId<struct VersionTag>;
using HostName = StrongId<struct HostTag>;
using ProjectId = StrongId<struct ProjectTag>;

// True for 8-4-4-4-12 hexadecimal digits in either case.
bool is_uuid(std::string_view text);
// The canonical lower-case form, or nothing if `text` is no UUID.
std::optional<std::string> canonical_uuid(std::string_view text);
// RFC 4122 version 4 from 16 random bytes.
std::string uuid_from_random(const unsigned char (&bytes)[16]);
// RFC 4122 version 5 (SHA-1) within Trunkline's own namespace: the same name gives the same UUID.
std::string uuid_from_name(std::string_view name);

}  // namespace trunkline

template <class Tag>
struct std::hash<trunkline::StrongId<Tag>> {
  size_t operator()(const trunkline::StrongId<Tag>& id) const noexcept {
    return std::hash<std::string>()(id.str());
  }
};
