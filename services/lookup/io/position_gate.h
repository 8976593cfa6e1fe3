// Parks questions until the projection has reached the position that they ask for. No thread waits:
// whoever advances the projection runs what has become ready. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace trunkline::lookup {

class PositionGate {
 public:
  PositionGate();
  ~PositionGate();
  PositionGate(const PositionGate&) = delete;
  PositionGate& operator=(const PositionGate&) = delete;

  using Then = std::function<void(bool reached)>;

  int64_t position() const;
  // After a rebuild the position may also be smaller than before.
  void set(int64_t position);
  // Calls `then` exactly once: at once on this thread if the position is reached or too much is
  // parked, else on the thread that calls set(), or after `patience` on a thread of the gate.
  // `then` must not block for long.
  void when_reached(int64_t position, std::chrono::milliseconds patience, Then then);
  // What is parked is told that it was not reached, and nothing is parked any more. When this
  // returns no `then` is running. Not to be called from one.
  void close();

 private:
  struct Parked {
    std::chrono::steady_clock::time_point deadline;
    Then then;
  };
  void call(std::vector<Then> all, bool reached, std::unique_lock<std::mutex>& lock);
  void expire();

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  int64_t position_ = 0;
  std::multimap<int64_t, Parked> parked_;
  int running_ = 0;  // threads that are calling some `then`
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace trunkline::lookup
