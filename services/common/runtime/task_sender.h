// Sends tasks to hosts, the same one again only after a pause: whoever decides what should be
// assigned may ask for it as often as it likes. Not thread-safe: one a shard.
#pragma once

#include <chrono>
#include <string>
#include <unordered_map>

#include "bus/bus.h"
#include "trunkline/v1/task.pb.h"

namespace trunkline::runtime {

class TaskSender {
 public:
  explicit TaskSender(bus::Bus& bus) : bus_(bus) {}

  // A bus that is away is no error: the task is asked for again.
  void send(const std::string& host, const v1::Task& task);

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kRepeatAfter = std::chrono::milliseconds(500);
  static constexpr size_t kForgetAt = 10'000;

  void forget_old(Clock::time_point now);

  bus::Bus& bus_;
  std::unordered_map<std::string, Clock::time_point> sent_;  // by task id
};

}  // namespace trunkline::runtime
