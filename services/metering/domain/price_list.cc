#include "metering/domain/price_list.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "base/ids.h"
#include "metering/domain/currency.h"
#include "metering/domain/decimal.h"
#include "metering/domain/meters.h"

namespace trunkline::metering {
namespace {

using PriceListDecision = Decision<v1::PriceListEvent>;

constexpr int64_t kHourMs = 3'600'000;
constexpr int kMostPrices = 500;
constexpr size_t kMostVersions = 1000;
constexpr size_t kLongestName = 255;

Rejection bad_value(std::string rule, std::string message) {
  return reject(RejectionBlame::bad_value, std::move(rule), std::move(message));
}
Rejection conflict(std::string rule, std::string message) {
  return reject(RejectionBlame::conflict, std::move(rule), std::move(message));
}

bool is_line(const std::string& text, size_t longest) {
  return text.size() <= longest && std::ranges::none_of(text, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

Price price_from(const v1::Price& price) {
  return {price.meter(), price.state(), price.plan(), price.amount(), price.per()};
}

std::optional<Rejection> check_price(const v1::Price& price) {
  const auto found = std::ranges::find(meters(), price.meter(), &MeterInfo::name);
  if (found == meters().end()) {
    return bad_value("meter_unknown", "prices: there is no such meter");
  }
  if (!price.state().empty() && found->state.empty()) {
    return bad_value("state_not_allowed",
                     "prices: " + std::string(found->name) + " is not counted by state");
  }
  const bool known_state = std::ranges::any_of(meters(), [&](const MeterInfo& meter) {
    return meter.name == price.meter() && meter.state == price.state();
  });
  if (!price.state().empty() && !known_state) {
    return bad_value("state_unknown", "prices: state must be NEW, IN_PROGRESS, ACTIVE or ERROR");
  }
  if (!is_line(price.plan(), kLongestName)) {
    return bad_value("plan_malformed", "prices: plan must be a line of at most 255 bytes");
  }
  if (!parse_decimal(price.amount())) {
    return bad_value("amount_malformed", "prices: amount must be a decimal number with at most 12 "
                                         "digits before and 12 after the point");
  }
  const auto per = parse_decimal(price.per());
  if (!per || per->digits == 0 || per->scale > 3) {
    return bad_value("per_malformed", "prices: per must be a decimal number of more than 0 with at "
                                      "most 12 digits before and 3 after the point");
  }
  return std::nullopt;
}

std::optional<Rejection> check_prices(const v1::PublishPriceList& c) {
  if (c.prices().empty()) return bad_value("prices_missing", "prices must not be empty");
  if (c.prices_size() > kMostPrices) {
    return bad_value("prices_too_many", "prices must be 500 at the most");
  }
  std::set<std::tuple<std::string, std::string, std::string>> seen;
  for (const auto& price : c.prices()) {
    if (auto rejection = check_price(price)) return rejection;
    if (!seen.emplace(price.meter(), price.state(), price.plan()).second) {
      return bad_value("price_ambiguous", "prices: " + price.meter() +
                                              " has two prices for the same state and plan");
    }
  }
  return std::nullopt;
}

bool is_newest(const PriceListState& state, const v1::PublishPriceList& c) {
  if (state.versions.empty()) return false;
  const PriceListVersion& newest = state.versions.back();
  return newest.name == c.name() && newest.valid_from_ms == c.valid_from_unix_ms() &&
         std::ranges::equal(newest.prices, c.prices(), {}, {}, price_from);
}

PriceListDecision publish(const PriceListState& state, const v1::PublishPriceList& c,
                          const PriceListFacts& facts) {
  if (!is_uuid(state.id)) return bad_value("uuid_malformed", "uuid must be a UUID");
  if (state.retired_at) return conflict("price_list_retired", "the price list is retired");
  if (c.name().empty() || !is_line(c.name(), kLongestName)) {
    return bad_value("name_malformed", "name must be a line of 1 to 255 bytes");
  }
  const auto minor_digits = minor_digits_of(c.currency());
  if (!minor_digits) {
    return bad_value("currency_unknown", "currency must be a code of ISO 4217, like EUR");
  }
  if (!state.versions.empty() && state.currency != c.currency()) {
    return conflict("currency_must_not_change", "currency of this list is " + state.currency);
  }
  if (c.valid_from_unix_ms() < 0 || c.valid_from_unix_ms() % kHourMs != 0) {
    return bad_value("valid_from_not_full_hour", "valid_from must be a full hour, UTC");
  }
  if (auto rejection = check_prices(c)) return *rejection;
  if (is_newest(state, c)) return ignore("the newest version is like this");
  if (facts.names_in_use.contains(c.name())) {
    return conflict("name_in_use", "there is a price list named " + c.name() +
                                       ": publish a new version of it, or choose another name");
  }
  if (state.versions.size() >= kMostVersions) {
    return conflict("versions_too_many", "a price list has 1000 versions at the most");
  }
  v1::PriceListEvent event;
  auto& e = *event.mutable_price_list_published();
  e.set_name(c.name());
  e.set_currency(c.currency());
  e.set_minor_digits(*minor_digits);
  e.set_valid_from_unix_ms(c.valid_from_unix_ms());
  *e.mutable_prices() = c.prices();
  e.set_number(static_cast<uint32_t>(state.versions.size() + 1));
  return accept(std::vector{std::move(event)});
}

PriceListDecision retire(const PriceListState& state) {
  if (state.versions.empty()) {
    return reject(RejectionBlame::not_found, "price_list_not_found",
                  "there is no price list " + state.id);
  }
  if (state.retired_at) return ignore("the price list is retired already");
  v1::PriceListEvent event;
  event.mutable_price_list_retired();
  return accept(std::vector{std::move(event)});
}

}  // namespace

PriceListDecision decide(const PriceListState& state, const v1::PriceListCommand& command,
                         const PriceListFacts& facts, TimePoint) {
  switch (command.body_case()) {
    case v1::PriceListCommand::kPublishPriceList:
      return publish(state, command.publish_price_list(), facts);
    case v1::PriceListCommand::kRetirePriceList: return retire(state);
    case v1::PriceListCommand::BODY_NOT_SET: break;
  }
  return bad_value("command_empty", "the command has no body");
}

void evolve(PriceListState& state, const v1::PriceListEvent& event, TimePoint recorded_at) {
  ++state.version;
  switch (event.body_case()) {
    case v1::PriceListEvent::kPriceListPublished: {
      const auto& e = event.price_list_published();
      state.currency = e.currency();
      state.minor_digits = e.minor_digits();
      PriceListVersion version{e.number(), e.name(), e.valid_from_unix_ms(), {}, recorded_at};
      for (const auto& price : e.prices()) version.prices.push_back(price_from(price));
      state.versions.push_back(std::move(version));
      return;
    }
    case v1::PriceListEvent::kPriceListRetired: state.retired_at = recorded_at; return;
    case v1::PriceListEvent::BODY_NOT_SET: return;
  }
}

const PriceListVersion* version_at(const PriceListState& state, int64_t hour_ms) {
  const PriceListVersion* found = nullptr;
  for (const auto& version : state.versions) {
    if (version.valid_from_ms <= hour_ms) found = &version;
  }
  return found;
}

const Price* find_price(const PriceListVersion& version, const std::string& meter,
                        const std::string& state, const std::string& plan) {
  const Price* found = nullptr;
  int best = -1;
  for (const Price& price : version.prices) {
    if (price.meter != meter) continue;
    if (!price.plan.empty() && price.plan != plan) continue;
    if (!price.state.empty() && price.state != state) continue;
    const int rank = (price.plan.empty() ? 0 : 2) + (price.state.empty() ? 0 : 1);
    if (rank <= best) continue;
    best = rank;
    found = &price;
  }
  return found;
}

}  // namespace trunkline::metering
