// One line a request: method, route, status, milliseconds, token id (never the token), trace. Quick
// reads that went well are summed up and written once a second and route: a busy client's polling
// would otherwise cost more than its answers. Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace trunkline::gateway {

class AccessLog {
 public:
  struct Line {
    std::string_view method;
    std::string_view route;     // its pattern
    int status = 0;
    std::chrono::duration<double, std::milli> took{};
    std::string_view token_id;  // "" without a token
    std::string_view trace_id;
  };
  void note(const Line& line);
  void flush();  // what is summed up

 private:
  using Clock = std::chrono::steady_clock;
  struct Sum {
    uint64_t count = 0;
    double total_ms = 0;
    double longest_ms = 0;
  };
  using Sums = std::map<std::pair<std::string, std::string>, Sum>;  // by route and token
  static void write(const Sums& sums);

  std::mutex mutex_;
  Sums sums_;
  Clock::time_point written_ = Clock::now();
};

}  // namespace trunkline::gateway
