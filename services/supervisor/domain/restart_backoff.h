// How long to wait before a process that died is started again: 0.1 s, doubled at every death up
// to 5 s, forgotten when the process has been up for 10 s. Pure.
#pragma once

#include "supervisor/domain/process_spec.h"

namespace trunkline::supervisor {

class RestartBackoff {
 public:
  static constexpr Millis kFirst{100};
  static constexpr Millis kLongest{5'000};
  static constexpr Millis kForgetAfter{10'000};

  // The pause after a death; `up_for` is how long the process had run.
  Millis after_death(Millis up_for);

 private:
  Millis next_ = kFirst;
};

}  // namespace trunkline::supervisor
