#include "runtime/shards.h"

#include <spdlog/spdlog.h>

#include <condition_variable>
#include <deque>
#include <latch>
#include <mutex>
#include <thread>

namespace trunkline::runtime {

size_t shard_of(const std::string& key, size_t count) {
  return std::hash<std::string>()(key) % count;
}

struct Shards::Shard {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Work> queue;
  bool stopping = false;
  std::thread thread;

  void run() {
    while (true) {
      Work work;
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stopping || !queue.empty(); });
        if (stopping) return;
        work = std::move(queue.front());
        queue.pop_front();
      }
      try {
        work();
      } catch (const std::exception& error) {
        spdlog::error("work on a shard ended early: {}", error.what());
      }
    }
  }
};

Shards::Shards(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    auto shard = std::make_unique<Shard>();
    shard->thread = std::thread([shard = shard.get()] { shard->run(); });
    shards_.push_back(std::move(shard));
  }
}

Shards::~Shards() {
  for (const auto& shard : shards_) {
    const std::lock_guard lock(shard->mutex);
    shard->stopping = true;
    shard->wake.notify_all();
  }
  for (const auto& shard : shards_) shard->thread.join();
}

size_t Shards::count() const { return shards_.size(); }

size_t Shards::index_of(const std::string& key) const {
  return shard_of(key, shards_.size());
}

void Shards::post(size_t index, Work work) {
  Shard& shard = *shards_[index];
  const std::lock_guard lock(shard.mutex);
  shard.queue.push_back(std::move(work));
  shard.wake.notify_one();
}

void Shards::on_each(const std::function<void(size_t)>& work) {
  auto done = std::make_shared<std::latch>(static_cast<ptrdiff_t>(shards_.size()));
  for (size_t i = 0; i < shards_.size(); ++i) {
    post(i, [&work, i, done] {
      try {
        work(i);
      } catch (const std::exception& error) {
        spdlog::error("work on every shard failed on one: {}", error.what());
      }
      done->count_down();
    });
  }
  done->wait();
}

}  // namespace trunkline::runtime
