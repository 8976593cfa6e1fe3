// Who has connected and not yet proven who he is: how many there may be, in all and from one
// address, so that one who knocks and says nothing keeps nobody else out. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <unordered_map>

namespace trunkline::proxy {

using PeerAddress = uint32_t;  // IPv4

struct NewcomerLimits {
  uint64_t in_all = 5'000;
  uint64_t an_address = 1'000;
};

// So few that three quarters of `connections` are for those who have proven who they are.
NewcomerLimits limits_within(NewcomerLimits wanted, uint64_t connections);

class Newcomers {
 public:
  explicit Newcomers(NewcomerLimits limits) : limits_(limits) {}
  // False: it is one too many, and not counted.
  bool come(PeerAddress address);
  void go(PeerAddress address);  // proven or gone; once for each that came
  uint64_t count() const { return count_; }

 private:
  const NewcomerLimits limits_;
  uint64_t count_ = 0;
  std::unordered_map<PeerAddress, uint64_t> by_address_;
};

}  // namespace trunkline::proxy
