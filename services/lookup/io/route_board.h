// Tells proxies where instances' endpoints lead: on tl.route.<instance> at once when the projector
// has committed a change, when a standby begins or ceases to lag or its host to be silent, and all
// of them at the start and after each reconnect (core NATS forgets what nobody heard).
// Never gives up; all public methods are thread-safe.
#pragma once

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
  // Sends all that is stored before it returns, if it can: who is told by the API that something is
  // there finds the proxies knowing it.
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
  void send_what_is_due();
  void publish(v1::Route&& route);
  void publish_all();
  void publish_stored(const std::string& instance_id);

  bus::Bus& bus_;
  ReadModel model_;  // of the thread
  mutable std::mutex watch_mutex_;
  StandbyWatch watch_;
  // Shared with the bus, whose callbacks cannot be taken back.
  struct Orders {
    std::mutex mutex;
    std::condition_variable wake;
    bool send_all = true;
    bool at_once = false;  // the thread wakes for it
    bool stopping = false;
    void all_again();
  };
  std::shared_ptr<Orders> orders_ = std::make_shared<Orders>();
  std::thread thread_;
};

}  // namespace trunkline::lookup
