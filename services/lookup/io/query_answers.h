// What every answer to a question is made with.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/query_answer.h"

namespace trunkline::lookup {

// A NATS message holds one megabyte.
inline constexpr size_t kMaxAnswerBytes = 900'000;
inline constexpr uint32_t kMaxEvents = 1000;

using runtime::bad_field;
using runtime::failed;
using runtime::found;
using runtime::not_found;

}  // namespace trunkline::lookup
