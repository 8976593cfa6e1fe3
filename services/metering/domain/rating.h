// Quantities times prices: an invoice is a function of what was used and of the versions of a
// price list. Every line is summed exactly and rounded once, half to even, to the currency's minor
// unit. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "metering/domain/decimal.h"
#include "metering/domain/meters.h"
#include "metering/domain/price_list.h"

namespace trunkline::metering {

// What a price makes of one base unit of its meter: numerator / denominator minor units.
struct Rate {
  Uint128 numerator = 0;
  Uint128 denominator = 1;
};
// Nothing for a price that cannot be read.
std::optional<Rate> rate_of(const Price& price, uint32_t minor_digits);
// In minor units, rounded.
inline Int128 amount_of(Int128 quantity, const Rate& rate) {
  return scaled_half_even(quantity, rate.numerator, rate.denominator);
}

// A part of the billed time, from full hour to full hour, in which one version holds.
struct Segment {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  bool operator==(const Segment&) const = default;
};
// [from, to) cut where any of the lists begins to hold another version.
std::vector<Segment> segments_of(const std::vector<const PriceListState*>& lists, int64_t from_ms,
                                 int64_t to_ms);

// What an instance used within one segment, of all its nodes together, in base units.
struct UsedQuantity {
  size_t segment = 0;  // index
  std::string instance_id;
  Meter meter = Meter::seconds_new;
  Int128 quantity = 0;
};

struct InvoiceLine {
  std::string instance_id;
  Meter meter = Meter::seconds_new;  // one of those that share its name
  std::string state;                 // of the price; empty: any
  uint32_t price_list_version = 0;
  Price price;
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  Int128 quantity = 0;  // base units
  Int128 amount = 0;    // minor units
};
// Used, and no price for it: shown, so that nothing is given away unseen.
struct UnpricedLine {
  std::string instance_id;
  Meter meter = Meter::seconds_new;
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  Int128 quantity = 0;
};
struct Rating {
  std::vector<InvoiceLine> lines;  // by instance, meter, state, time
  std::vector<UnpricedLine> unpriced;
  Int128 total = 0;
};

// Neighbouring segments in which the same version holds make one line.
Rating rate(const PriceListState& list, const std::vector<Segment>& segments,
            const std::vector<UsedQuantity>& used);

// Of one (instance, name of a meter): what two ratings of the same usage say.
struct RatingDifference {
  std::string instance_id;
  Meter meter = Meter::seconds_new;
  Int128 amount = 0;
  Int128 compared_amount = 0;
};
std::vector<RatingDifference> compare(const Rating& rating, const Rating& other);

}  // namespace trunkline::metering
