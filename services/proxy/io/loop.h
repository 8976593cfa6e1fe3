// One thread's event loop: descriptors (epoll, level-triggered), timers, and work posted from other
// threads. All but post() and stop() belong to the loop's own thread.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace trunkline::proxy {

using SteadyTime = std::chrono::steady_clock::time_point;

// A descriptor that a loop watches. `call` gets the epoll events; they are hints, since within one
// round a descriptor may have been closed and its number used again.
struct Watch {
  void (*call)(void* owner, uint32_t events) = nullptr;
  void* owner = nullptr;
};

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void run();  // until stop()
  void stop();
  void post(std::function<void()> work);

  void add(int fd, uint32_t events, Watch* watch);
  void change(int fd, uint32_t events, Watch* watch);

  // Runs after the events of this round: the place to destroy what their handlers may still touch.
  void defer(std::function<void()> work) { deferred_.push_back(std::move(work)); }

  SteadyTime now() const { return now_; }  // when this round began
  using TimerId = std::multimap<SteadyTime, std::function<void()>>::iterator;
  TimerId at(SteadyTime time, std::function<void()> work) {
    return timers_.emplace(time, std::move(work));
  }
  void cancel(TimerId timer) { timers_.erase(timer); }

  // For reading into, by whoever has its turn.
  static constexpr size_t kScratchBytes = 64 * 1024;
  char* scratch() { return scratch_.get(); }

 private:
  void run_posted();
  void run_deferred();
  int run_timers();  // milliseconds until the next one, -1: none
  static void on_wake(void* self, uint32_t events);

  int epoll_ = -1;
  int wake_ = -1;
  Watch wake_watch_;
  std::atomic<bool> stopping_ = false;
  SteadyTime now_;
  std::multimap<SteadyTime, std::function<void()>> timers_;
  std::vector<std::function<void()>> deferred_;
  std::unique_ptr<char[]> scratch_;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace trunkline::proxy
