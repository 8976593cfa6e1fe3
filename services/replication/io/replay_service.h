// Answers `tl.query.replication`: old decisions about failovers, decided again by today's table.
// Any process of the service does, owner or not: it reads the log. Thread-safe; one question after
// the other, on a thread of its own with its own connection.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "bus/bus.h"
#include "eventlog/log.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::replication {

class ReplayService {
 public:
  ReplayService(bus::Bus& bus, std::string log_dsn);
  ~ReplayService();
  ReplayService(const ReplayService&) = delete;
  ReplayService& operator=(const ReplayService&) = delete;

 private:
  struct Asked {
    std::string reply;
    v1::Query query;
    std::chrono::steady_clock::time_point at;
  };
  void take(bus::Message&& message);
  void run();
  v1::QueryAnswer answer(eventlog::Log& log, const v1::Query& query);
  void send(const std::string& reply, const v1::QueryAnswer& answer);

  bus::Bus& bus_;
  const std::string log_dsn_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Asked> asked_;
  bool stopping_ = false;
  std::thread thread_;
  std::unique_ptr<bus::Subscription> subscription_;
};

}  // namespace trunkline::replication
