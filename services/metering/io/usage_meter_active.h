// Private to UsageMeter: what belongs to one time of being active.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eventlog/log.h"
#include "metering/io/log_probe.h"
#include "metering/io/usage_meter.h"
#include "runtime/event_feed.h"

namespace trunkline::metering {

struct UsageMeter::Active {
  Active(PgSession& s, const std::string& log_dsn)
      : session(s), store(s, "usage"), log(log_dsn), probe(log_dsn) {}

  PgSession& session;
  UsageStore store;
  eventlog::Log log;        // of the ticking thread
  LogProbe probe;           // of the ticking thread
  UsageState state;
  StoreCheckpoint folded;   // by the feed
  StoreCheckpoint written;
  UsageChange change;       // folded and not yet written
  std::vector<PoisonedEvent> poison;
  int64_t events_unwritten = 0;
  int64_t written_ms = 0;
  int64_t snapshot_ms = 0;
  int64_t snapshot_position = 0;
  bool is_broken = false;   // the store is not to be used any more
  // Streams that were appended to, by us or by somebody who was first: the version that must be
  // folded before anything is decided for them again.
  std::map<std::string, int64_t> awaited;
  // Of each source: the window and the messages that were looked at in vain.
  std::map<std::string, std::pair<int64_t, uint64_t>> looked_at;
  std::unique_ptr<runtime::EventFeed> feed;
};

// An append that is due.
struct UsageMeter::Due {
  std::string uuid;  // of the usage stream
  int64_t version = 0;
  std::vector<v1::UsageEvent> events;
};

}  // namespace trunkline::metering
