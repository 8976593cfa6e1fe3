// How long to wait before a process that died is started again. One that was up for 0.5 s starts at
// once: something killed it, and clients wait. One that dies sooner cannot start: it waits 0.1 s,
// doubled at every such death up to 5 s, forgotten when it has been up for 10 s. Pure.
#pragma once

#include "supervisor/domain/process_spec.h"

namespace trunkline::supervisor {

class RestartBackoff {
 public:
  static constexpr Millis kHadStarted{500};
  static constexpr Millis kFirst{100};
  static constexpr Millis kLongest{5'000};
  static constexpr Millis kForgetAfter{10'000};

  // The pause after a death; `up_for` is how long the process had run.
  Millis after_death(Millis up_for);

 private:
  Millis next_ = kFirst;
};

}  // namespace trunkline::supervisor
