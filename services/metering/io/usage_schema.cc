#include "metering/io/usage_schema.h"

#include "metering/domain/meters.h"

namespace trunkline::metering {
namespace {

std::string with_schema(std::string sql, const std::string& schema) {
  for (size_t at = sql.find('$'); at != std::string::npos; at = sql.find('$', at)) {
    sql.replace(at, 1, schema);
  }
  return sql;
}

std::string meter_definitions() {
  std::string sql;
  for (const MeterInfo& meter : meters()) sql += ",\n  " + std::string(meter.column) + " bigint";
  return sql;
}

}  // namespace

std::string meter_columns() {
  std::string columns;
  for (const MeterInfo& meter : meters()) {
    if (!columns.empty()) columns += ", ";
    columns += meter.column;
  }
  return columns;
}

// A meter's column is null where there is nothing: most are, and a null takes no space.
std::string tables_sql(const std::string& schema) {
  return with_schema(R"sql(
CREATE SCHEMA $;
CREATE TABLE $.record (
  position        bigint  NOT NULL,
  ordinal         integer NOT NULL,
  id              uuid    NOT NULL,
  project_id      uuid    NOT NULL,
  instance_id     uuid    NOT NULL,
  node_id         uuid    NOT NULL,
  window_start_ms bigint  NOT NULL,
  window_end_ms   bigint  NOT NULL,
  closed_ms       bigint  NOT NULL,
  is_correction   boolean NOT NULL)sql" + meter_definitions() + R"sql(
) PARTITION BY RANGE (window_start_ms);
CREATE INDEX ON $.record (position, ordinal);
CREATE INDEX ON $.record (instance_id, window_start_ms);
CREATE TABLE $.hour (
  hour_ms     bigint NOT NULL,
  project_id  uuid   NOT NULL,
  instance_id uuid   NOT NULL,
  node_id     uuid   NOT NULL)sql" + meter_definitions() + R"sql(,
  PRIMARY KEY (instance_id, hour_ms, node_id)
) WITH (fillfactor = 70);
CREATE TABLE $.instance (
  instance_id uuid   PRIMARY KEY,
  project_id  uuid   NOT NULL,
  name        text   NOT NULL,
  created_ms  bigint NOT NULL,
  ended_ms    bigint
);
CREATE INDEX ON $.instance (project_id);
CREATE TABLE $.node (
  node_id     uuid   PRIMARY KEY,
  instance_id uuid   NOT NULL,
  host        text   NOT NULL,
  created_ms  bigint,
  ended_ms    bigint
);
CREATE INDEX ON $.node (instance_id);
CREATE TABLE $.poison (
  position bigint PRIMARY KEY,
  stream   text   NOT NULL,
  error    text   NOT NULL
);
CREATE TABLE $.checkpoint (
  one             boolean PRIMARY KEY DEFAULT true CHECK (one),
  position        bigint  NOT NULL,
  hash            bytea   NOT NULL,
  format          text    NOT NULL,
  closed_position bigint  NOT NULL,
  closed_until_ms bigint  NOT NULL,
  records_from_ms bigint  NOT NULL
);
CREATE TABLE $.snapshot (
  one      boolean PRIMARY KEY DEFAULT true CHECK (one),
  position bigint  NOT NULL,
  hash     bytea   NOT NULL,
  format   text    NOT NULL,
  data     bytea   NOT NULL
);
)sql", schema);
}

std::string partition_name(int64_t day) {
  return day < 0 ? "record_m" + std::to_string(-day) : "record_" + std::to_string(day);
}

int64_t partition_day(const std::string& name) {
  const size_t at = name.find('_') + 1;
  return name[at] == 'm' ? -std::stoll(name.substr(at + 1)) : std::stoll(name.substr(at));
}

std::string partition_sql(const std::string& schema, int64_t day) {
  return "CREATE TABLE IF NOT EXISTS " + schema + "." + partition_name(day) + " PARTITION OF " +
         schema + ".record FOR VALUES FROM (" + std::to_string(day * kDayMs) + ") TO (" +
         std::to_string((day + 1) * kDayMs) + ")";
}

}  // namespace trunkline::metering
