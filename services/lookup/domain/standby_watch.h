// What standbys report that a route shows: how far each is behind, and whether its host is heard.
// Reports come several times a second and a route is not sent for each: only when a standby begins
// or ceases to lag, or its host falls silent or is heard again.
// Pure; not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trunkline/v1/report.pb.h"
#include "trunkline/v1/route.pb.h"

namespace trunkline::lookup {

// Since whatever moment, on a clock that only goes forward.
using Monotonic = std::chrono::milliseconds;

class StandbyWatch {
 public:
  static constexpr uint64_t kLagging = 64ull << 20;
  static constexpr auto kSilent = std::chrono::seconds(3);
  // Without a report of any host for so long it is us who do not hear.
  static constexpr auto kDeaf = std::chrono::seconds(1);

  // A report that its host sent.
  void take(const v1::HostReport& report, Monotonic now);
  // The instances whose routes look otherwise than at the last call.
  std::set<std::string> changed(Monotonic now);
  // Puts what is known of its standbys into a route. One whose host is silent does not serve; the
  // lag is unknown where the primary's host is silent or does not name the standby.
  void put_into(v1::Route& route, Monotonic now) const;

 private:
  struct Node {
    std::string id;
    std::string instance_id;
  };
  struct Host {
    Monotonic heard{};
    bool silent = false;
    std::vector<Node> nodes;
    std::unordered_map<std::string, uint64_t> lag_bytes;  // of standbys of its primaries
  };
  bool is_silent(const Host& host, Monotonic now) const;

  std::unordered_map<std::string, Host> hosts_;
  std::set<std::string> changed_;
  Monotonic last_{};     // report of any host
  Monotonic hearing_{};  // since when reports come without a pause
};

}  // namespace trunkline::lookup
