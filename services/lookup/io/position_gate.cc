#include "lookup/io/position_gate.h"

namespace trunkline::lookup {
namespace {

constexpr size_t kMaxParked = 10'000;

}  // namespace

PositionGate::PositionGate() : thread_([this] { expire(); }) {}

PositionGate::~PositionGate() {
  close();
  thread_.join();
}

void PositionGate::close() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  std::vector<Then> left;
  for (auto& [position, parked] : parked_) left.push_back(std::move(parked.then));
  parked_.clear();
  wake_.notify_all();
  call(std::move(left), false, lock);
  wake_.wait(lock, [&] { return running_ == 0; });
}

// Without the lock, which is held before and after.
void PositionGate::call(std::vector<Then> all, bool reached, std::unique_lock<std::mutex>& lock) {
  if (all.empty()) return;
  ++running_;
  lock.unlock();
  for (Then& then : all) then(reached);
  all.clear();
  lock.lock();
  --running_;
  if (stopping_) wake_.notify_all();
}

int64_t PositionGate::position() const {
  const std::lock_guard lock(mutex_);
  return position_;
}

void PositionGate::set(int64_t position) {
  std::unique_lock lock(mutex_);
  position_ = position;
  std::vector<Then> ready;
  const auto end = parked_.upper_bound(position);
  for (auto it = parked_.begin(); it != end; ++it) ready.push_back(std::move(it->second.then));
  parked_.erase(parked_.begin(), end);
  call(std::move(ready), true, lock);
}

void PositionGate::when_reached(int64_t position, std::chrono::milliseconds patience, Then then) {
  bool reached = false;
  {
    const std::lock_guard lock(mutex_);
    reached = position <= position_;
    if (!reached && !stopping_ && parked_.size() < kMaxParked) {
      parked_.insert({position, {std::chrono::steady_clock::now() + patience, std::move(then)}});
      wake_.notify_all();
      return;
    }
  }
  then(reached);
}

void PositionGate::expire() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (parked_.empty()) {
      wake_.wait(lock);
      continue;
    }
    // Looking at all of them every few milliseconds is cheap, as they are few and short-lived.
    wake_.wait_for(lock, std::chrono::milliseconds(20), [&] { return stopping_; });
    const auto now = std::chrono::steady_clock::now();
    std::vector<Then> late;
    for (auto it = parked_.begin(); it != parked_.end();) {
      if (it->second.deadline > now) {
        ++it;
        continue;
      }
      late.push_back(std::move(it->second.then));
      it = parked_.erase(it);
    }
    call(std::move(late), false, lock);
  }
}

}  // namespace trunkline::lookup
