// The whole projection made anew from the log, beside the one that is there. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eventlog/recorded_event.h"
#include "metering/domain/usage_evolve.h"
#include "metering/io/usage_store.h"

namespace trunkline::metering {

LogEvent as_log_event(const eventlog::RecordedEvent& event);

class UsageRebuild {
 public:
  UsageRebuild(std::string log_dsn, const std::string& metering_dsn, int64_t records_from_ms);

  // Folds the log up to a settled position. Throws StoreUnavailable, LogUnavailable.
  void fold_to(int64_t position);
  // Takes the place of the tables that are there.
  void swap();

  const StoreCheckpoint& reached() const { return written_; }
  int64_t events() const { return events_; }
  int64_t records() const { return records_; }
  UsageState& state() { return state_; }

 private:
  void write();

  std::string log_dsn_;
  PgSession session_;
  UsageStore store_;
  UsageState state_;
  UsageChange change_;
  std::vector<PoisonedEvent> poison_;
  StoreCheckpoint folded_;
  StoreCheckpoint written_;
  int64_t events_ = 0;
  int64_t records_ = 0;
};

}  // namespace trunkline::metering
