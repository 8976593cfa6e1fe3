// Relay and feed together on real servers: nothing is skipped, doubled or reordered, whatever is
// killed or wiped.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/digest.h"
#include "bus/streams.h"
#include "eventlog/log.h"
#include "runtime/event_feed.h"
#include "runtime/random.h"
#include "runtime/relay.h"
#include "testing/temp_servers.h"

namespace trunkline::runtime {
namespace {

using namespace std::chrono_literals;

struct Platform {
  testing::TempPostgres postgres;
  testing::TempNats nats;
  Platform() { postgres.create_platform_databases(); }
  std::string writer() const { return postgres.dsn("trunkline_log", "tl_provisioner"); }
  std::unique_ptr<bus::Bus> bus() const {
    return bus::Bus::connect({nats.url(), "test", "test", "carry_test"}, 5000ms);
  }
};

void append_some(eventlog::Log& log, int count) {
  for (int i = 0; i < count; ++i) {
    eventlog::Log::AppendRequest request;
    request.stream = eventlog::stream_name("instance", new_uuid());
    request.metadata.command_id = new_uuid();
    request.events = {{"instance_created", 1, "payload"}, {"node_placed", 1, "payload"}};
    request.record_result = false;
    ASSERT_TRUE(log.append(request).appended);
  }
}

// Collects what a feed delivers.
class Collector {
 public:
  void take(const std::vector<eventlog::RecordedEvent>& batch) {
    const std::lock_guard lock(mutex_);
    for (const auto& event : batch) positions_.push_back(event.position);
    grown_.notify_all();
  }
  std::vector<int64_t> await(size_t count) {
    std::unique_lock lock(mutex_);
    grown_.wait_for(lock, 30s, [&] { return positions_.size() >= count; });
    return positions_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable grown_;
  std::vector<int64_t> positions_;
};

std::vector<int64_t> one_to(int64_t last) {
  std::vector<int64_t> out;
  for (int64_t i = 1; i <= last; ++i) out.push_back(i);
  return out;
}

uint64_t stream_messages(bus::Bus& bus) {
  const auto info = nlohmann::json::parse(bus.jetstream_api("STREAM.INFO.TL_EVT", ""));
  return info.contains("state") ? info["state"]["messages"].get<uint64_t>() : 0;
}

template <class Condition>
bool await(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

TEST(Carry, EveryEventOnceInOrderWithTwoRelays) {
  Platform platform;
  const auto bus_one = platform.bus(), bus_two = platform.bus();
  eventlog::Log log(platform.writer());
  append_some(log, 50);
  Relay one(*bus_one, platform.writer());
  Relay two(*bus_two, platform.writer());
  Collector collector;
  EventFeed feed(*bus_one, {platform.writer(), 0, 100, {}},
                 [&](const auto& batch) { collector.take(batch); });
  append_some(log, 200);
  EXPECT_EQ(collector.await(500), one_to(500));
  EXPECT_TRUE(await([&] { return one.position() == 500 && two.position() == 500; }));
  EXPECT_EQ(stream_messages(*bus_one), 500u);
}

TEST(Carry, AWipedStreamIsRefilledAndTheFeedGoesOn) {
  Platform platform;
  const auto bus = platform.bus();
  eventlog::Log log(platform.writer());
  Relay relay(*bus, platform.writer());
  Collector collector;
  EventFeed feed(*bus, {platform.writer(), 0, 100, {}},
                 [&](const auto& batch) { collector.take(batch); });
  append_some(log, 100);
  EXPECT_EQ(collector.await(200).size(), 200u);
  platform.nats.crash();
  append_some(log, 20);
  platform.nats.restart(true);
  append_some(log, 20);
  EXPECT_EQ(collector.await(280), one_to(280));
  EXPECT_TRUE(await([&] {
    try {
      return stream_messages(*bus) == 280;
    } catch (const bus::BusUnavailable&) {
      return false;
    }
  }));
}

TEST(Carry, TheFeedGoesOnWithoutARelayAndWithoutTheLogForAWhile) {
  Platform platform;
  const auto bus = platform.bus();
  Collector collector;
  EventFeed feed(*bus, {platform.writer(), 0, 100, {}},
                 [&](const auto& batch) { collector.take(batch); });
  {
    eventlog::Log log(platform.writer());
    append_some(log, 10);
  }
  EXPECT_EQ(collector.await(20), one_to(20));
  platform.postgres.crash();
  platform.postgres.restart();
  eventlog::Log log(platform.writer());
  append_some(log, 10);
  EXPECT_EQ(collector.await(40).size(), 40u);
}

TEST(Carry, ABatchThatIsNotTakenComesAgain) {
  Platform platform;
  const auto bus = platform.bus();
  eventlog::Log log(platform.writer());
  append_some(log, 5);
  Collector collector;
  std::atomic<int> failures{3};
  EventFeed feed(*bus, {platform.writer(), 0, 4, {}}, [&](const auto& batch) {
    if (failures-- > 0) throw std::runtime_error("the read model is away");
    collector.take(batch);
  });
  EXPECT_EQ(collector.await(10), one_to(10));
}

}  // namespace
}  // namespace trunkline::runtime
