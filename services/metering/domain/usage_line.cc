#include "metering/domain/usage_line.h"

#include <charconv>
#include <vector>

#include "base/ids.h"

namespace trunkline::metering {
namespace {

constexpr int64_t kLatestMs = 253'402'300'800'000;  // the year 10000

std::string hex_number(int64_t value) {
  char text[20];
  const auto end = std::to_chars(text, text + sizeof text, static_cast<uint64_t>(value), 16).ptr;
  return std::string(text, end);
}

std::optional<int64_t> parse_hex(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size() || value > uint64_t{kLatestMs}) {
    return std::nullopt;
  }
  return static_cast<int64_t>(value);
}

}  // namespace

std::string line_name(const UsageLine& line) {
  return hex_number(line.from_ms) + "_" + hex_number(line.to_ms) + "_" + line.instance_id + "_" +
         line.node_id + "_" + std::to_string(static_cast<size_t>(line.meter));
}

std::optional<UsageLine> parse_line_name(std::string_view name) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = name.find('_');
    parts.push_back(name.substr(0, end));
    if (end == std::string_view::npos) break;
    name.remove_prefix(end + 1);
  }
  if (parts.size() != 5) return std::nullopt;
  const auto from = parse_hex(parts[0]), to = parse_hex(parts[1]);
  const auto instance = canonical_uuid(parts[2]);
  const auto node = parts[3].empty() ? std::optional<std::string>("") : canonical_uuid(parts[3]);
  size_t meter = kMeters;
  const auto [end, error] =
      std::from_chars(parts[4].data(), parts[4].data() + parts[4].size(), meter);
  const bool good = from && to && *from < *to && instance && node && error == std::errc() &&
                    end == parts[4].data() + parts[4].size() && meter < kMeters;
  if (!good) return std::nullopt;
  return UsageLine{*from, *to, *instance, *node, static_cast<Meter>(meter)};
}

const std::set<std::string, std::less<>>& event_types_of(Meter meter) {
  static const std::set<std::string, std::less<>> state = {
      "instance_created",   "instance_resized", "instance_scaled",
      "instance_retried",   "node_placed",      "node_removal_started",
      "instance_activated", "instance_failed",  "instance_deletion_started",
      "instance_deleted"};
  static const std::set<std::string, std::less<>> size = {
      "instance_created",     "instance_resized", "node_created",
      "node_removal_started", "node_removed",     "instance_deletion_started",
      "instance_deleted"};
  static const std::set<std::string, std::less<>> none;
  if (info(meter).source != MeterSource::log) return none;
  return info(meter).of == MeterOf::instance ? state : size;
}

}  // namespace trunkline::metering
