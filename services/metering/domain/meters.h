// What is metered. Quantities are integers in base units (docs/adr/0060-metering.md); a quantity of
// the meter's unit is base / base_per_unit, a finite decimal. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace trunkline::metering {

enum class Meter : size_t {
  // of an instance
  seconds_new,
  seconds_in_progress,
  seconds_active,
  seconds_error,
  bytes_in,
  bytes_out,
  connections,
  connection_seconds,
  // of a node
  vcpu_seconds,
  ram_gb_seconds,
  storage_gb_seconds,
  storage_used_gb_seconds,
  transactions,
  wal_bytes,
  read_bytes,
  write_bytes,
  cpu_seconds,
};
inline constexpr size_t kMeters = 17;
inline constexpr size_t kFirstNodeMeter = static_cast<size_t>(Meter::vcpu_seconds);

enum class MeterOf { instance, node };
enum class MeterSource { log, agent, proxy };

struct MeterInfo {
  Meter meter;
  std::string_view name;    // in CloudEvents, REST and price lists
  std::string_view state;   // of instance_seconds: "ACTIVE"; else empty
  std::string_view column;  // of the tables
  std::string_view unit;
  int64_t base_per_unit;
  int base_decimals;        // digits behind the point that show any base quantity exactly
  MeterOf of;
  MeterSource source;
};

// One row a meter, in the order of the enumeration (and of the tables' columns).
std::span<const MeterInfo> meters();
const MeterInfo& info(Meter meter);

// Quantities in base units, by meter; 0 where there is nothing. May be negative in corrections.
using Amounts = std::array<int64_t, kMeters>;
inline int64_t& at(Amounts& amounts, Meter meter) { return amounts[static_cast<size_t>(meter)]; }
inline int64_t at(const Amounts& amounts, Meter meter) {
  return amounts[static_cast<size_t>(meter)];
}
bool is_zero(const Amounts& amounts);
void add(Amounts& to, const Amounts& more);

// `base` in the meter's unit, exact, without trailing zeros: "60", "0.001", "-12.5".
std::string unit_text(Meter meter, __int128 base);

}  // namespace trunkline::metering
