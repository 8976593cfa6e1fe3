#include "runtime/fair_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "runtime/fair_pool.h"

namespace trunkline::runtime {
namespace {

using Queue = FairQueue<int>;
const FairClock::time_point kNow{std::chrono::hours(1)};

Queue::Entry entry(const std::string& lane, int item, bool slow = false) {
  return {{lane, slow, FairClock::time_point::max(), {}}, item};
}
// The items in the order in which they run, one at a time.
std::vector<int> drained(Queue& queue) {
  std::vector<int> out;
  while (auto next = queue.pop(kNow)) {
    out.push_back(next->item);
    queue.done(next->ticket);
  }
  return out;
}

TEST(FairQueue, LanesTakeTurns) {
  Queue queue({});
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(queue.push(entry("a", i)));
  EXPECT_FALSE(queue.push(entry("b", 10)));
  EXPECT_FALSE(queue.push(entry("c", 20)));
  EXPECT_EQ(drained(queue), (std::vector<int>{0, 10, 20, 1, 2, 3}));
  EXPECT_EQ(queue.waiting(), 0u);
}

TEST(FairQueue, ALaneRunsOnlySoManyAtOnce) {
  Queue queue({.running_a_lane = 2, .running_slow = 1});
  for (int i = 0; i < 4; ++i) queue.push(entry("a", i));
  queue.push(entry("a/slow", 30, true));
  queue.push(entry("a/slow", 31, true));
  queue.push(entry("b/slow", 40, true));
  std::vector<int> running;
  std::vector<Queue::Ticket> tickets;
  while (auto next = queue.pop(kNow)) {
    running.push_back(next->item);
    tickets.push_back(next->ticket);
  }
  EXPECT_EQ(running, (std::vector<int>{0, 30, 1}));
  queue.done(tickets[1]);  // the slow one
  EXPECT_EQ(queue.pop(kNow)->item, 40);
  EXPECT_FALSE(queue.pop(kNow));
}

TEST(FairQueue, WhatNobodyWaitsForIsDropped) {
  Queue queue({});
  bool wanted = true;
  queue.push({{"a", false, kNow, {}}, 1});  // its time is over
  queue.push({{"a", false, kNow + std::chrono::seconds(1), {}}, 2});
  queue.push({{"a", false, kNow + std::chrono::seconds(1), [&] { return wanted; }}, 3});
  wanted = false;
  EXPECT_EQ(drained(queue), std::vector<int>{2});
  EXPECT_EQ(queue.dropped(), 2u);
}

TEST(FairQueue, NobodyFillsItForOthers) {
  Queue queue({.waiting = 6, .waiting_a_lane = 4});
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(queue.push(entry("a", i)));
  EXPECT_EQ(queue.push(entry("a", 4))->item, 4) << "its lane is full";
  EXPECT_FALSE(queue.push(entry("b", 10)));
  EXPECT_FALSE(queue.push(entry("b", 11)));
  // All is taken: the longest lane gives its newest for a shorter one, and for no other.
  EXPECT_EQ(queue.push(entry("c", 20))->item, 3);
  EXPECT_EQ(queue.push(entry("c", 21))->item, 2);
  EXPECT_EQ(queue.push(entry("b", 12))->item, 12);
  EXPECT_EQ(drained(queue), (std::vector<int>{0, 10, 20, 1, 11, 21}));
}

TEST(FairPool, AnswersAnotherLaneWhileOneIsBusy) {
  std::promise<void> release;
  const auto released = release.get_future().share();
  std::promise<void> other;
  std::atomic<int> refused{0};
  FairPool<int> pool("test", 2, {.waiting = 100, .waiting_a_lane = 5, .running_a_lane = 1},
                     [] { return std::make_unique<int>(0); });
  for (int i = 0; i < 20; ++i) {
    pool.post({"a", false, FairClock::time_point::max(), {}},
              {[released](int&) { released.wait(); }, [&] { ++refused; }});
  }
  EXPECT_GE(refused.load(), 14);  // one runs or all wait
  pool.post({"b", false, FairClock::time_point::max(), {}},
            {[&](int&) { other.set_value(); }, {}});
  EXPECT_EQ(other.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  release.set_value();
}

}  // namespace
}  // namespace trunkline::runtime
