#include "metering/domain/decimal.h"

#include <algorithm>

namespace trunkline::metering {
namespace {

constexpr size_t kMostDigits = 12;

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

Uint128 magnitude(Int128 value) {
  return value < 0 ? Uint128(0) - static_cast<Uint128>(value) : static_cast<Uint128>(value);
}

Int128 with_sign(Uint128 value, bool negative) {
  return negative ? -static_cast<Int128>(value) : static_cast<Int128>(value);
}

// The product of two numbers of 128 bits.
struct Wide {
  Uint128 high = 0;
  Uint128 low = 0;
};

Wide multiply(Uint128 a, Uint128 b) {
  constexpr Uint128 kHalf = ~uint64_t{0};
  const Uint128 a0 = a & kHalf, a1 = a >> 64, b0 = b & kHalf, b1 = b >> 64;
  const Uint128 low = a0 * b0;
  const Uint128 middle = a1 * b0 + (low >> 64);
  const Uint128 other = a0 * b1 + (middle & kHalf);
  return {a1 * b1 + (middle >> 64) + (other >> 64), (other << 64) | (low & kHalf)};
}

std::string digits_of(Uint128 value) {
  std::string out;
  do {
    out.push_back(static_cast<char>('0' + static_cast<int>(value % 10)));
    value /= 10;
  } while (value != 0);
  std::ranges::reverse(out);
  return out;
}

}  // namespace

Uint128 power_of_ten(uint32_t exponent) {
  Uint128 out = 1;
  for (uint32_t i = 0; i < exponent; ++i) out *= 10;
  return out;
}

std::optional<Decimal> parse_decimal(std::string_view text) {
  const size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  std::string_view fraction =
      point == std::string_view::npos ? std::string_view() : text.substr(point + 1);
  if (!all_digits(whole)) return std::nullopt;
  if (point != std::string_view::npos && !all_digits(fraction)) return std::nullopt;
  while (fraction.ends_with('0')) fraction.remove_suffix(1);
  if (whole.size() > kMostDigits || fraction.size() > kMostDigits) return std::nullopt;
  Decimal out;
  out.scale = static_cast<uint32_t>(fraction.size());
  for (const std::string_view part : {whole, fraction}) {
    for (const char c : part) out.digits = out.digits * 10 + static_cast<unsigned>(c - '0');
  }
  return out;
}

Int128 scaled_half_even(Int128 quantity, Uint128 numerator, Uint128 denominator) {
  const Wide product = multiply(magnitude(quantity), numerator);
  Uint128 quotient = 0;
  Uint128 rest = 0;
  for (int bit = 255; bit >= 0; --bit) {
    const Uint128 part = bit >= 128 ? product.high >> (bit - 128) : product.low >> bit;
    rest = (rest << 1) | (part & 1);
    quotient <<= 1;
    if (rest < denominator) continue;
    rest -= denominator;
    quotient |= 1;
  }
  const Uint128 twice = rest * 2;
  if (twice > denominator || (twice == denominator && (quotient & 1) != 0)) ++quotient;
  return with_sign(quotient, quantity < 0);
}

std::string integer_text(Int128 value) {
  return (value < 0 ? "-" : "") + digits_of(magnitude(value));
}

std::optional<Int128> parse_integer(std::string_view text) {
  constexpr size_t kMostIntegerDigits = 37;
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (!all_digits(text) || text.size() > kMostIntegerDigits) return std::nullopt;
  Uint128 value = 0;
  for (const char c : text) value = value * 10 + static_cast<unsigned>(c - '0');
  return with_sign(value, negative);
}

std::string fixed_text(Int128 value, uint32_t scale) {
  std::string digits = digits_of(magnitude(value));
  if (digits.size() <= scale) digits.insert(0, scale + 1 - digits.size(), '0');
  if (scale > 0) digits.insert(digits.size() - scale, ".");
  return (value < 0 ? "-" : "") + digits;
}

}  // namespace trunkline::metering
