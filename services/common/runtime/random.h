// Randomness and the real clock for shells; the domain gets both as arguments. Thread-safe.
#pragma once

#include <string>

#include "base/clock.h"

namespace trunkline::runtime {

std::string random_bytes(size_t count);  // from the kernel
std::string new_uuid();                  // version 4
TimePoint now();
// For durations: never steps, and counts the time that the machine was suspended (CLOCK_BOOTTIME).
// It starts from the wall's time at the process's start, so it is about comparable with recorded
// times, but with no other process's.
TimePoint monotonic_now();

}  // namespace trunkline::runtime
