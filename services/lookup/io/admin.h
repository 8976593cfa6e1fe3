// What an operator asks of lookup, on tl.admin.lookup: "rebuild", "checksum", "poison",
// "retry-poison" (with "stream": of that one only), "status".
#pragma once

#include <string>
#include <vector>

#include "lookup/io/position_gate.h"
#include "lookup/io/projector.h"
#include "runtime/admin_loop.h"

namespace trunkline::lookup {

// The projector and the gate must outlive them.
std::vector<runtime::AdminOp> admin_ops(std::string read_model_dsn, Projector& projector,
                                        const PositionGate& gate);

}  // namespace trunkline::lookup
