// Lets so many pass at once of each lane, the others wait their turn: work that is under way
// elsewhere (commands at the services that own them), so that one project's pile up here and not in
// front of another's. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "runtime/fair_queue.h"

namespace trunkline::gateway {

class FairGate : public std::enable_shared_from_this<FairGate> {
 public:
  using Pass = std::shared_ptr<void>;  // its end lets the next one in
  // `go` is called once, at once or later, on whatever thread let it in, and must not throw; or
  // `refuse`, when too many wait; or neither, when nobody waits any more.
  struct Job {
    std::function<void(Pass)> go;
    std::function<void()> refuse;
  };
  using Queue = runtime::FairQueue<Job>;

  explicit FairGate(const runtime::FairLimits& limits) : queue_(limits) {}

  void enter(Queue::Ticket ticket, Job job) {
    std::optional<Queue::Entry> refused;
    {
      const std::lock_guard lock(mutex_);
      refused = queue_.push({std::move(ticket), std::move(job)});
    }
    if (refused && refused->item.refuse) refused->item.refuse();
    let_in();
  }

 private:
  // One thread at a time, and never inside itself: a pass may end within `go`.
  void let_in() {
    std::unique_lock lock(mutex_);
    again_ = true;
    if (letting_in_) return;
    letting_in_ = true;
    while (std::exchange(again_, false)) {
      while (auto next = queue_.pop(runtime::FairClock::now())) {
        lock.unlock();
        next->item.go(pass_of(next->ticket));
        next.reset();
        lock.lock();
      }
    }
    letting_in_ = false;
  }

  Pass pass_of(const Queue::Ticket& ticket) {
    return Pass(nullptr, [gate = shared_from_this(), ticket](void*) {
      {
        const std::lock_guard lock(gate->mutex_);
        gate->queue_.done(ticket);
      }
      gate->let_in();
    });
  }

  std::mutex mutex_;
  Queue queue_;
  bool letting_in_ = false;
  bool again_ = false;
};

}  // namespace trunkline::gateway
