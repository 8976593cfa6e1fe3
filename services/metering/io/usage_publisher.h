// Publishes usage records from the database to JetStream (stream TL_USAGE), each once and in order.
// The stream itself says how far it is: its last message names its record's place. A stream that
// was wiped, or lost its end, is filled again with what the database holds. Several may run: a
// publish names the sequence before it, so that all but one are refused. Runs a thread of its own.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"
#include "metering/domain/usage_event.h"
#include "metering/io/pg_session.h"

namespace trunkline::metering {

inline constexpr char kUsageStream[] = "TL_USAGE";
inline constexpr char kUsageOrderHeader[] = "Tl-Usage-Order";  // "<position>.<ordinal>"

class UsagePublisher {
 public:
  struct Options {
    std::string metering_dsn;
    EventOrigin origin;
    int64_t stream_bytes = int64_t{2} << 30;
    std::function<bool()> may_publish;  // asked now and then
  };
  UsagePublisher(bus::Bus& bus, Options options);
  ~UsagePublisher();
  UsagePublisher(const UsagePublisher&) = delete;
  UsagePublisher& operator=(const UsagePublisher&) = delete;

  // There are new records. Thread-safe; does not block.
  void wake();

 private:
  struct Tail {
    uint64_t sequence = 0;
    int64_t position = 0;
    int64_t ordinal = -1;
  };
  void run();
  void ensure_stream();
  Tail read_tail();
  void publish_from(Tail tail);
  std::vector<UsageRecord> next(PgSession& session, const Tail& tail);
  bool publish(const std::vector<UsageRecord>& batch, Tail* tail);
  bool is_still(const Tail& tail);
  bool pause(std::chrono::milliseconds time);

  bus::Bus& bus_;
  const Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  bool woken_ = false;
  std::thread thread_;
};

}  // namespace trunkline::metering
