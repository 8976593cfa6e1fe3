// Keeps the read model the fold of the log: takes events from the feed, changes documents and
// checkpoint in one transaction, then the cache, then the gate. Finds a read model that is missing,
// older, ahead of the log or changed by somebody else, and rebuilds it. Never gives up: while
// PostgreSQL is away it tries again. All public methods are thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"
#include "lookup/io/document_cache.h"
#include "lookup/io/fold.h"
#include "lookup/io/log_access.h"
#include "lookup/io/position_gate.h"
#include "lookup/io/read_model.h"
#include "lookup/io/rebuild.h"
#include "runtime/event_feed.h"

namespace trunkline::lookup {

struct RebuildReport {
  int64_t events = 0;
  int64_t documents = 0;
  int64_t position = 0;
  double seconds = 0;
};

class Projector {
 public:
  struct Options {
    std::string log_dsn;
    std::string read_model_dsn;
    Rendering rendering;
    // Called with what was committed, before a question sees its position; must not block.
    std::function<void(const Change&, int64_t position)> on_change;
  };
  Projector(bus::Bus& bus, Options options, DocumentCache& cache, PositionGate& gate);
  ~Projector();
  Projector(const Projector&) = delete;
  Projector& operator=(const Projector&) = delete;

  // The read model is there and the fold of the log up to the gate's position.
  bool ready() const { return healthy_; }
  // Somebody met tables that are not as they should be: look at once.
  void suspect();

  // Makes the read model anew while the old one answers. Throws if the log or PostgreSQL is away,
  // or if one is under way already.
  RebuildReport rebuild();
  // Projects what was put aside again: of one stream, or of all (empty). Returns how many events
  // are still put aside. Throws like rebuild().
  size_t retry_poison(const std::string& stream);

 private:
  void maintain();
  bool adopt();
  void catch_up();
  void look();
  RebuildReport rebuild_now();
  void take(const std::vector<eventlog::RecordedEvent>& batch);
  void take_some(std::span<const eventlog::RecordedEvent> events);
  void refuse(const eventlog::RecordedEvent& event, const std::string& error);
  void commit(const Change& change, const Checkpoint& to);
  void start_feed();
  void show() const;  // in the metrics

  bus::Bus& bus_;
  const Options options_;
  DocumentCache& cache_;
  PositionGate& gate_;

  // Guards everything down to `blocked_`; held while a batch is applied.
  std::mutex mutex_;
  ReadModel model_;
  LogAccess log_;
  Checkpoint checkpoint_;
  int64_t fed_position_ = 0;  // of the last event that the feed brought
  ViewStore views_;
  Blocked blocked_;

  std::atomic<bool> healthy_{false};
  std::mutex rebuild_mutex_;
  std::mutex wake_mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  bool suspected_ = false;
  int looks_ = 0;
  std::unique_ptr<runtime::EventFeed> feed_;  // made and destroyed by the maintaining thread
  std::thread thread_;
};

}  // namespace trunkline::lookup
