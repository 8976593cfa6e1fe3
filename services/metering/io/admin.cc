#include "metering/io/admin.h"

#include <limits>

#include "metering/io/usage_schema.h"

namespace trunkline::metering {
namespace {

using nlohmann::json;

json rebuild(UsageMeter& meter) {
  const UsageRebuildReport report = meter.rebuild();
  return {{"events", report.events},
          {"records", report.records},
          {"position", report.position},
          {"seconds", report.seconds}};
}

// Of the records of all closes up to a position; the same after every rebuild.
json checksum(const std::string& dsn, int64_t up_to) {
  PgSession session(dsn);
  const PgRows rows = session.query(
      "SELECT count(*), md5(coalesce(string_agg(md5(r::text), '' ORDER BY position, ordinal), "
      "'')) FROM " + std::string(kUsageSchema) + ".record r WHERE position <= $1",
      {std::to_string(up_to)});
  return {{"records", rows.number(0, 0)}, {"checksum", rows.text(0, 1)}};
}

}  // namespace

std::vector<runtime::AdminOp> admin_ops(std::string metering_dsn, UsageMeter& meter) {
  return {
      {"rebuild", [&meter](const json&) { return rebuild(meter); }},
      {"checksum",
       [dsn = std::move(metering_dsn)](const json& asked) {
         return checksum(dsn, asked.value("up_to", std::numeric_limits<int64_t>::max()));
       }},
      {"status",
       [&meter](const json&) {
         return json{{"active", meter.is_active()}, {"position", meter.position()}};
       }},
  };
}

}  // namespace trunkline::metering
