#include "proxy/domain/newcomers.h"

#include <algorithm>

namespace trunkline::proxy {

NewcomerLimits limits_within(NewcomerLimits wanted, uint64_t connections) {
  const auto at_most = [](uint64_t value, uint64_t most) {
    return std::max<uint64_t>(std::min(value, most), 1);
  };
  const uint64_t in_all = at_most(wanted.in_all, connections / 4);
  // No address alone takes all places, nor do three together.
  return {in_all, at_most(wanted.an_address, in_all / 4)};
}

bool Newcomers::come(PeerAddress address) {
  if (count_ >= limits_.in_all) return false;
  uint64_t& own = by_address_[address];
  if (own >= limits_.an_address) return false;
  ++own;
  ++count_;
  return true;
}

void Newcomers::go(PeerAddress address) {
  const auto found = by_address_.find(address);
  if (found == by_address_.end()) return;
  --count_;
  if (--found->second == 0) by_address_.erase(found);
}

}  // namespace trunkline::proxy
