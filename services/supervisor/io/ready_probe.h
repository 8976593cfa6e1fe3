// Whether somebody accepts connections at an address. Blocks for 50 ms at most.
#pragma once

#include "supervisor/domain/process_spec.h"

namespace trunkline::supervisor {

bool is_ready(const ReadyCheck& check);

}  // namespace trunkline::supervisor
