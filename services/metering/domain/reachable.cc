#include "metering/domain/reachable.h"

#include <algorithm>

namespace trunkline::metering {
namespace {

constexpr IpRange v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, int bits) {
  return {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}, 96 + bits};
}

// IANA's special-purpose registry for IPv4.
constexpr IpRange kNotPublic4[] = {
    v4(0, 0, 0, 0, 8),       v4(10, 0, 0, 0, 8),     v4(100, 64, 0, 0, 10), v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),  v4(172, 16, 0, 0, 12),  v4(192, 0, 0, 0, 24),  v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),  v4(192, 168, 0, 0, 16), v4(198, 18, 0, 0, 15), v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),  v4(224, 0, 0, 0, 3)};
constexpr IpRange kMapped = v4(0, 0, 0, 0, 0);
// Of IPv6, only this is given out; and in it, what leads somewhere else (6to4, Teredo) is not.
constexpr IpRange kGlobal6 = {{0x20}, 3};
constexpr IpRange kNotPublic6[] = {
    {{0x20, 0x01, 0x00, 0x00}, 23}, {{0x20, 0x01, 0x0d, 0xb8}, 32}, {{0x20, 0x02}, 16},
    {{0x3f, 0xff}, 20}};

}  // namespace

bool is_in(const IpBytes& address, const IpRange& range) {
  for (int i = 0; i < range.bits; ++i) {
    const int mask = 0x80 >> (i % 8);
    const auto byte = static_cast<size_t>(i / 8);
    if ((address[byte] & mask) != (range.first[byte] & mask)) return false;
  }
  return true;
}

bool is_public(const IpBytes& address) {
  const auto holds = [&](const IpRange& range) { return is_in(address, range); };
  if (is_in(address, kMapped)) return std::ranges::none_of(kNotPublic4, holds);
  return is_in(address, kGlobal6) && std::ranges::none_of(kNotPublic6, holds);
}

bool may_reach(const IpBytes& address, std::span<const IpRange> allowed) {
  return is_public(address) || std::ranges::any_of(allowed, [&](const IpRange& range) {
           return is_in(address, range);
         });
}

}  // namespace trunkline::metering
