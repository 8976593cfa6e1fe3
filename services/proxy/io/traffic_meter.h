// Counts what the sessions of all endpoints forward. Thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "proxy/domain/traffic_counters.h"
#include "proxy/io/traffic_file.h"

namespace trunkline::proxy {

// One endpoint's.
class EndpointMeter {
 public:
  EndpointMeter(EndpointName name, TrafficCell* cell);

  void count_bytes(uint64_t in, uint64_t out) {
    if (in != 0) cell_->bytes_in.fetch_add(in, std::memory_order_relaxed);
    if (out != 0) cell_->bytes_out.fetch_add(out, std::memory_order_relaxed);
  }
  void session_opened();
  void session_closed();
  void ties_changed(const TieSet& before, const TieSet& now);  // of one session
  void settle();  // the time of open sessions until now
  EndpointTotals totals() const;

 private:
  const EndpointName name_;
  TrafficCell own_{};  // where the file has no room
  TrafficCell* const cell_;
  mutable std::mutex mutex_;
  ConnectionClock clock_;
  std::array<uint32_t, kTies> tied_{};
  uint32_t tied_sessions_ = 0;
};

class TrafficMeter {
 public:
  explicit TrafficMeter(const std::string& file = {});

  // Lives as long as this.
  EndpointMeter& of(const EndpointName& endpoint);
  // A process that is killed loses the time of its open sessions since the last call.
  void settle();
  std::vector<EndpointTotals> totals() const;
  std::string epoch() const { return file_.epoch(); }
  uint64_t next_sequence() { return file_.next_sequence(); }

 private:
  mutable std::mutex mutex_;
  TrafficFile file_;
  std::deque<EndpointMeter> meters_;
  std::map<std::pair<InstanceId, EndpointKind>, EndpointMeter*> by_endpoint_;
};

}  // namespace trunkline::proxy
