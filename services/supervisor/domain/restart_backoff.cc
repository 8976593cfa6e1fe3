#include "supervisor/domain/restart_backoff.h"

#include <algorithm>

namespace trunkline::supervisor {

Millis RestartBackoff::after_death(Millis up_for) {
  if (up_for >= kForgetAfter) next_ = kFirst;
  if (up_for >= kHadStarted) return Millis(0);
  const Millis pause = next_;
  next_ = std::min(next_ * 2, kLongest);
  return pause;
}

}  // namespace trunkline::supervisor
