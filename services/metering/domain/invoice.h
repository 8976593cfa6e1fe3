// An invoice as the API shows it. Money is text in the major unit, quantities are exact decimals of
// the meter's unit. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metering/domain/rating.h"

namespace trunkline::metering {

struct Month {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
};
// Of "2026-11", UTC; nothing for what is no month.
std::optional<Month> parse_month(std::string_view text);

struct Invoice {
  std::string project_id;
  std::string month;
  Month time;
  int64_t position = 0;            // of the log that it was computed at
  bool complete = false;           // every window of the month was closed there
  PriceListState list;
  Rating rating;
  std::optional<PriceListState> compared_list;
  std::optional<Rating> compared;
  std::map<std::string, std::string> names;  // of instances

  size_t items() const;
};

// Everything but the lines.
std::string invoice_head_json(const Invoice& invoice);
// The lines, the unpriced ones and the differences, in this order, each with its letter before it:
// L, U, D. [first, first + count).
std::vector<std::string> invoice_items(const Invoice& invoice, size_t first, size_t count);

}  // namespace trunkline::metering
