// A fixed set of threads; work with the same key runs on the same one, in the order it was posted.
// State that belongs to a key needs no lock.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace trunkline::runtime {

// Which of `count` shards a key belongs to, in this run of the process.
size_t shard_of(const std::string& key, size_t count);

class Shards {
 public:
  using Work = std::function<void()>;
  explicit Shards(size_t count);
  ~Shards();  // drops what is queued, finishes what runs, joins
  Shards(const Shards&) = delete;
  Shards& operator=(const Shards&) = delete;

  size_t count() const;
  size_t index_of(const std::string& key) const;
  // Thread-safe. Exceptions that leave `work` are logged and end only that work.
  void post(size_t index, Work work);
  void post(const std::string& key, Work work) { post(index_of(key), std::move(work)); }
  // Runs `work(i)` on every shard and waits for all.
  void on_each(const std::function<void(size_t)>& work);

 private:
  struct Shard;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace trunkline::runtime
