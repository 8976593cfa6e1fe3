// Delivers every event of the log once, in position order, to one callback: the bus carries them
// (subjects tl.evt.>), the table fills every hole, a lost stream or a missed message. Runs a thread
// of its own; the callback runs on it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "eventlog/recorded_event.h"

namespace trunkline::runtime {

class EventFeed {
 public:
  // `on_events`: a batch in order; if it throws, the same batch comes again after a pause.
  using Callback = std::function<void(const std::vector<eventlog::RecordedEvent>&)>;
  struct Options {
    std::string log_dsn;
    int64_t after_position = 0;
    size_t batch_limit = 500;
    // Called once, when the feed has caught up with what the log held at the start.
    std::function<void()> on_caught_up;
  };
  EventFeed(bus::Bus& bus, Options options, Callback on_events);
  ~EventFeed();  // stops and joins
  EventFeed(const EventFeed&) = delete;
  EventFeed& operator=(const EventFeed&) = delete;

  int64_t position() const;  // last one that the callback has taken
  // Take everything from another position anew (a rebuild).
  void seek(int64_t after_position);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trunkline::runtime
