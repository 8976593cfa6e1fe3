// A few threads that work off a FairQueue, each with something of its own (connections).
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/fair_queue.h"
#include "telemetry/metrics.h"

namespace trunkline::runtime {

template <class Own>
class FairPool {
 public:
  // `work` must not throw. `refuse` is called instead, from post() of this or another one, when
  // there is no room; neither when nobody waits any more, or at the end.
  struct Job {
    std::function<void(Own&)> work;
    std::function<void()> refuse;
  };
  using Queue = FairQueue<Job>;
  using Ticket = typename Queue::Ticket;

  // `name` is the label of its metrics.
  FairPool(std::string name, size_t threads, const FairLimits& limits,
           std::function<std::unique_ptr<Own>()> make_own)
      : name_(std::move(name)), queue_(limits) {
    for (size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this, make_own] { run(*make_own()); });
    }
  }
  ~FairPool() { stop(); }
  FairPool(const FairPool&) = delete;
  FairPool& operator=(const FairPool&) = delete;

  void post(Ticket ticket, Job job) {
    std::optional<typename Queue::Entry> refused;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      refused = queue_.push({std::move(ticket), std::move(job)});
      wake_.notify_one();
    }
    if (!refused) return;
    refused_.add({name_});
    if (refused->item.refuse) refused->item.refuse();
  }

  // Drops what has not begun and joins.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  void run(Own& own) {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      auto entry = queue_.pop(FairClock::now());
      if (!entry) {
        wake_.wait(lock);
        continue;
      }
      lock.unlock();
      entry->item.work(own);
      entry->item = {};
      lock.lock();
      queue_.done(entry->ticket);
      dropped_.raise_to({name_}, static_cast<double>(queue_.dropped()));
      wake_.notify_one();  // of this lane the next one may run
    }
  }

  const std::string name_;
  telemetry::CounterFamily refused_{"trunkline_queue_refused_total",
                                    "Work for which its queue had no room.", {"queue"}};
  telemetry::CounterFamily dropped_{"trunkline_queue_dropped_total",
                                    "Work that was dropped because nobody waited for it any more.",
                                    {"queue"}};
  std::mutex mutex_;
  std::condition_variable wake_;
  Queue queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace trunkline::runtime
