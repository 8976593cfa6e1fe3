// What waits for a few workers, shared by everybody: a lane for each asker (a project), served in
// turn. So who asks much waits for his own, and nobody else does. Not thread-safe; FairPool is.
//
// What nobody waits for any more (its time is over, or `wanted` says no) is dropped unworked. A
// lane holds a bounded number, and when all lanes together hold too much, the longest one loses its
// newest: one asker cannot fill the queue for others.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

namespace trunkline::runtime {

struct FairLimits {
  size_t waiting = 1000;         // of all lanes together
  size_t waiting_a_lane = 250;
  size_t running_a_lane = 1;     // at once; of a slow lane one
  size_t running_slow = 1;       // of all slow lanes together
};

using FairClock = std::chrono::steady_clock;

template <class Item>
class FairQueue {
 public:
  struct Ticket {
    std::string lane;
    bool slow = false;  // of one lane all or none
    FairClock::time_point expires = FairClock::time_point::max();
    std::function<bool()> wanted = {};  // not set: yes
  };
  struct Entry {
    Ticket ticket;
    Item item;
  };

  explicit FairQueue(const FairLimits& limits) : limits_(limits) {}

  // What had no room: the entry itself, or one of the longest lane, or nothing.
  std::optional<Entry> push(Entry&& entry) {
    Lane& lane = lane_of(entry.ticket);
    if (lane.waiting.size() >= limits_.waiting_a_lane) return std::move(entry);
    std::optional<Entry> displaced;
    if (waiting_ >= limits_.waiting) {
      Lane* longest = &lane;
      for (auto& [name, other] : lanes_) {
        if (other.waiting.size() > longest->waiting.size()) longest = &other;
      }
      if (longest->waiting.size() <= lane.waiting.size() + 1) return std::move(entry);
      displaced = std::move(longest->waiting.back());
      longest->waiting.pop_back();
      --waiting_;
    }
    lane.waiting.push_back(std::move(entry));
    ++waiting_;
    return displaced;
  }

  // The next one that may run; done() is to be called with its ticket. Nothing: none waits, or none
  // may run now.
  std::optional<Entry> pop(FairClock::time_point now) {
    for (auto at = turns_.begin(); at != turns_.end();) {
      Lane& lane = lanes_.at(*at);
      drop_unwanted(lane, now);
      if (lane.waiting.empty() && lane.running == 0) {
        lanes_.erase(*at);
        at = turns_.erase(at);
        continue;
      }
      const bool full = lane.slow ? lane.running > 0 || slow_running_ >= limits_.running_slow
                                  : lane.running >= limits_.running_a_lane;
      if (lane.waiting.empty() || full) {
        ++at;
        continue;
      }
      Entry next = std::move(lane.waiting.front());
      lane.waiting.pop_front();
      --waiting_;
      ++lane.running;
      if (lane.slow) ++slow_running_;
      turns_.splice(turns_.end(), turns_, at);  // behind all others
      return next;
    }
    return std::nullopt;
  }

  void done(const Ticket& ticket) {
    const auto lane = lanes_.find(ticket.lane);
    if (lane == lanes_.end()) return;
    --lane->second.running;
    if (lane->second.slow) --slow_running_;
  }

  size_t waiting() const { return waiting_; }
  size_t dropped() const { return dropped_; }  // ever, because nobody waited any more

 private:
  struct Lane {
    std::deque<Entry> waiting;
    size_t running = 0;
    bool slow = false;
  };

  Lane& lane_of(const Ticket& ticket) {
    const auto [found, is_new] = lanes_.try_emplace(ticket.lane);
    if (is_new) {
      turns_.push_back(ticket.lane);
      found->second.slow = ticket.slow;
    }
    return found->second;
  }

  void drop_unwanted(Lane& lane, FairClock::time_point now) {
    while (!lane.waiting.empty()) {
      const Ticket& next = lane.waiting.front().ticket;
      if (next.expires > now && (!next.wanted || next.wanted())) return;
      lane.waiting.pop_front();
      --waiting_;
      ++dropped_;
    }
  }

  const FairLimits limits_;
  std::unordered_map<std::string, Lane> lanes_;
  std::list<std::string> turns_;  // lanes, whose turn is next first
  size_t waiting_ = 0;
  size_t slow_running_ = 0;
  size_t dropped_ = 0;
};

}  // namespace trunkline::runtime
