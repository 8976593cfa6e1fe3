// Reads the whole log in position order and never passes an event of a transaction that commits
// late: positions come from a sequence, so a later one can commit first. A hole is passed only
// once every transaction that was running when the hole was seen has ended.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/log.h"
#include "eventlog/recorded_event.h"

namespace trunkline::eventlog {

class Reader {
 public:
  // Not thread-safe. `after_position`: the last position that the caller has dealt with.
  Reader(std::string dsn, int64_t after_position);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // The next events, at most `limit`; empty if there are none that may be passed on yet.
  // Throws LogUnavailable.
  std::vector<RecordedEvent> next(size_t limit);
  // The last position that next() has passed on (or skipped as a hole).
  int64_t position() const;
  // Start again after another position.
  void seek(int64_t after_position);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Streams positions (after_position, up_to] in bulk through COPY, for rebuilds: an order of
// magnitude faster than next(). The caller guarantees that `up_to` is settled (a position that a
// Reader has passed on). Calls `sink` in position order. Throws LogUnavailable.
void read_bulk(const std::string& dsn, int64_t after_position, int64_t up_to,
               const std::function<void(RecordedEvent&&)>& sink);

}  // namespace trunkline::eventlog
