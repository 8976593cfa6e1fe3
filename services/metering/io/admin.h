// What operators ask of metering, on tl.admin.metering: "rebuild", "checksum" (with "up_to": of the
// closes up to that position), "status".
#pragma once

#include <string>
#include <vector>

#include "metering/io/usage_meter.h"
#include "runtime/admin_loop.h"

namespace trunkline::metering {

// The meter must outlive them.
std::vector<runtime::AdminOp> admin_ops(std::string metering_dsn, UsageMeter& meter);

}  // namespace trunkline::metering
