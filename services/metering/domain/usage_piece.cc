#include "metering/domain/usage_piece.h"

#include <algorithm>

namespace trunkline::metering {
namespace {

Amounts& share_of(Shares& shares, const Window& window) {
  // Mostly there is one window, or the newest is meant.
  auto at = shares.end();
  while (at != shares.begin() && std::prev(at)->first.start_ms > window.start_ms) --at;
  if (at != shares.begin() && std::prev(at)->first.start_ms == window.start_ms) {
    return std::prev(at)->second;
  }
  return shares.insert(at, {window, Amounts{}})->second;
}

int64_t times(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<__int128>(a) * b);
}

void give_rate(const Piece& piece, const Window& window, Amounts& share) {
  const int64_t ms =
      std::min(window.end_ms, piece.to_ms) - std::max(window.start_ms, piece.from_ms);
  for (size_t i = 0; i < kMeters; ++i) share[i] += times(piece.amounts[i], ms);
}

void give_quantity(Piece& piece, const Window& window, Amounts& share) {
  const bool is_last = window.end_ms >= piece.to_ms;
  const int64_t whole = piece.to_ms - piece.from_ms;
  const int64_t ms =
      std::min(window.end_ms, piece.to_ms) - std::max(window.start_ms, piece.from_ms);
  for (size_t i = 0; i < kMeters; ++i) {
    if (piece.amounts[i] == 0) continue;
    const int64_t amount =
        is_last ? piece.amounts[i] - piece.given[i]
                : static_cast<int64_t>(static_cast<__int128>(piece.amounts[i]) * ms / whole);
    share[i] += amount;
    piece.given[i] += amount;
  }
}

}  // namespace

Piece rate_piece(int64_t from_ms, int64_t to_ms, const Amounts& a_millisecond) {
  return {from_ms, to_ms, true, a_millisecond, {}, from_ms};
}

Piece quantity_piece(int64_t from_ms, int64_t to_ms, const Amounts& amounts) {
  return {from_ms, to_ms, false, amounts, {}, from_ms};
}

bool share_out(Piece& piece, const WindowGrid& grid, int64_t until_ms, Shares& shares) {
  while (true) {
    const Window window = grid.at(piece.next_ms);
    if (window.end_ms > until_ms) return false;
    Amounts& share = share_of(shares, window);
    if (piece.is_rate) {
      give_rate(piece, window, share);
    } else {
      give_quantity(piece, window, share);
    }
    piece.next_ms = window.end_ms;
    if (window.end_ms >= piece.to_ms) return true;
  }
}

}  // namespace trunkline::metering
