// Which addresses deliveries may go to: public ones, and what the operator allows. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace trunkline::metering {

// As IPv6 has it; IPv4 as ::ffff:a.b.c.d.
using IpBytes = std::array<uint8_t, 16>;

struct IpRange {
  IpBytes first{};
  int bits = 128;  // of the 128 that must be the same
};

bool is_in(const IpBytes& address, const IpRange& range);

// Not of this machine, a private network, a link, or reserved for something else.
bool is_public(const IpBytes& address);

bool may_reach(const IpBytes& address, std::span<const IpRange> allowed);

}  // namespace trunkline::metering
