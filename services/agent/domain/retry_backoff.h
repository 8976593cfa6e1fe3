// How long a failed task waits before it is tried again. Pure.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace trunkline::agent {

// 0.1 s after the first failure, doubling, at most 10 s.
inline std::chrono::milliseconds retry_delay(uint32_t tries) {
  const uint32_t doublings = std::min<uint32_t>(tries == 0 ? 0 : tries - 1, 7);
  return std::min(std::chrono::milliseconds(100 << doublings), std::chrono::milliseconds(10'000));
}

}  // namespace trunkline::agent
