// Private to the fold: the events' own parts of it.
#pragma once

#include "metering/domain/usage_evolve.h"
#include "trunkline/v1/instance.pb.h"
#include "trunkline/v1/usage.pb.h"

namespace trunkline::metering {

// From `at_ms` on, another rate holds. Also where windows behind it are closed already.
void change_rate(Account& account, const Amounts& rate, int64_t at_ms);

// `version` of the stream; `at_ms` is not before that of the stream's event before.
void evolve_instance(UsageState& state, const std::string& instance_id, int64_t version,
                     int64_t at_ms, const v1::InstanceEvent& event, UsageChange& change);
void evolve_measured(UsageState& state, const std::string& source_id, int64_t version,
                     int64_t recorded_ms, const v1::UsageMeasured& event);
void evolve_closed(UsageState& state, int64_t position, int64_t recorded_ms,
                   const v1::UsageWindowClosed& event, UsageChange& change);

}  // namespace trunkline::metering
