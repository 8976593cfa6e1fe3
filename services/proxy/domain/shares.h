// Places that all instances share: whoever has more than his share gets no more of them while they
// are becoming scarce, and so keeps nobody else from his own. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <map>

#include "base/ids.h"

namespace trunkline::proxy {

class Shares {
 public:
  explicit Shares(uint64_t places) : places_(places) {}
  // False: it has its share, and is not given what is left for others.
  bool take(const InstanceId& who);
  void give_back(const InstanceId& who);  // once for each that was taken
  // Of one instance, if one more came than have any now.
  uint64_t share() const { return places_ / (by_instance_.size() + 1); }
  uint64_t count() const { return count_; }

 private:
  const uint64_t places_;
  uint64_t count_ = 0;
  std::map<InstanceId, uint64_t> by_instance_;
};

}  // namespace trunkline::proxy
