// Tells proxies where instances' endpoints lead: on tl.route.<instance> at once when the projector
// has committed a change, when a standby begins or ceases to lag or its host to be silent, and all
// of them at the start and after each reconnect (core NATS forgets what nobody heard).
// Never gives up; all public methods are thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "bus/bus.h"
#include "lookup/domain/standby_watch.h"
#include "lookup/io/read_model.h"

namespace trunkline::lookup {

class RouteBoard {
 public:
  RouteBoard(bus::Bus& bus, std::string read_model_dsn);
  ~RouteBoard();
  RouteBoard(const RouteBoard&) = delete;
  RouteBoard& operator=(const RouteBoard&) = delete;

  // What was committed, up to `position`. Does not block.
  void take_change(const Change& change, int64_t position);
  // A report that its host sent. Does not block.
  void take_report(const v1::HostReport& report);
  // What is reported of a route's standbys.
  void put_live(v1::Route& route) const;

 private:
  void run();
  void publish(v1::Route&& route);
  void publish_all();
  void publish_stored(const std::string& instance_id);

  bus::Bus& bus_;
  ReadModel model_;  // of the thread
  mutable std::mutex watch_mutex_;
  StandbyWatch watch_;
  // Everything is to be sent; shared with the bus, whose callbacks cannot be taken back.
  std::shared_ptr<std::atomic<bool>> send_all_ = std::make_shared<std::atomic<bool>>(true);
  std::mutex wake_mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace trunkline::lookup
