// Metering at work: folds the log into usage and keeps it in the database, appends what sources
// counted, closes windows. Of several processes one is active: who holds a lock of the database's
// session; appends are safe without it, by the streams' versions. Never gives up: while PostgreSQL
// is away it tries again. All public methods are thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"
#include "eventlog/recorded_event.h"
#include "metering/domain/heard_book.h"
#include "metering/domain/window_close.h"
#include "metering/io/usage_store.h"

namespace trunkline::metering {

struct UsageRebuildReport {
  int64_t events = 0;
  int64_t records = 0;
  int64_t position = 0;
  double seconds = 0;
};

class UsageMeter {
 public:
  struct Options {
    std::string log_dsn;
    std::string metering_dsn;
    WindowRules rules;
    int64_t record_days = 40;
    int64_t snapshot_every_ms = 600'000;
    std::function<void()> on_records;  // were committed; must not block
  };
  UsageMeter(bus::Bus& bus, Options options);
  ~UsageMeter();
  UsageMeter(const UsageMeter&) = delete;
  UsageMeter& operator=(const UsageMeter&) = delete;

  // This process projects, measures and closes.
  bool is_active() const { return is_active_; }
  // Up to which the log is in the database.
  int64_t position() const { return position_; }

  // `subject`: "tl.stats.<host>" or "tl.traffic.<proxy>".
  void hear(const std::string& subject, const std::string& data);

  // Makes the tables anew from the log, while the old ones answer. Throws if this process is not
  // active, or PostgreSQL or the log is away.
  UsageRebuildReport rebuild();

 private:
  struct Active;
  struct Due;
  void run();
  void be_active(PgSession& session);
  void adopt(Active& active);
  UsageRebuildReport make_anew(Active& active);
  void take(Active& active, const std::vector<eventlog::RecordedEvent>& batch);
  void write(Active& active, bool at_once);
  void tick(Active& active);
  std::vector<Due> decide(Active& active, int64_t now_ms);
  void append(Active& active, const Due& due);
  void maintain(Active& active, int64_t now_ms);
  int64_t records_from(int64_t now_ms) const;
  bool pause(std::chrono::milliseconds time);

  bus::Bus& bus_;
  const Options options_;
  std::atomic<bool> is_active_{false};
  std::atomic<int64_t> position_{0};

  std::mutex book_mutex_;
  HeardBook book_;

  // One rebuild at a time, and none outlives the time of being active. Taken before `mutex_`.
  std::mutex rebuild_mutex_;
  // Guards `current_` and what it points to. Taken before `book_mutex_`.
  std::mutex mutex_;
  Active* current_ = nullptr;

  std::mutex wake_mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace trunkline::metering
