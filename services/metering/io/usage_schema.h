// The tables of the projection, in database trunkline_metering. Schema `usage` is a fold of the log
// and is replaced as a whole by a rebuild: nothing else belongs there.
#pragma once

#include <cstdint>
#include <string>

namespace trunkline::metering {

inline constexpr char kUsageSchema[] = "usage";
inline constexpr char kNextUsageSchema[] = "usage_next";  // while a rebuild is under way
inline constexpr int kUsageFormat = 1;
inline constexpr int64_t kDayMs = 24 * 3600 * 1000;
inline constexpr int64_t kHourMs = 3600 * 1000;
// Stands for "the instance as a whole" where a node is asked for.
inline constexpr char kNoNode[] = "00000000-0000-0000-0000-000000000000";

// "new_ms, in_progress_ms, …": the meters' columns, in the order of meters().
std::string meter_columns();
std::string tables_sql(const std::string& schema);
// A partition of usage.record for the windows that begin on `day` (days since the epoch).
std::string partition_name(int64_t day);
int64_t partition_day(const std::string& name);
std::string partition_sql(const std::string& schema, int64_t day);

}  // namespace trunkline::metering
