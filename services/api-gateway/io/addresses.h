// What each address holds of an HTTP server: connections, and bytes of requests that have not come
// whole. Thread-safe.
#pragma once

#include <algorithm>
#include <mutex>
#include <string>
#include <unordered_map>

#include "api-gateway/io/http_server.h"

namespace trunkline::gateway {

class Addresses {
 public:
  // False: it has as many connections as it may.
  bool enter(const std::string& address, const HttpServerOptions& options) {
    const bool counts = std::ranges::find(options.shared_addresses, address) ==
                        options.shared_addresses.end();
    const std::lock_guard lock(mutex_);
    Held& held = by_address_[address];
    if (counts && held.connections >= options.connections_per_address) return false;
    ++held.connections;
    held.limited = counts;
    return true;
  }
  void leave(const std::string& address) {
    const std::lock_guard lock(mutex_);
    const auto held = by_address_.find(address);
    if (held != by_address_.end() && --held->second.connections == 0) by_address_.erase(held);
  }
  // False: that is more than it may have.
  bool change_bytes(const std::string& address, size_t before, size_t after, size_t most) {
    const std::lock_guard lock(mutex_);
    const auto held = by_address_.find(address);
    if (held == by_address_.end()) return true;
    held->second.bytes += after - before;
    return after <= before || !held->second.limited || held->second.bytes <= most;
  }

 private:
  struct Held {
    size_t connections = 0;
    size_t bytes = 0;
    bool limited = true;
  };
  std::mutex mutex_;
  std::unordered_map<std::string, Held> by_address_;
};

}  // namespace trunkline::gateway
