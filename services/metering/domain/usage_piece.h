// Amounts of an interval of time, and how they are shared out among windows. Pure.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "metering/domain/meters.h"
#include "metering/domain/window_grid.h"

namespace trunkline::metering {

// A rate holds in every millisecond of [from, to); a quantity is spread over it in proportion to
// the windows' milliseconds, whole units, the remainder to the last window.
struct Piece {
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  bool is_rate = false;
  Amounts amounts{};  // of a rate: a millisecond
  Amounts given{};    // of a quantity: what windows before `next_ms` have got
  int64_t next_ms = 0;
  bool operator==(const Piece&) const = default;
};

Piece rate_piece(int64_t from_ms, int64_t to_ms, const Amounts& a_millisecond);
Piece quantity_piece(int64_t from_ms, int64_t to_ms, const Amounts& amounts);

// In the order of the windows.
using Shares = std::vector<std::pair<Window, Amounts>>;

// Gives windows that end at `until_ms` or before their share of the piece. True: nothing is left
// for later ones.
bool share_out(Piece& piece, const WindowGrid& grid, int64_t until_ms, Shares& shares);

}  // namespace trunkline::metering
