// A few threads for work of milliseconds (keys from passwords), with a bounded queue. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace trunkline::gateway {

class BackgroundPool {
 public:
  BackgroundPool(size_t threads, size_t most_waiting);
  ~BackgroundPool();  // stop()s
  // False: too much is waiting, or it is stopped; the work is not taken.
  bool submit(std::function<void()> work);
  // Drops what waits and joins.
  void stop();

 private:
  void run();
  const size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace trunkline::gateway
