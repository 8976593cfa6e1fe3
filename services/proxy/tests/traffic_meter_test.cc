#include "proxy/io/traffic_meter.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "bus/streams.h"
#include "proxy/io/traffic_reporter.h"
#include "proxy/tests/proxy_fixture.h"

namespace trunkline::proxy {
namespace {

using namespace std::chrono_literals;

const EndpointName kReadWrite{InstanceId(kInstance), EndpointKind::read_write};
const EndpointName kReadOnly{InstanceId(kInstance), EndpointKind::read_only};

class TrafficMeterTest : public ::testing::Test {
 protected:
  // Runs in a process that then ends without another instruction.
  template <class Work>
  void in_killed_process(const Work& work) {
    const pid_t pid = fork();
    if (pid == 0) {
      work();
      kill(getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  static TrafficTotals totals(const TrafficMeter& meter, const EndpointName& endpoint) {
    for (const auto& entry : meter.totals()) {
      if (entry.endpoint == endpoint) return entry.totals;
    }
    return {};
  }
  trunkline::testing::TempDirectory folder_;
  const std::string file_ = folder_.path() + "/traffic.bin";
};

TEST_F(TrafficMeterTest, killed_processes_lose_no_byte_and_no_connection) {
  std::string epoch;
  uint64_t sequence = 0;
  {
    TrafficMeter meter(file_);
    epoch = meter.epoch();
    sequence = meter.next_sequence();
  }
  for (int round = 0; round < 20; ++round) {
    in_killed_process([&] {
      TrafficMeter meter(file_);
      meter.next_sequence();
      meter.of(kReadOnly).session_opened();
      meter.of(kReadOnly).count_bytes(0, 1'000'000'007);
      meter.of(kReadWrite).session_opened();
      meter.of(kReadWrite).count_bytes(3, 5);
    });
  }
  TrafficMeter meter(file_);
  EXPECT_EQ(meter.epoch(), epoch);
  EXPECT_EQ(meter.next_sequence(), sequence + 21);
  EXPECT_EQ(meter.totals().size(), 2u);
  EXPECT_EQ(totals(meter, kReadWrite).bytes_in, 60u);
  EXPECT_EQ(totals(meter, kReadWrite).bytes_out, 100u);
  EXPECT_EQ(totals(meter, kReadWrite).connections_opened, 20u);
  EXPECT_EQ(totals(meter, kReadWrite).connections_open, 0u);
  EXPECT_EQ(totals(meter, kReadOnly).bytes_out, 20'000'000'140u);
}

TEST_F(TrafficMeterTest, the_time_of_open_sessions_survives_up_to_the_last_settlement) {
  in_killed_process([&] {
    TrafficMeter meter(file_);
    meter.of(kReadWrite).session_opened();
    while (totals(meter, kReadWrite).connection_us < 2'000) meter.settle();
  });
  EXPECT_GE(totals(TrafficMeter(file_), kReadWrite).connection_us, 2'000u);
}

TEST_F(TrafficMeterTest, threads_count_together_exactly) {
  TrafficMeter meter(file_);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) {
        EndpointMeter& endpoint = meter.of(n % 2 == 0 ? kReadWrite : kReadOnly);
        endpoint.session_opened();
        endpoint.count_bytes(1, 2);
        endpoint.session_closed();
        if (n % 1'000 == 0) meter.settle();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& name : {kReadWrite, kReadOnly}) {
    EXPECT_EQ(totals(meter, name).bytes_in, 20'000u);
    EXPECT_EQ(totals(meter, name).bytes_out, 40'000u);
    EXPECT_EQ(totals(meter, name).connections_opened, 20'000u);
    EXPECT_EQ(totals(meter, name).connections_open, 0u);
  }
}

TEST_F(TrafficMeterTest, many_endpoints_are_there_again) {
  const auto name = [](int number) {
    char id[37];
    std::snprintf(id, sizeof id, "00000000-0000-4000-8000-%012d", number);
    return EndpointName{InstanceId(id), EndpointKind::read_write};
  };
  {
    TrafficMeter meter(file_);
    for (int i = 0; i < 2'000; ++i) meter.of(name(i)).count_bytes(static_cast<uint64_t>(i), 1);
  }
  TrafficMeter meter(file_);
  ASSERT_EQ(meter.totals().size(), 2'000u);
  for (const int i : {0, 511, 512, 1'999}) {
    EXPECT_EQ(totals(meter, name(i)).bytes_in, static_cast<uint64_t>(i));
  }
}

// Overwrites `size` bytes of a file.
void overwrite(const std::string& file, std::streamoff at, const std::string& bytes) {
  std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(at);
  out << bytes;
}

TEST_F(TrafficMeterTest, an_epoch_ends_only_when_counts_may_be_missing) {
  const std::string text = "00000000-0000-4000-8000-000000000000";
  constexpr std::streamoff kBootId = 48;
  const auto epoch_of = [this] {
    TrafficMeter meter(file_);
    meter.of(kReadWrite).count_bytes(1, 1);
    return std::pair(meter.epoch(), totals(meter, kReadWrite).bytes_in);
  };
  const std::string first = epoch_of().first;
  overwrite(file_, kBootId, text);  // another boot of the machine, and it was closed before
  EXPECT_EQ(epoch_of(), std::pair(first, uint64_t{2}));
  in_killed_process([&] { epoch_of(); TrafficMeter meter(file_); kill(getpid(), SIGKILL); });
  EXPECT_EQ(epoch_of(), std::pair(first, uint64_t{4}));
  in_killed_process([&] { TrafficMeter meter(file_); kill(getpid(), SIGKILL); });
  overwrite(file_, kBootId, text);  // another boot, and it was not closed
  const auto [second, bytes] = epoch_of();
  EXPECT_NE(second, first);
  EXPECT_EQ(bytes, 1u);
  overwrite(file_, 0, "no counters at all");
  EXPECT_EQ(epoch_of().second, 1u);
}

TEST_F(TrafficMeterTest, without_a_file_it_counts_all_the_same) {
  TrafficMeter meter("/nowhere/traffic.bin");
  meter.of(kReadWrite).count_bytes(1, 2);
  EXPECT_EQ(totals(meter, kReadWrite).bytes_out, 2u);
  EXPECT_NE(meter.epoch(), TrafficMeter("/nowhere/traffic.bin").epoch());
}

// What a consumer makes of the reports, as traffic.proto tells it to.
struct Bill {
  std::mutex mutex;
  std::map<std::string, uint64_t> highest;
  uint64_t bytes_out = 0;
  int reports = 0;

  void take(const v1::TrafficReport& report) {
    const std::lock_guard lock(mutex);
    ++reports;
    for (const auto& entry : report.endpoints()) {
      uint64_t& seen = highest[report.epoch() + entry.instance_id() +
                               (entry.read_only() ? "-ro" : "")];
      if (entry.bytes_out() > seen) bytes_out += entry.bytes_out() - seen;
      seen = std::max(seen, entry.bytes_out());
    }
  }
  uint64_t sum() {
    const std::lock_guard lock(mutex);
    return bytes_out;
  }
};

TEST_F(TrafficMeterTest, a_consumer_loses_nothing_when_reports_are_lost_and_processes_end) {
  const trunkline::testing::TempNats nats;
  const bus::BusOptions options{nats.url(), "test", "test", "proxy_test"};
  const auto consumer = bus::Bus::connect(options, 20s);
  Bill bill;
  const auto listen = [&] {
    return consumer->subscribe(bus::traffic_subject("p1"), [&](bus::Message&& message) {
      v1::TrafficReport report;
      ASSERT_TRUE(report.ParseFromString(message.data));
      EXPECT_EQ(report.proxy_id(), "p1");
      bill.take(report);
      bill.take(report);  // delivered twice
    });
  };
  auto subscription = listen();
  const auto await_sum = [&](uint64_t sum) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (bill.sum() != sum && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(5ms);
    }
    return bill.sum();
  };
  const auto bus = bus::Bus::connect(options, 20s);
  {
    TrafficMeter meter(file_);
    const TrafficReporter reporter(*bus, meter, {"p1", 10ms});
    meter.of(kReadWrite).count_bytes(0, 100);
    meter.of(kReadOnly).count_bytes(0, 11);
    EXPECT_EQ(await_sum(111), 111u);
    subscription.reset();  // what follows in this process is heard by nobody
    meter.of(kReadWrite).count_bytes(0, 1'000);
  }
  subscription = listen();
  TrafficMeter meter(file_);
  const TrafficReporter reporter(*bus, meter, {"p1", 10ms});
  EXPECT_EQ(await_sum(1'111), 1'111u);
  meter.of(kReadWrite).count_bytes(0, 10'000);
  EXPECT_EQ(await_sum(11'111), 11'111u);
}

}  // namespace
}  // namespace trunkline::proxy
