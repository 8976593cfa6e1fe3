// What metering asks of the log's database beside appending. Not thread-safe. Throws
// std::exception.
#pragma once

#include <cstdint>
#include <pqxx/pqxx>
#include <string>

#include "metering/io/usage_store.h"

namespace trunkline::metering {

class LogProbe {
 public:
  explicit LogProbe(const std::string& dsn) : connection_(dsn) {}

  // The clock that decides what is billed, in Unix ms.
  int64_t now_ms();
  bool holds(const StoreCheckpoint& at);
  // A position before which nothing can come in any more; waits for transactions that run.
  int64_t settled();

 private:
  pqxx::connection connection_;
};

}  // namespace trunkline::metering
