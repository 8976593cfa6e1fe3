// ISO 4217. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace trunkline::metering {

// How many decimal digits the currency's minor unit has: "EUR" → 2, "JPY" → 0. Nothing for what is
// no currency in use.
std::optional<uint32_t> minor_digits_of(std::string_view currency);

}  // namespace trunkline::metering
