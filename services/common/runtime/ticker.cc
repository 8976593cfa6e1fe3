#include "runtime/ticker.h"

#include <spdlog/spdlog.h>

namespace trunkline::runtime {

Ticker::Ticker(std::chrono::milliseconds interval, std::function<void()> tick)
    : thread_([this, interval, tick = std::move(tick)] {
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, interval, [this] { return stopping_; })) {
          lock.unlock();
          try {
            tick();
          } catch (const std::exception& error) {
            spdlog::error("a regular task failed: {}", error.what());
          }
          lock.lock();
        }
      }) {}

Ticker::~Ticker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

}  // namespace trunkline::runtime
