// A few threads for work that waits for PostgreSQL, each with something of its own (connections).
// The queue is bounded: a full one is refused, so that a slow database does not pile up memory.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace trunkline::runtime {

template <class Own>
class WorkPool {
 public:
  using Job = std::function<void(Own&)>;

  WorkPool(size_t threads, size_t max_jobs, std::function<std::unique_ptr<Own>()> make_own)
      : max_jobs_(max_jobs) {
    for (size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this, make_own] { run(*make_own()); });
    }
  }
  // Jobs that have not begun are dropped.
  ~WorkPool() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  // False: too much is waiting. A job must not throw.
  bool post(Job job) {
    const std::lock_guard lock(mutex_);
    if (stopping_ || jobs_.size() >= max_jobs_) return false;
    jobs_.push_back(std::move(job));
    wake_.notify_one();
    return true;
  }

 private:
  void run(Own& own) {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      const Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job(own);
      lock.lock();
    }
  }

  const size_t max_jobs_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace trunkline::runtime
