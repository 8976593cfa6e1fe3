// Randomness and the real clock for shells; the domain gets both as arguments. Thread-safe.
#pragma once

#include <string>

#include "base/clock.h"

namespace trunkline::runtime {

std::string random_bytes(size_t count);  // from the kernel
std::string new_uuid();                  // version 4
TimePoint now();

}  // namespace trunkline::runtime
