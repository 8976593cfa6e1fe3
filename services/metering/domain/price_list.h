// The price list aggregate (stream `pricelist-<uuid>`): versions of prices, each valid from a full
// hour on. Of several versions that are valid in an hour the one that was published last holds.
// Pure.
//
// Rules: command_empty, uuid_malformed, name_malformed, currency_unknown, valid_from_not_full_hour,
// prices_missing, prices_too_many, meter_unknown, state_not_allowed, state_unknown,
// amount_malformed, per_malformed, plan_malformed, price_ambiguous: bad_value;
// currency_must_not_change, price_list_retired, versions_too_many, name_in_use: conflict;
// price_list_not_found: not_found. The newest version once more, and a second retirement, are
// Ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/decision.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {

struct Price {
  std::string meter;
  std::string state;   // empty: any
  std::string plan;    // empty: any
  std::string amount;  // decimal, in the major unit
  std::string per;     // decimal, of the meter's unit
  bool operator==(const Price&) const = default;
};

struct PriceListVersion {
  uint32_t number = 0;
  std::string name;
  int64_t valid_from_ms = 0;
  std::vector<Price> prices;
  TimePoint published_at;
};

struct PriceListState {
  PriceListState() = default;
  explicit PriceListState(std::string uuid) : id(std::move(uuid)) {}

  std::string id;
  uint64_t version = 0;
  std::string currency;
  uint32_t minor_digits = 0;
  std::vector<PriceListVersion> versions;  // in the order of their numbers
  std::optional<TimePoint> retired_at;
};

struct PriceListFacts {
  std::set<std::string> names_in_use;  // by other lists that are not retired
};

Decision<v1::PriceListEvent> decide(const PriceListState& state,
                                    const v1::PriceListCommand& command,
                                    const PriceListFacts& facts, TimePoint now);
void evolve(PriceListState& state, const v1::PriceListEvent& event, TimePoint recorded_at);

// The version that holds in the hour that begins at `hour_ms`; nullptr before the first.
const PriceListVersion* version_at(const PriceListState& state, int64_t hour_ms);

// The price of a meter: one for its plan before one for any, then one for its state before one for
// any. nullptr: it has none.
const Price* find_price(const PriceListVersion& version, const std::string& meter,
                        const std::string& state, const std::string& plan);

}  // namespace trunkline::metering
