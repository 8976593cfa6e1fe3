// Answers `tl.query.replication`: old decisions about failovers, decided again by today's table.
// Any process of the service does, owner or not: it reads the log. Thread-safe; one question after
// the other, on a thread of its own with its own connection.
#pragma once

#include <memory>
#include <string>

#include "bus/bus.h"
#include "eventlog/log.h"
#include "runtime/fair_pool.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::replication {

class ReplayService {
 public:
  ReplayService(bus::Bus& bus, std::string log_dsn);

 private:
  void take(bus::Message&& message);

  bus::Bus& bus_;
  runtime::FairPool<eventlog::Log> pool_;
  std::unique_ptr<bus::Subscription> subscription_;
};

}  // namespace trunkline::replication
