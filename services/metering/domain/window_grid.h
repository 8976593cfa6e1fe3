// Which windows there are. They are aligned to the epoch and follow one another without a gap;
// where their length was changed, a window ends early. Times are Unix ms, windows half open. Pure.
#pragma once

#include <cstdint>
#include <vector>

namespace trunkline::metering {

struct Window {
  int64_t start_ms = 0;
  int64_t end_ms = 0;
  bool operator==(const Window&) const = default;
};

// The largest multiple of `length_ms` that is not after `time_ms`.
int64_t aligned(int64_t time_ms, int64_t length_ms);

class WindowGrid {
 public:
  struct Stretch {
    int64_t from_ms = 0;  // of the first: not looked at, it has no beginning
    int64_t length_ms = 0;
    bool operator==(const Stretch&) const = default;
  };

  WindowGrid() = default;
  explicit WindowGrid(std::vector<Stretch> stretches) : stretches_(std::move(stretches)) {}

  // Windows that begin at `from_ms` or later are of this length. Calls come in the order of time.
  void set_length(int64_t from_ms, int64_t length_ms);
  bool is_empty() const { return stretches_.empty(); }
  // The window that holds `time_ms`. Not of an empty grid.
  Window at(int64_t time_ms) const;
  const std::vector<Stretch>& stretches() const { return stretches_; }
  bool operator==(const WindowGrid&) const = default;

 private:
  std::vector<Stretch> stretches_;
};

}  // namespace trunkline::metering
