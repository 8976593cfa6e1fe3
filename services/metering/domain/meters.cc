#include "metering/domain/meters.h"

#include <algorithm>

namespace trunkline::metering {
namespace {

constexpr int64_t kMs = 1000;          // ms a second
constexpr int64_t kMbMs = 1024 * kMs;  // MB ms a GB second

constexpr MeterInfo kTable[] = {
    {Meter::seconds_new, "instance_seconds", "NEW", "new_ms", "s", kMs, 3, MeterOf::instance,
     MeterSource::log},
    {Meter::seconds_in_progress, "instance_seconds", "IN_PROGRESS", "in_progress_ms", "s", kMs, 3,
     MeterOf::instance, MeterSource::log},
    {Meter::seconds_active, "instance_seconds", "ACTIVE", "active_ms", "s", kMs, 3,
     MeterOf::instance, MeterSource::log},
    {Meter::seconds_error, "instance_seconds", "ERROR", "error_ms", "s", kMs, 3,
     MeterOf::instance, MeterSource::log},
    {Meter::bytes_in, "bytes_in", "", "bytes_in", "B", 1, 0, MeterOf::instance,
     MeterSource::proxy},
    {Meter::bytes_out, "bytes_out", "", "bytes_out", "B", 1, 0, MeterOf::instance,
     MeterSource::proxy},
    {Meter::connections, "connections", "", "connections", "1", 1, 0, MeterOf::instance,
     MeterSource::proxy},
    {Meter::connection_seconds, "connection_seconds", "", "connection_ms", "s", kMs, 3,
     MeterOf::instance, MeterSource::proxy},
    {Meter::vcpu_seconds, "vcpu_seconds", "", "vcpu_ms", "vCPU s", kMs, 3, MeterOf::node,
     MeterSource::log},
    {Meter::ram_gb_seconds, "ram_gb_seconds", "", "ram_mb_ms", "GB s", kMbMs, 13, MeterOf::node,
     MeterSource::log},
    {Meter::storage_gb_seconds, "storage_gb_seconds", "", "storage_gb_ms", "GB s", kMs, 3,
     MeterOf::node, MeterSource::log},
    {Meter::storage_used_gb_seconds, "storage_used_gb_seconds", "", "storage_used_mb_ms", "GB s",
     kMbMs, 13, MeterOf::node, MeterSource::agent},
    {Meter::transactions, "transactions", "", "transactions", "1", 1, 0, MeterOf::node,
     MeterSource::agent},
    {Meter::wal_bytes, "wal_bytes", "", "wal_bytes", "B", 1, 0, MeterOf::node,
     MeterSource::agent},
    {Meter::read_bytes, "read_bytes", "", "read_bytes", "B", 1, 0, MeterOf::node,
     MeterSource::agent},
    {Meter::write_bytes, "write_bytes", "", "write_bytes", "B", 1, 0, MeterOf::node,
     MeterSource::agent},
    {Meter::cpu_seconds, "cpu_seconds", "", "cpu_ms", "s", kMs, 3, MeterOf::node,
     MeterSource::agent},
};
static_assert(std::size(kTable) == kMeters);

}  // namespace

std::span<const MeterInfo> meters() { return kTable; }
const MeterInfo& info(Meter meter) { return kTable[static_cast<size_t>(meter)]; }

bool is_zero(const Amounts& amounts) {
  return std::all_of(amounts.begin(), amounts.end(), [](int64_t amount) { return amount == 0; });
}

void add(Amounts& to, const Amounts& more) {
  for (size_t i = 0; i < kMeters; ++i) to[i] += more[i];
}

std::string unit_text(Meter meter, __int128 base) {
  const MeterInfo& of = info(meter);
  const bool negative = base < 0;
  __int128 rest = negative ? -base : base;
  std::string whole;
  __int128 left = rest / of.base_per_unit;
  do {
    whole.push_back(static_cast<char>('0' + static_cast<int>(left % 10)));
    left /= 10;
  } while (left > 0);
  std::reverse(whole.begin(), whole.end());
  rest %= of.base_per_unit;
  std::string fraction;
  for (int i = 0; i < of.base_decimals && rest != 0; ++i) {
    rest *= 10;
    fraction += static_cast<char>('0' + static_cast<int>(rest / of.base_per_unit));
    rest %= of.base_per_unit;
  }
  std::string text;
  if (negative) text.push_back('-');
  text.append(whole);
  if (!fraction.empty()) text.append(1, '.').append(fraction);
  return text;
}

}  // namespace trunkline::metering
