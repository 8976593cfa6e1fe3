#include "metering/domain/window_grid.h"

#include <algorithm>

namespace trunkline::metering {

int64_t aligned(int64_t time_ms, int64_t length_ms) {
  const int64_t over = time_ms % length_ms;
  return time_ms - (over < 0 ? over + length_ms : over);
}

void WindowGrid::set_length(int64_t from_ms, int64_t length_ms) {
  if (!stretches_.empty() && stretches_.back().length_ms == length_ms) return;
  stretches_.push_back({from_ms, length_ms});
}

Window WindowGrid::at(int64_t time_ms) const {
  size_t i = stretches_.size() - 1;
  while (i > 0 && stretches_[i].from_ms > time_ms) --i;
  const Stretch& stretch = stretches_[i];
  Window window;
  window.start_ms = aligned(time_ms, stretch.length_ms);
  window.end_ms = window.start_ms + stretch.length_ms;
  if (i > 0) window.start_ms = std::max(window.start_ms, stretch.from_ms);
  if (i + 1 < stretches_.size()) {
    window.end_ms = std::min(window.end_ms, stretches_[i + 1].from_ms);
  }
  return window;
}

}  // namespace trunkline::metering
