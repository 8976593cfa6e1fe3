// What is counted of an endpoint's sessions, and which of it a report names. Pure; not thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proxy/domain/session_ties.h"
#include "proxy/domain/startup.h"
#include "trunkline/v1/traffic.pb.h"

namespace trunkline::proxy {

struct TrafficTotals {
  uint64_t bytes_in = 0;   // from clients
  uint64_t bytes_out = 0;  // to clients
  uint64_t connections_opened = 0;
  uint64_t connection_us = 0;
  uint64_t connections_open = 0;  // now
  std::array<uint32_t, kTies> tied{};  // of the open ones, by Tie
  uint32_t tied_sessions = 0;          // by one or more
  bool operator==(const TrafficTotals&) const = default;
};

// How long connections were open, all together. Times are of any clock that only grows.
class ConnectionClock {
 public:
  // The microseconds that were not told before.
  uint64_t settle(std::chrono::microseconds now);
  // The same, and one connection more or fewer from now on.
  uint64_t opened(std::chrono::microseconds now);
  uint64_t closed(std::chrono::microseconds now);
  uint64_t open() const { return open_; }

 private:
  uint64_t open_ = 0;
  std::chrono::microseconds settled_{0};
};

struct EndpointTotals {
  EndpointName endpoint;
  TrafficTotals totals;
};

// The reports of one proxy.
class TrafficRounds {
 public:
  // In one that is not whole, endpoints with the totals of the one before are left out. At least
  // one part. Who is sending, and its number, is for the caller to fill in.
  std::vector<v1::TrafficReport> round(const std::vector<EndpointTotals>& all, bool whole,
                                       size_t most_a_part);

 private:
  std::map<std::pair<InstanceId, EndpointKind>, TrafficTotals> told_;
};

}  // namespace trunkline::proxy
