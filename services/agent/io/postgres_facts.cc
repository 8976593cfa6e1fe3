#include "agent/io/postgres_facts.h"

#include <nlohmann/json.hpp>

#include "agent/domain/postgres_settings.h"
#include "agent/domain/sql_text.h"
#include "base/ids.h"

namespace trunkline::agent {
namespace {

// A WAL receiver calls itself streaming before it has found out that it cannot: it counts when it
// has received something or has lived for a while.
// One row; each value is a plain number or word, lists are JSON. Of functions alone, for a relation
// would need a lock, and the room for locks is the tenants' to fill. Who may replicate is us: the
// roles of tenants cannot.
constexpr char kFactsSql[] = R"sql(
with a as materialized (select * from pg_stat_get_activity(null)),
  w as materialized (select * from pg_stat_get_wal_receiver() where pid is not null)
select r.recovery,
  case when r.recovery
    then coalesce((select received_tli from w), (select timeline_id from pg_control_checkpoint()))
    else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end,
  case when r.recovery
    then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn
    else pg_current_wal_flush_lsn() - '0/0'::pg_lsn end,
  case when r.recovery then pg_last_wal_replay_lsn() - '0/0'::pg_lsn else 0 end,
  (select w.status from w join a using (pid)
    where w.written_lsn > '0/0' or clock_timestamp() - a.backend_start > interval '500 ms'),
  current_setting('trunkline.config', true),
  current_setting('synchronous_standby_names'),
  (select json_agg(json_build_array(
              a.application_name, s.state, s.sync_state,
              coalesce(s.flush_lsn - '0/0'::pg_lsn, 0),
              coalesce((extract(epoch from s.reply_time) * 1000000)::bigint, 0)))
     from pg_stat_get_wal_senders() s join a using (pid)),
  (select json_agg(json_build_array(slot_name, coalesce(wal_status, '')))
     from pg_get_replication_slots() where slot_type = 'physical' and not temporary),
  (select count(*) from a where backend_type = 'client backend' and usesysid <> 10),
  (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint,
  (select pid from a where backend_type = 'walreceiver' limit 1),
  r.recovery and (pg_last_wal_receive_lsn() is not null or exists (
    select from a where backend_type = 'startup'
      and wait_event in ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval'))),
  (select (extract(epoch from clock_timestamp() - last_msg_receipt_time) * 1000)::bigint from w),
  r.recovery and exists (
    select from a where backend_type = 'startup' and (wait_event_type in ('Lock', 'BufferPin')
      or wait_event like 'RecoveryConflict%')),
  case when r.recovery then 0 else pg_current_wal_insert_lsn() - '0/0'::pg_lsn end,
  exists (select from a where lower(wait_event)
    in ('walsync', 'walwrite', 'walinitsync', 'walinitwrite')),
  r.recovery and pg_get_wal_replay_pause_state() = 'paused'
from (select pg_is_in_recovery() as recovery) r)sql";

uint64_t number(const std::optional<std::string>& text) {
  return text ? std::strtoull(text->c_str(), nullptr, 10) : 0;
}

}  // namespace

PostgresFacts read_facts(PgConnection& connection, std::chrono::milliseconds deadline) {
  const PgRows rows = connection.exec_prepared("facts", kFactsSql, deadline);
  if (rows.size() != 1 || rows[0].size() != 18) throw PgError("facts of an unknown shape", "");
  const PgRow& row = rows[0];
  PostgresFacts facts;
  facts.in_recovery = row[0].value_or("") == "t";
  facts.timeline = static_cast<uint32_t>(number(row[1]));
  facts.flush_lsn = number(row[2]);
  facts.replay_lsn = number(row[3]);
  facts.wal_receiver_streaming = row[4].value_or("") == "streaming";
  facts.config_mark = row[5].value_or("");
  facts.sync_names = row[6].value_or("");
  if (row[7]) {
    for (const auto& standby : nlohmann::json::parse(*row[7])) {
      if (!is_uuid(standby[0].get<std::string>())) continue;  // a base backup
      facts.standbys.push_back({standby[0], standby[1], standby[2], standby[3].get<uint64_t>(),
                                standby[4].get<int64_t>()});
    }
  }
  if (row[8]) {
    for (const auto& slot : nlohmann::json::parse(*row[8])) {
      const std::string node = node_of_slot(slot[0].get<std::string>());
      if (!node.empty()) facts.slots.push_back({slot[0], node, slot[1] == "lost"});
    }
  }
  facts.connections = static_cast<uint32_t>(number(row[9]));
  facts.started_unix_us = static_cast<int64_t>(number(row[10]));
  facts.receiver_pid = static_cast<int32_t>(number(row[11]));
  facts.end_known = row[12].value_or("") == "t";
  if (row[13]) facts.upstream_silent_ms = std::strtoll(row[13]->c_str(), nullptr, 10);
  facts.replay_blocked = row[14].value_or("") == "t";
  facts.insert_lsn = number(row[15]);
  facts.wal_waited_for = row[16].value_or("") == "t";
  facts.replay_paused = row[17].value_or("") == "t";
  return facts;
}

bool read_restart_pending(PgConnection& connection) {
  return connection.exec("select exists (select from pg_settings where pending_restart"
                   " and name <> 'shared_preload_libraries')")
             .at(0)
             .at(0)
             .value_or("") == "t";
}

void ensure_rewind_grants(PgConnection& connection) {
  const auto granted = connection.exec(
      "select has_function_privilege($1, 'pg_read_binary_file(text)', 'execute')"
      " and has_database_privilege($1, 'postgres', 'connect')",
      {kReplicatorRole});
  if (granted.at(0).at(0).value_or("") == "t") return;
  connection.exec("begin; set local synchronous_commit = local;\n" + rewind_grants_sql() +
                  "commit");
}

std::vector<DatabaseSize> read_database_sizes(PgConnection& connection) {
  std::vector<DatabaseSize> out;
  for (const auto& row : connection.exec(
           "select m.id, d.datname, pg_database_size(d.oid) from pg_database d"
           " join trunkline.managed m on m.kind = 'database' and m.name = d.datname order by 2")) {
    out.push_back({row[0].value_or(""), row[1].value_or(""), number(row[2])});
  }
  return out;
}

}  // namespace trunkline::agent
