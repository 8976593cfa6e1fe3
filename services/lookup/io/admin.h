// What an operator asks of lookup, on tl.admin.lookup (JSON in, JSON out): {"op": "rebuild"},
// {"op": "checksum"}, {"op": "poison"}, {"op": "retry-poison", "stream": optional},
// {"op": "status"}. An answer has "ok" and, if that is false, "error". One at a time; a rebuild is
// answered when it is done.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "bus/bus.h"
#include "lookup/io/position_gate.h"
#include "lookup/io/projector.h"

namespace trunkline::lookup {

class Admin {
 public:
  Admin(bus::Bus& bus, std::string read_model_dsn, Projector& projector, const PositionGate& gate);
  ~Admin();
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;

  // For the subscription's callback. Thread-safe; does not block.
  void take(bus::Message&& message);
  // The answer to one request. Not thread-safe.
  std::string handle(const std::string& request);

 private:
  void run();

  bus::Bus& bus_;
  ReadModel model_;
  Projector& projector_;
  const PositionGate& gate_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<bus::Message> requests_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace trunkline::lookup
