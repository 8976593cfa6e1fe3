// Publishes what is counted (proto/trunkline/v1/traffic.proto): all when it is made, then what
// changed, at an interval, and at last what is left. Owns its thread.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "bus/bus.h"
#include "proxy/io/traffic_meter.h"
#include "runtime/ticker.h"

namespace trunkline::proxy {

struct TrafficReporterOptions {
  std::string proxy_id = "proxy";
  std::chrono::milliseconds every{10'000};
};

class TrafficReporter {
 public:
  TrafficReporter(bus::Bus& bus, TrafficMeter& meter, TrafficReporterOptions options);
  ~TrafficReporter();
  TrafficReporter(const TrafficReporter&) = delete;
  TrafficReporter& operator=(const TrafficReporter&) = delete;

 private:
  void report();

  bus::Bus& bus_;
  TrafficMeter& meter_;
  const TrafficReporterOptions options_;
  std::mutex mutex_;
  TrafficRounds rounds_;
  bool whole_next_ = true;
  std::chrono::steady_clock::time_point whole_at_;
  std::unique_ptr<runtime::Ticker> ticker_;
};

}  // namespace trunkline::proxy
