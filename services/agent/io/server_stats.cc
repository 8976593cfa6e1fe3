#include "agent/io/server_stats.h"

#include <chrono>
#include <cstdlib>
#include <map>
#include <string>

namespace trunkline::agent {
namespace {

constexpr std::chrono::seconds kDeadline{2};

// One row; then one a database.
constexpr char kServerSql[] = R"sql(
select r.recovery,
  case when r.recovery
    then coalesce((select received_tli from pg_stat_wal_receiver),
                  (select timeline_id from pg_control_checkpoint()))
    else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end,
  case when r.recovery then 0 else pg_current_wal_flush_lsn() - '0/0'::pg_lsn end,
  coalesce((select extract(epoch from stats_reset)::text from pg_stat_bgwriter), '-'),
  coalesce((select extract(epoch from stats_reset)::text from pg_stat_archiver), '-')
from (select pg_is_in_recovery() as recovery) r)sql";

constexpr char kTransactionsSql[] = R"sql(
select datid, coalesce(extract(epoch from stats_reset)::text, '-'), xact_commit + xact_rollback
from pg_stat_database
where datid <> 0 and datname not in ('postgres', 'template0', 'template1'))sql";

constexpr char kActivitySql[] = R"sql(
select current_setting('max_connections'),
  count(*) filter (where state = 'active'),
  count(*) filter (where state = 'idle'),
  count(*) filter (where state like 'idle in transaction%'),
  count(*) filter (where wait_event_type = 'Lock'),
  coalesce(max(extract(epoch from clock_timestamp() - xact_start) * 1000), 0)::bigint,
  case when pg_is_in_recovery()
    then greatest(pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn(), 0) else 0 end,
  case when not pg_is_in_recovery() then 0
    when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
    else coalesce((extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())
                   * 1000)::bigint, -1) end,
  (select coalesce(max(case when pg_is_in_recovery() then 0
      else pg_current_wal_lsn() - restart_lsn end), 0)::bigint from pg_replication_slots),
  (select coalesce((b ->> 'checkpoints_timed')::bigint + (b ->> 'checkpoints_req')::bigint, 0)
     from (select to_jsonb(w) as b from pg_stat_bgwriter w) x),
  (select max(age(datfrozenxid)) from pg_database where datname <> 'template0'),
  pg_is_in_recovery()
from pg_stat_activity where backend_type = 'client backend' and usename <> 'postgres')sql";

constexpr char kDatabasesSql[] = R"sql(
select coalesce(m.id::text, ''), s.datname, pg_database_size(s.datid), s.numbackends,
  s.xact_commit, s.xact_rollback, s.blks_read, s.blks_hit, s.tup_returned, s.tup_fetched,
  s.tup_inserted, s.tup_updated, s.tup_deleted, s.conflicts, s.temp_bytes, s.deadlocks
from pg_stat_database s
left join trunkline.managed m on m.kind = 'database' and m.name = s.datname
where s.datid <> 0 and s.datname not in ('postgres', 'template0', 'template1') order by 2)sql";

constexpr char kLocksSql[] = R"sql(
select mode, count(*), count(*) filter (where not granted)
from pg_locks where pid <> pg_backend_pid() group by 1 order by 1)sql";

// Without their texts, which the server keeps in one file, as long as the statements were, and
// reads as a whole.
constexpr char kStatementsSql[] = R"sql(
select d.datname, s.userid, s.dbid, s.queryid, s.calls, s.total_exec_time, s.mean_exec_time, s.rows
from trunkline.pg_stat_statements(false) s join pg_database d on d.oid = s.dbid
where d.datname <> 'postgres' and s.userid <> 10 and s.queryid is not null
order by s.total_exec_time desc limit 20)sql";

constexpr char kTextBytesSql[] =
    "select size from pg_stat_file('pg_stat_tmp/pgss_query_texts.stat', true)";

// By the ids of the statements before: "(userid,dbid,queryid)".
constexpr char kTextsSql[] = R"sql(
select format('(%s,%s,%s)', userid, dbid, queryid), left(query, 1000)
from trunkline.pg_stat_statements(true)
where format('(%s,%s,%s)', userid, dbid, queryid) = any($1::text[]))sql";

// What is read of texts at once; and what of them is kept before all statements are forgotten.
constexpr uint64_t kMostTextBytes = 4 << 20;
constexpr uint64_t kTextBytesKept = 32 << 20;

uint64_t number(const std::optional<std::string>& text) {
  return text && !text->starts_with('-') ? std::strtoull(text->c_str(), nullptr, 10) : 0;
}
int64_t whole(const std::optional<std::string>& text) {
  return text ? std::strtoll(text->c_str(), nullptr, 10) : 0;
}
double real(const std::optional<std::string>& text) {
  return text ? std::strtod(text->c_str(), nullptr) : 0;
}

// By what the texts are asked for: "(userid,dbid,queryid)".
using StatementsById = std::map<std::string, v1::StatementStats*>;

StatementsById read_statements(PgConnection& connection, v1::ServerStats* out) {
  StatementsById by_id;
  for (const auto& r : connection.exec_prepared("statements", kStatementsSql, kDeadline)) {
    v1::StatementStats* entry = out->add_statements();
    entry->set_database(r.at(0).value_or(""));
    entry->set_query_id(whole(r.at(3)));
    entry->set_calls(number(r.at(4)));
    entry->set_total_ms(real(r.at(5)));
    entry->set_mean_ms(real(r.at(6)));
    entry->set_rows(number(r.at(7)));
    by_id["(" + r.at(1).value_or("") + "," + r.at(2).value_or("") + "," + r.at(3).value_or("") +
          ")"] = entry;
  }
  return by_id;
}

uint64_t bytes_of_texts(PgConnection& connection) {
  const auto bytes = connection.exec_prepared("text_bytes", kTextBytesSql, kDeadline);
  return bytes.empty() ? 0 : number(bytes.at(0).at(0));
}

void read_texts(PgConnection& connection, const StatementsById& statements) {
  std::string ids;
  for (const auto& [id, entry] : statements) ids += (ids.empty() ? "\"" : ",\"") + id + "\"";
  for (const auto& r : connection.exec(kTextsSql, {"{" + ids + "}"}, kDeadline)) {
    const auto entry = statements.find(r.at(0).value_or(""));
    if (entry != statements.end()) entry->second->set_query(r.at(1).value_or(""));
  }
}

uint64_t wal_directory_mb(PgConnection& connection) {
  const auto rows = connection.exec_prepared(
      "wal_dir", "select coalesce(sum(size), 0) from pg_ls_waldir()", kDeadline);
  return number(rows.at(0).at(0)) >> 20;
}

void read_activity(PgConnection& connection, v1::ServerStats* out) {
  const PgRow row = connection.exec_prepared("activity", kActivitySql, kDeadline).at(0);
  out->set_connections_max(static_cast<uint32_t>(number(row.at(0))));
  out->set_connections_active(static_cast<uint32_t>(number(row.at(1))));
  out->set_connections_idle(static_cast<uint32_t>(number(row.at(2))));
  out->set_connections_idle_in_transaction(static_cast<uint32_t>(number(row.at(3))));
  out->set_connections_waiting(static_cast<uint32_t>(number(row.at(4))));
  out->set_longest_transaction_ms(number(row.at(5)));
  out->set_replication_lag_bytes(number(row.at(6)));
  out->set_replication_lag_ms(whole(row.at(7)));
  out->set_slot_retained_bytes(number(row.at(8)));
  out->set_checkpoints(number(row.at(9)));
  out->set_xid_age(number(row.at(10)));
  out->set_primary(row.at(11).value_or("") == "f");
}

void read_locks(PgConnection& connection, v1::ServerStats* out) {
  uint32_t waiting = 0;
  for (const auto& lock : connection.exec_prepared("locks", kLocksSql, kDeadline)) {
    v1::LockCount* entry = out->add_locks();
    entry->set_mode(lock.at(0).value_or(""));
    entry->set_count(static_cast<uint32_t>(number(lock.at(1))));
    waiting += static_cast<uint32_t>(number(lock.at(2)));
  }
  out->set_locks_not_granted(waiting);
}

void read_databases(PgConnection& connection, v1::ServerStats* out) {
  for (const auto& r : connection.exec_prepared("databases", kDatabasesSql, kDeadline)) {
    v1::DatabaseStats* entry = out->add_databases();
    entry->set_database_id(r.at(0).value_or(""));
    entry->set_name(r.at(1).value_or(""));
    entry->set_size_bytes(number(r.at(2)));
    entry->set_connections(static_cast<uint32_t>(number(r.at(3))));
    entry->set_commits(number(r.at(4)));
    entry->set_rollbacks(number(r.at(5)));
    entry->set_blocks_read(number(r.at(6)));
    entry->set_blocks_hit(number(r.at(7)));
    entry->set_rows_returned(number(r.at(8)));
    entry->set_rows_fetched(number(r.at(9)));
    entry->set_rows_inserted(number(r.at(10)));
    entry->set_rows_updated(number(r.at(11)));
    entry->set_rows_deleted(number(r.at(12)));
    entry->set_conflicts(number(r.at(13)));
    entry->set_temp_bytes(number(r.at(14)));
    entry->set_deadlocks(number(r.at(15)));
  }
}

}  // namespace

void prepare_stats_session(PgConnection& connection) {
  connection.exec(
      "set statement_timeout = '1500ms'; set lock_timeout = '200ms';"
      " set synchronous_commit = local; set log_min_duration_statement = -1; set jit = off",
      {}, kDeadline);
}

ServerReading read_server(PgConnection& connection) {
  const PgRows rows = connection.exec_prepared("server", kServerSql, kDeadline);
  ServerReading out;
  const PgRow& row = rows.at(0);
  out.primary = row.at(0).value_or("") == "f";
  out.timeline = static_cast<uint32_t>(number(row.at(1)));
  out.flush_lsn = number(row.at(2));
  out.bgwriter_reset = row.at(3).value_or("");
  out.archiver_reset = row.at(4).value_or("");
  for (const auto& database :
       connection.exec_prepared("transactions", kTransactionsSql, kDeadline)) {
    out.databases[static_cast<uint32_t>(number(database.at(0)))] = {database.at(1).value_or(""),
                                                                   number(database.at(2))};
  }
  return out;
}

StatementsExtension find_statements(PgConnection& connection) {
  const auto rows = connection.exec(
      "select current_setting('shared_preload_libraries') ~ 'pg_stat_statements',"
      " exists (select from pg_extension where extname = 'pg_stat_statements')",
      {}, kDeadline);
  return {rows.at(0).at(0).value_or("") == "t", rows.at(0).at(1).value_or("") == "t"};
}

void create_statements(PgConnection& connection) {
  connection.exec("create extension if not exists pg_stat_statements schema trunkline", {},
                  kDeadline);
}

std::vector<LostPart> read_server_stats(PgConnection& connection, bool statements,
                                        v1::ServerStats* out) {
  std::vector<LostPart> lost;
  const auto read = [&](const char* part, const auto& reader) {
    try {
      reader();
    } catch (const PgError& e) {
      if (e.sqlstate().empty()) throw;
      lost.push_back({part, e.what()});
    }
  };
  read("activity", [&] { read_activity(connection, out); });
  if (!lost.empty()) return lost;
  read("wal_directory", [&] { out->set_wal_dir_mb(wal_directory_mb(connection)); });
  read("locks", [&] { read_locks(connection, out); });
  read("databases", [&] { read_databases(connection, out); });
  if (!statements) return lost;
  StatementsById by_id;
  read("statements", [&] { by_id = read_statements(connection, out); });
  uint64_t text_bytes = 0;
  read("texts", [&] {
    text_bytes = bytes_of_texts(connection);
    if (text_bytes <= kMostTextBytes && !by_id.empty()) read_texts(connection, by_id);
  });
  if (text_bytes > kTextBytesKept) {
    read("texts", [&] {
      connection.exec("select trunkline.pg_stat_statements_reset()", {}, kDeadline);
    });
  }
  return lost;
}

}  // namespace trunkline::agent
