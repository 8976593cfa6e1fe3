// Commands on a work queue of a real nats-server.
#include "runtime/command_loop.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "bus/streams.h"
#include "testing/temp_servers.h"

namespace trunkline::runtime {
namespace {

using namespace std::chrono_literals;

struct Taken {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::shared_ptr<CommandReply>> replies;
  std::vector<std::string> ids;

  CommandLoop::Handler handler() {
    return [this](v1::Command&& command, std::shared_ptr<CommandReply> reply) {
      const std::lock_guard lock(mutex);
      ids.push_back(command.command_id());
      replies.push_back(std::move(reply));
      changed.notify_all();
    };
  }
  bool await(size_t count, std::chrono::milliseconds longest) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, longest, [&] { return ids.size() >= count; });
  }
};

class CommandLoopTest : public ::testing::Test {
 protected:
  const trunkline::testing::TempNats nats_;
  const std::unique_ptr<bus::Bus> bus_ =
      bus::Bus::connect({nats_.url(), "test", "test", "command_loop_test"}, 20s);

  void ask(const std::string& id) {
    v1::Command command;
    command.set_command_id(id);
    bus_->publish(bus::command_subject("svc", "x"), command.SerializeAsString());
  }
};

// Three seconds without an acknowledgement are what the queue waits for.
TEST_F(CommandLoopTest, WhatIsWorkedOnIsNotDeliveredAgainAndWhatIsGivenUpIs) {
  bus::ensure_command_stream(*bus_);
  Taken taken;
  const CommandLoop loop(*bus_, "svc", taken.handler());
  ask("one");
  ask("two");
  ASSERT_TRUE(taken.await(2, 20s));
  {
    const std::lock_guard lock(taken.mutex);
    taken.replies[1].reset();  // dropped without a word, as by a process that died
  }
  ASSERT_TRUE(taken.await(3, 20s));
  EXPECT_EQ(taken.ids, (std::vector<std::string>{"one", "two", "two"}));
  v1::CommandAnswer answer;
  answer.mutable_ignored();
  {
    const std::lock_guard lock(taken.mutex);
    taken.replies[0]->answer(answer);
    taken.replies[2]->answer(answer);
  }
  EXPECT_FALSE(taken.await(4, 1s));
}

}  // namespace
}  // namespace trunkline::runtime
