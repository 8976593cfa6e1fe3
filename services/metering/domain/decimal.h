// Exact decimals for prices, quantities and money: no floating point anywhere. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trunkline::metering {

__extension__ using Int128 = __int128;
__extension__ using Uint128 = unsigned __int128;

// digits / 10^scale, never negative.
struct Decimal {
  Uint128 digits = 0;
  uint32_t scale = 0;
  bool operator==(const Decimal&) const = default;
};

// "12", "0.0495": digits with at most one point between digits, at most 12 of them before it and
// 12 after. Zeros at the end do not count. Nothing for anything else.
std::optional<Decimal> parse_decimal(std::string_view text);

Uint128 power_of_ten(uint32_t exponent);  // at most 38

// quantity * numerator / denominator, rounded once, half to even; exact inside whatever the sizes.
// The denominator must be in 1..2^120, and the result must fit.
Int128 scaled_half_even(Int128 quantity, Uint128 numerator, Uint128 denominator);

std::string integer_text(Int128 value);
std::optional<Int128> parse_integer(std::string_view text);
// value / 10^scale with exactly `scale` digits after the point: (1234, 2) → "12.34".
std::string fixed_text(Int128 value, uint32_t scale);

}  // namespace trunkline::metering
