#include "metering/io/usage_store.h"

#include <map>

#include "base/digest.h"
#include "base/ids.h"
#include "metering/domain/window_grid.h"
#include "metering/io/usage_schema.h"

namespace trunkline::metering {
namespace {

constexpr size_t kMostSql = 256 * 1024;

std::string bytea(const std::string& data) { return "'\\x" + hex(data) + "'"; }
std::string format_text() { return std::to_string(kUsageFormat); }

// What is no UUID cannot be looked for either.
std::string uuid_or_none(const std::string& id) { return canonical_uuid(id).value_or(kNoNode); }

void put_number(std::string& row, int64_t number) {
  row += std::to_string(number);
  row += '\t';
}

void put_text(std::string& row, const std::string& text) {
  row += text;
  row += '\t';
}

void put_amounts(std::string& row, const Amounts& amounts) {
  for (size_t i = 0; i < kMeters; ++i) {
    if (amounts[i] == 0) {
      row += "\\N";
    } else {
      row += std::to_string(amounts[i]);
    }
    row += i + 1 < kMeters ? '\t' : '\n';
  }
}

std::string or_null(const std::optional<int64_t>& number) {
  return number ? std::to_string(*number) : "NULL";
}

std::string hour_upsert(const std::string& schema) {
  std::string sets;
  for (const MeterInfo& meter : meters()) {
    const std::string column(meter.column);
    if (!sets.empty()) sets += ", ";
    sets += column + " = nullif(coalesce(h." + column + ", 0) + coalesce(excluded." + column +
            ", 0), 0)";
  }
  const std::string columns = "hour_ms, project_id, instance_id, node_id, " + meter_columns();
  return "INSERT INTO " + schema + ".hour AS h (" + columns + ") SELECT " + columns +
         " FROM usage_staging ON CONFLICT (instance_id, hour_ms, node_id) DO UPDATE SET " + sets;
}

}  // namespace

UsageStore::UsageStore(PgSession& session, std::string schema)
    : session_(session), schema_(std::move(schema)) {}

std::optional<StoreCheckpoint> UsageStore::checkpoint() {
  const std::string table = schema_ + ".checkpoint";
  if (session_.query("SELECT to_regclass($1)", {table}).is_null(0, 0)) return std::nullopt;
  const PgRows rows =
      session_.query("SELECT position, hash, records_from_ms FROM " + table + " WHERE format = $1",
                     {format_text()});
  if (rows.size() != 1) return std::nullopt;
  records_from_ms_ = rows.number(0, 2);
  days_.clear();
  return StoreCheckpoint{rows.number(0, 0), rows.bytes(0, 1)};
}

std::optional<StoredSnapshot> UsageStore::snapshot() {
  const PgRows rows = session_.query(
      "SELECT position, hash, data FROM " + schema_ + ".snapshot WHERE format = $1",
      {format_text()});
  if (rows.size() != 1) return std::nullopt;
  return StoredSnapshot{{rows.number(0, 0), rows.bytes(0, 1)}, rows.bytes(0, 2)};
}

void UsageStore::make(int64_t records_from_ms) {
  session_.execute("DROP SCHEMA IF EXISTS " + schema_ + " CASCADE");
  session_.execute(tables_sql(schema_));
  session_.execute("ALTER TABLE " + schema_ + ".snapshot ALTER data SET STORAGE EXTERNAL");
  session_.execute("INSERT INTO " + schema_ + ".checkpoint VALUES (true, 0, '', '" +
                   format_text() + "', 0, 0, " + std::to_string(records_from_ms) + ")");
  days_.clear();
  records_from_ms_ = records_from_ms;
}

void UsageStore::rename_to(const std::string& current) {
  session_.execute("BEGIN; DROP SCHEMA IF EXISTS " + current + " CASCADE; ALTER SCHEMA " + schema_ +
                   " RENAME TO " + current + "; COMMIT");
}

void UsageStore::apply(const UsageState& state, const UsageChange& change,
                       const std::vector<PoisonedEvent>& poison, const StoreCheckpoint& from,
                       const StoreCheckpoint& to) {
  make_partitions(change.records);
  session_.execute("BEGIN");
  const PgRows moved = session_.query(
      "UPDATE " + schema_ +
          ".checkpoint SET position = $1, hash = decode($2, 'hex'), closed_position = $3, "
          "closed_until_ms = $4 WHERE position = $5 AND hash = decode($6, 'hex')",
      {std::to_string(to.position), hex(to.hash), std::to_string(state.closed_position),
       std::to_string(state.closed_position == 0 ? 0 : state.closed_until_ms),
       std::to_string(from.position), hex(from.hash)});
  if (moved.changed() != 1) {
    session_.execute("ROLLBACK");
    throw StoreMoved("the checkpoint is not at position " + std::to_string(from.position));
  }
  put_instances(state, change.instances);
  for (const PoisonedEvent& event : poison) {
    session_.query("INSERT INTO " + schema_ + ".poison VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                   {std::to_string(event.position), event.stream, event.error});
  }
  if (!change.records.empty()) {
    put_records(change.records);
    put_hours(change.records);
  }
  session_.execute("COMMIT");
}

void UsageStore::make_partitions(const std::vector<UsageRecord>& records) {
  for (const UsageRecord& record : records) {
    const int64_t day = aligned(record.window.start_ms, kDayMs) / kDayMs;
    if (days_.contains(day) || record.closed_ms < records_from_ms_) continue;
    session_.execute(partition_sql(schema_, day));
    days_.insert(day);
  }
}

void UsageStore::put_records(const std::vector<UsageRecord>& records) {
  std::string rows;
  rows.reserve(records.size() * 300);
  for (const UsageRecord& record : records) {
    if (record.closed_ms < records_from_ms_) continue;
    put_number(rows, record.position);
    put_number(rows, record.ordinal);
    put_text(rows, record.id);
    put_text(rows, uuid_or_none(record.project_id));
    put_text(rows, uuid_or_none(record.instance_id));
    put_text(rows, uuid_or_none(record.node_id));
    put_number(rows, record.window.start_ms);
    put_number(rows, record.window.end_ms);
    put_number(rows, record.closed_ms);
    put_text(rows, record.is_correction ? "t" : "f");
    put_amounts(rows, record.amounts);
  }
  if (!rows.empty()) session_.copy(schema_ + ".record", rows);
}

void UsageStore::put_hours(const std::vector<UsageRecord>& records) {
  struct Hour {
    std::string project;
    Amounts amounts{};
  };
  // Records come by instance and node, so that the map is small for each.
  std::map<std::tuple<std::string, std::string, int64_t>, Hour> hours;
  for (const UsageRecord& record : records) {
    Hour& hour = hours[{uuid_or_none(record.instance_id), uuid_or_none(record.node_id),
                        aligned(record.window.start_ms, kHourMs)}];
    hour.project = uuid_or_none(record.project_id);
    add(hour.amounts, record.amounts);
  }
  std::string rows;
  for (const auto& [key, hour] : hours) {
    const auto& [instance, node, start_ms] = key;
    put_number(rows, start_ms);
    put_text(rows, hour.project);
    put_text(rows, instance);
    put_text(rows, node);
    put_amounts(rows, hour.amounts);
  }
  if (!has_staging_) {
    session_.execute("CREATE TEMP TABLE IF NOT EXISTS usage_staging (LIKE " + schema_ +
                     ".hour) ON COMMIT DELETE ROWS");
    has_staging_ = true;
  }
  session_.copy("usage_staging (hour_ms, project_id, instance_id, node_id, " + meter_columns() +
                    ")", rows);
  session_.execute(hour_upsert(schema_));
}

// In few statements: a rebuild writes all that there are.
void UsageStore::put_instances(const UsageState& state, const std::set<std::string>& ids) {
  std::string instances, nodes;
  const auto put = [&](std::string& rows, const std::string& table, const std::string& rest) {
    if (!rows.empty()) {
      session_.execute("INSERT INTO " + schema_ + "." + table + " VALUES " + rows + rest);
    }
    rows.clear();
  };
  const auto put_all = [&] {
    put(instances, "instance",
        " ON CONFLICT (instance_id) DO UPDATE SET name = excluded.name, "
        "ended_ms = excluded.ended_ms");
    put(nodes, "node",
        " ON CONFLICT (node_id) DO UPDATE SET host = excluded.host, "
        "created_ms = excluded.created_ms, ended_ms = excluded.ended_ms");
  };
  for (const std::string& id : ids) {
    const InstanceState* instance = state.find_instance(id);
    if (instance == nullptr || canonical_uuid(id) != id) continue;
    instances += (instances.empty() ? "('" : ", ('") + id + "', '" +
                 uuid_or_none(instance->project_id) + "', " + session_.quote(instance->name) +
                 ", " + std::to_string(instance->created_ms) + ", " +
                 or_null(instance->ended_ms) + "::bigint)";
    for (const NodeState& node : instance->nodes) {
      if (canonical_uuid(node.id) != node.id) continue;
      nodes += (nodes.empty() ? "('" : ", ('") + node.id + "', '" + id + "', " +
               session_.quote(node.host) + ", " + or_null(node.created_ms) + "::bigint, " +
               or_null(node.ended_ms) + "::bigint)";
    }
    if (instances.size() > kMostSql) put_all();
  }
  put_all();
}

void UsageStore::save(const StoredSnapshot& snapshot) {
  session_.execute("INSERT INTO " + schema_ + ".snapshot VALUES (true, " +
                   std::to_string(snapshot.at.position) + ", " + bytea(snapshot.at.hash) + ", '" +
                   format_text() + "', " + bytea(snapshot.data) +
                   ") ON CONFLICT (one) DO UPDATE SET position = excluded.position, "
                   "hash = excluded.hash, format = excluded.format, data = excluded.data");
}

void UsageStore::forget_before(int64_t records_from_ms) {
  if (records_from_ms <= records_from_ms_) return;
  // First, so that nobody takes what is dropped for something that never was.
  session_.query("UPDATE " + schema_ + ".checkpoint SET records_from_ms = $1",
                 {std::to_string(records_from_ms)});
  const PgRows names = session_.query(
      "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
      "WHERE i.inhparent = $1::regclass", {schema_ + ".record"});
  for (int i = 0; i < names.size(); ++i) {
    const std::string name = names.text(i, 0);
    if ((partition_day(name) + 1) * kDayMs > records_from_ms) continue;
    // Late corrections of an old day stay as long as others that were closed with them.
    const std::string table = schema_ + "." + name;
    const PgRows newest = session_.query("SELECT closed_ms FROM " + table +
                                         " ORDER BY position DESC, ordinal DESC LIMIT 1");
    const bool is_old = newest.size() == 0 || newest.number(0, 0) < records_from_ms;
    if (is_old) session_.execute("DROP TABLE " + table);
  }
  days_.clear();
  records_from_ms_ = records_from_ms;
}

}  // namespace trunkline::metering
