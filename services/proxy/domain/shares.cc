#include "proxy/domain/shares.h"

namespace trunkline::proxy {

bool Shares::take(const InstanceId& who) {
  if (count_ >= places_) return false;
  const auto found = by_instance_.find(who);
  const bool is_new = found == by_instance_.end();
  const uint64_t others = by_instance_.size() - (is_new ? 0 : 1);
  const bool within_share = is_new || found->second < places_ / (others + 2);
  // Up to two thirds anyone may have what nobody else asks for.
  const bool plenty = count_ < places_ - places_ / 3;
  if (!within_share && !plenty) return false;
  ++count_;
  ++by_instance_[who];
  return true;
}

void Shares::give_back(const InstanceId& who) {
  const auto found = by_instance_.find(who);
  if (found == by_instance_.end()) return;
  --count_;
  if (--found->second == 0) by_instance_.erase(found);
}

}  // namespace trunkline::proxy
