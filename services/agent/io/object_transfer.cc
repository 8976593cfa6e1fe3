#include "agent/io/object_transfer.h"

#include <algorithm>
#include <set>

#include "agent/domain/sql_text.h"

namespace trunkline::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kBatch = 100;       // statements a transaction: far below the lock table's room
constexpr size_t kShown = 10;        // disarmed objects that are named
constexpr size_t kLongestName = 100;
constexpr auto kLook = std::chrono::seconds(30);

// Each look gives rows of: what it is, its name, what is to be done with it. $1 is the role, $2
// the heir, $3 the role of what is disarmed, all by oid; $4: the role is to be dropped.

// Functions that run with their owner's rights. Of a user who goes, also those that something
// calls by itself (trigger, index, default, constraint, policy, operator): from now on they run
// with nobody's rights, whoever's table they hang on.
constexpr char kFunctions[] = R"sql(
select 'function', o.identity,
  format('alter routine %1$s security definer; alter routine %1$s owner to %2$s', o.identity,
         $3::oid::regrole)
from (select p.oid from pg_proc p where p.proowner = $1::oid and p.prokind <> 'a'
    and $2::oid is not null and (p.prosecdef or ($4::boolean and exists (
      select from pg_depend d where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
        and d.classid not in ('pg_proc'::regclass, 'pg_rewrite'::regclass))))
  order by p.oid) p, lateral pg_identify_object('pg_proc'::regclass, p.oid, 0) o)sql";

// Views read with their owner's rights. One that is handed over stays armed if it shows nothing
// but what its owner owns or may read.
constexpr char kViews[] = R"sql(
select o.type, o.identity, format('alter table %s owner to %s', o.identity, $3::oid::regrole)
from (select c.oid from pg_class c where c.relowner = $1::oid and c.relkind in ('v', 'm')
    and $2::oid is not null and ($4::boolean
      or exists (select from pg_rewrite r where r.ev_class = c.oid and r.rulename <> '_RETURN')
      or exists (select from pg_rewrite r
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
          and d.refclassid = 'pg_class'::regclass and d.refobjid <> c.oid
        join pg_class t on t.oid = d.refobjid
        where r.ev_class = c.oid and t.relnamespace not in
            ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
          and t.relowner <> $1::oid and not has_table_privilege($1::oid, t.oid, 'select')))
  order by c.oid) v, lateral pg_identify_object('pg_class'::regclass, v.oid, 0) o)sql";

// Rules act with the rights of the table's owner; triggers of others act with those of whoever
// writes, and with the owner's where a foreign key does.
constexpr char kRules[] = R"sql(
select 'rule', quote_ident(r.rulename) || ' on ' || o.identity,
  format('alter table %s disable rule %I', o.identity, r.rulename)
from (select r.rulename, r.ev_class from pg_rewrite r join pg_class c on c.oid = r.ev_class
  where c.relowner = $1::oid and c.relkind in ('r', 'p', 'f') and r.ev_enabled <> 'D'
    and $2::oid is not null and $3::oid is not null and $4::boolean is not null) r,
  lateral pg_identify_object('pg_class'::regclass, r.ev_class, 0) o)sql";

constexpr char kTriggers[] = R"sql(
select 'trigger', quote_ident(t.tgname) || ' on ' || o.identity,
  format('alter table %s disable trigger %I', o.identity, t.tgname)
from (select t.tgname, t.tgrelid from pg_trigger t join pg_class c on c.oid = t.tgrelid
  join pg_proc p on p.oid = t.tgfoid
  where c.relowner = $1::oid and c.relkind in ('r', 'p', 'f') and not t.tgisinternal
    and t.tgenabled <> 'D' and t.tgparentid = 0 and $4::boolean
    and p.proowner not in (10, $1::oid, $2::oid, $3::oid)) t,
  lateral pg_identify_object('pg_class'::regclass, t.tgrelid, 0) o)sql";

// Tables whose own upkeep (indexes, constraints, defaults, policies, statistics) would run a third
// party's functions with the heir's rights.
constexpr char kTables[] = R"sql(
select 'table', o.identity, format('alter table %s owner to %s', o.identity, $3::oid::regrole)
from (select distinct t.relid from (
    select 'pg_class'::regclass as classid, indexrelid as objid, indrelid as relid from pg_index
    union all select 'pg_constraint'::regclass, oid, conrelid from pg_constraint
    union all select 'pg_attrdef'::regclass, oid, adrelid from pg_attrdef
    union all select 'pg_policy'::regclass, oid, polrelid from pg_policy
    union all select 'pg_statistic_ext'::regclass, oid, stxrelid from pg_statistic_ext) t
  join pg_class c on c.oid = t.relid and c.relowner = $1::oid
  join pg_depend d on d.classid = t.classid and d.objid = t.objid
  left join pg_operator op on d.refclassid = 'pg_operator'::regclass and op.oid = d.refobjid
  join pg_proc p on p.oid = case when d.refclassid = 'pg_proc'::regclass then d.refobjid
                                 else op.oprcode end
  where $4::boolean and p.proowner not in (10, $1::oid, $2::oid, $3::oid)) t,
  lateral pg_identify_object('pg_class'::regclass, t.relid, 0) o)sql";

// All else that it owns, tables first: their sequences go with them. For an extension there is no
// statement.
constexpr char kRest[] = R"sql(
select o.type, o.identity, format('alter %s %s owner to %s', case
    when s.classid = 'pg_class'::regclass then 'table'
    when o.type in ('function', 'procedure') then 'routine'
    when o.type = 'statistics object' then 'statistics' else o.type end,
  o.identity, $2::oid::regrole)
from (select s.classid, s.objid from pg_shdepend s
    left join pg_class c on s.classid = 'pg_class'::regclass and c.oid = s.objid
  where s.dbid = (select oid from pg_database where datname = current_database())
    and s.refclassid = 'pg_authid'::regclass and s.refobjid = $1::oid
    and s.deptype = 'o' and s.objsubid = 0 and $3::oid is not null and $4::boolean is not null
    and s.classid not in ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass,
                          'pg_extension'::regclass)
    and not (coalesce(c.relkind, 'r') = 'S' and exists (select from pg_depend d where
      d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
      and d.refclassid = 'pg_class'::regclass))
  order by coalesce(c.relkind in ('r', 'p', 'f'), false) desc, s.classid, s.objid) s,
  lateral pg_identify_object(s.classid, s.objid, 0) o
where o.identity is not null)sql";

std::string oid_of(PgConnection& there, const std::string& role) {
  const PgRows rows = there.exec("select oid from pg_roles where rolname = $1", {role});
  if (rows.empty()) throw PgError("there is no role " + role, "42704");
  return *rows[0].at(0);
}

class Transfer {
 public:
  Transfer(PgConnection& there, LockBreaker& locks, const std::string& role,
           const std::string& heir, TransferKind kind, Clock::time_point until)
      : there_(there),
        locks_(locks),
        values_{oid_of(there, role), oid_of(there, heir), oid_of(there, kDisarmedRole),
                kind == TransferKind::left_behind ? "true" : "false"},
        until_(until) {}

  TransferResult run() {
    there_.exec("set lock_timeout = '2s'; set synchronous_commit = local");
    for (const char* look : {kViews, kFunctions, kRules, kTriggers, kTables}) {
      if (!go(look, true)) return std::move(result_);
    }
    go(kRest, false);
    return std::move(result_);
  }

 private:
  // False if something of it is left.
  bool go(const char* look, bool disarms) {
    const std::string sql = std::string(look) + " limit " + std::to_string(kBatch * 10);
    std::set<std::string> tried;
    const size_t left = result_.left.size();
    while (true) {
      std::vector<PgRow> fresh;
      for (PgRow& row : there_.exec(sql, values_, kLook)) {
        if (tried.insert(*row.at(2)).second) fresh.push_back(std::move(row));
      }
      if (fresh.empty()) return result_.left.size() == left;
      for (size_t at = 0; at < fresh.size(); at += kBatch) {
        if (Clock::now() >= until_) {
          result_.more = true;
          return false;
        }
        const size_t end = std::min(at + kBatch, fresh.size());
        move({fresh.begin() + static_cast<ptrdiff_t>(at),
              fresh.begin() + static_cast<ptrdiff_t>(end)},
             disarms);
      }
    }
  }

  void move(const std::vector<PgRow>& batch, bool disarms) {
    std::string all = "begin";
    for (const PgRow& row : batch) all += "; " + *row.at(2);
    try {
      locks_.run(there_, all + "; commit");
      for (const PgRow& row : batch) moved(row, disarms);
      return;
    } catch (const PgError& e) {
      if (e.sqlstate().empty()) throw;
    }
    for (const PgRow& row : batch) {
      try {
        locks_.run(there_, "begin; " + *row.at(2) + "; commit");
        moved(row, disarms);
      } catch (const PgError& e) {
        if (e.sqlstate().empty()) throw;
        result_.left.push_back(name_of(row) + ": " + std::string(e.what()).substr(0, 150));
      }
    }
  }

  void moved(const PgRow& row, bool disarms) {
    ++result_.moved;
    if (!disarms) return;
    ++result_.disarmed_count;
    if (result_.disarmed.size() < kShown) result_.disarmed.push_back(name_of(row));
  }
  static std::string name_of(const PgRow& row) {
    return (*row.at(0) + " " + *row.at(1)).substr(0, kLongestName);
  }

  PgConnection& there_;
  LockBreaker& locks_;
  std::vector<std::string> values_;
  const Clock::time_point until_;
  TransferResult result_;
};

}  // namespace

void ensure_disarmed_role(PgConnection& sql) {
  const std::string role = kDisarmedRole;
  if (sql.exec("select from pg_roles where rolname = $1", {role}).empty()) {
    sql.exec("create role " + role + " nologin");
  }
  sql.exec("alter role " + role +
           " with nologin nosuperuser nocreaterole nocreatedb noreplication nobypassrls inherit"
           " password null");
  for (const PgRow& row : sql.exec("select g.rolname from pg_auth_members x join pg_roles g on"
                                   " g.oid = x.roleid where x.member = $1::regrole",
                                   {role})) {
    sql.exec("revoke " + quote_identifier(*row.at(0)) + " from " + role + " cascade");
  }
}

TransferResult transfer_objects(PgConnection& there, LockBreaker& locks, const std::string& role,
                                const std::string& heir, TransferKind kind,
                                Clock::time_point until) {
  return Transfer(there, locks, role, heir, kind, until).run();
}

}  // namespace trunkline::agent
