// Answers of lookup to "one resource by id", kept for a moment: a client that polls, and a route
// that many read, cost one question and not hundreds. Thread-safe.
//
// An answer is used only if nothing happened to its resource since (the events of the log are
// listened to), it holds every write that this gateway has answered, and it is younger than
// kFor: so long a reading of a live field, or a write through another gateway whose event was lost
// on the way, can be old.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "trunkline/v1/query.pb.h"

namespace trunkline::gateway {

class ReadCache {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kFor = std::chrono::milliseconds(200);

  // The key of a query that may be kept; "" of any other.
  static std::string key_of(const v1::Query& query);

  std::optional<std::string> find(const std::string& key, uint64_t min_position,
                                  Clock::time_point now);
  void keep(const std::string& key, const v1::Query& query, const v1::QueryAnswer& answer,
            Clock::time_point now);
  // An event of the aggregate `uuid` was recorded.
  void changed(const std::string& uuid, uint64_t position);

 private:
  static constexpr size_t kMost = 4096;

  struct Kept {
    std::string json;
    std::string uuid;
    uint64_t position = 0;
    Clock::time_point until;
  };
  std::mutex mutex_;
  uint64_t newest_event_ = 0;
  std::unordered_map<std::string, Kept> kept_;
};

}  // namespace trunkline::gateway
