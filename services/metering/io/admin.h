// What operators ask of metering on tl.admin.metering: rebuild, checksum, status. Answers one after
// the other on a thread of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "bus/bus.h"
#include "metering/io/usage_meter.h"

namespace trunkline::metering {

class Admin {
 public:
  Admin(bus::Bus& bus, std::string metering_dsn, UsageMeter& meter);
  ~Admin();
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;

  // A request; its answer goes to the message's reply subject. Thread-safe, does not block.
  void take(bus::Message&& message);

 private:
  void run();
  std::string handle(const std::string& request);

  bus::Bus& bus_;
  const std::string metering_dsn_;
  UsageMeter& meter_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::deque<bus::Message> requests_;
  std::thread thread_;
};

}  // namespace trunkline::metering
