#include "metering/domain/rating.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

namespace trunkline::metering {
namespace {

// (instance, meter's name, state of the price, start of the stretch): prices are unique in it.
using LineKey = std::tuple<std::string, std::string, std::string, int64_t>;
using UnpricedKey = std::tuple<std::string, Meter, int64_t>;

Uint128 greatest_divisor(Uint128 a, Uint128 b) {
  while (b != 0) {
    a %= b;
    std::swap(a, b);
  }
  return a;
}

// The stretch of neighbouring segments around `index` in which `version` holds without a break.
Segment stretch_of(const PriceListState& list, const std::vector<Segment>& segments, size_t index) {
  const auto* version = version_at(list, segments[index].from_ms);
  size_t first = index, last = index;
  while (first > 0 && version_at(list, segments[first - 1].from_ms) == version) --first;
  while (last + 1 < segments.size() && version_at(list, segments[last + 1].from_ms) == version) {
    ++last;
  }
  return {segments[first].from_ms, segments[last].to_ms};
}

}  // namespace

std::optional<Rate> rate_of(const Price& price, uint32_t minor_digits) {
  const auto amount = parse_decimal(price.amount);
  const auto per = parse_decimal(price.per);
  const auto meter = std::ranges::find(meters(), price.meter, &MeterInfo::name);
  if (!amount || !per || per->digits == 0 || meter == meters().end()) return std::nullopt;
  // Both scales are 12 at the most: the powers that they share need not be multiplied.
  const uint32_t shared = std::min(amount->scale, per->scale);
  Rate out;
  out.numerator =
      amount->digits * power_of_ten(per->scale - shared) * power_of_ten(minor_digits);
  out.denominator = per->digits * power_of_ten(amount->scale - shared);
  const Uint128 before = greatest_divisor(out.numerator, out.denominator);
  out.numerator /= before;
  out.denominator /= before;
  out.denominator *= static_cast<Uint128>(meter->base_per_unit);
  return out;
}

std::vector<Segment> segments_of(const std::vector<const PriceListState*>& lists, int64_t from_ms,
                                 int64_t to_ms) {
  std::set<int64_t> bounds{from_ms, to_ms};
  for (const auto* list : lists) {
    for (const auto& version : list->versions) {
      const int64_t at = version.valid_from_ms;
      if (at > from_ms && at < to_ms) bounds.insert(at);
    }
  }
  std::vector<Segment> out;
  for (auto it = bounds.begin(); std::next(it) != bounds.end(); ++it) {
    out.push_back({*it, *std::next(it)});
  }
  return out;
}

Rating rate(const PriceListState& list, const std::vector<Segment>& segments,
            const std::vector<UsedQuantity>& used) {
  std::map<LineKey, InvoiceLine> lines;
  std::map<UnpricedKey, UnpricedLine> unpriced;
  std::vector<const PriceListVersion*> versions;
  std::vector<Segment> stretches;
  for (size_t i = 0; i < segments.size(); ++i) {
    versions.push_back(version_at(list, segments[i].from_ms));
    stretches.push_back(stretch_of(list, segments, i));
  }
  for (const UsedQuantity& item : used) {
    const PriceListVersion* version = versions.at(item.segment);
    const Segment& stretch = stretches.at(item.segment);
    const MeterInfo& meter = info(item.meter);
    const std::string name(meter.name);
    const Price* price =
        version == nullptr ? nullptr : find_price(*version, name, std::string(meter.state), {});
    if (price == nullptr) {
      auto& line = unpriced[{item.instance_id, item.meter, stretch.from_ms}];
      const Int128 before = line.quantity;
      line = {item.instance_id, item.meter, stretch.from_ms, stretch.to_ms, before + item.quantity};
      continue;
    }
    auto& line = lines[{item.instance_id, name, price->state, stretch.from_ms}];
    const Int128 before = line.quantity;
    line = {item.instance_id, item.meter,      price->state,  version->number,
            *price,           stretch.from_ms, stretch.to_ms, before + item.quantity};
  }
  Rating out;
  for (auto& [key, line] : lines) {
    if (line.quantity == 0) continue;
    const auto rate = rate_of(line.price, list.minor_digits);
    line.amount = rate ? amount_of(line.quantity, *rate) : Int128(0);
    out.total += line.amount;
    out.lines.push_back(std::move(line));
  }
  for (auto& [key, line] : unpriced) {
    if (line.quantity != 0) out.unpriced.push_back(std::move(line));
  }
  return out;
}

std::vector<RatingDifference> compare(const Rating& rating, const Rating& other) {
  std::map<std::pair<std::string, std::string>, RatingDifference> found;
  const auto at = [&](const InvoiceLine& line) -> RatingDifference& {
    auto& entry = found[{line.instance_id, std::string(info(line.meter).name)}];
    entry.instance_id = line.instance_id;
    entry.meter = line.meter;
    return entry;
  };
  for (const auto& line : rating.lines) at(line).amount += line.amount;
  for (const auto& line : other.lines) at(line).compared_amount += line.amount;
  std::vector<RatingDifference> out;
  for (auto& [key, difference] : found) out.push_back(std::move(difference));
  return out;
}

}  // namespace trunkline::metering
