// Requests that were refused (401, 403, 404), summed up for each token: one command a token and
// window, which the audit log keeps. Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "api-gateway/domain/caller.h"
#include "api-gateway/io/command_client.h"
#include "base/clock.h"
#include "runtime/ticker.h"

namespace trunkline::gateway {

class RefusalCounts {
 public:
  // A window of 0: nothing is counted.
  RefusalCounts(CommandClient& commands, std::chrono::milliseconds window);

  // Counts `status` if it is a refusal. A caller without a token id is one that nobody knows.
  void note(const Caller& caller, int status, const std::string& client_address);
  void stop();  // sends what has been counted

 private:
  static constexpr size_t kMostTokens = 1000;  // in a window; others are counted as unknown
  struct Count {
    Caller caller;
    std::string client_address;  // of the newest one
    std::map<int, uint64_t> by_status;
  };
  void send();

  CommandClient& commands_;
  const bool counts_any_;
  std::mutex mutex_;
  std::map<std::string, Count> counts_;  // by token id
  TimePoint since_;
  std::unique_ptr<runtime::Ticker> ticker_;
};

}  // namespace trunkline::gateway
