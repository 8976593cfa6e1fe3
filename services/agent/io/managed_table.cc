#include "agent/io/managed_table.h"

#include <cstdlib>

#include "agent/domain/sql_text.h"
#include "base/digest.h"
#include "base/ids.h"

namespace trunkline::agent {
namespace {

constexpr char kUndefinedColumn[] = "42703";

constexpr char kMigrateSql[] =
    "begin; alter table trunkline.managed add column owner_id uuid, add column applied text,"
    " add column seen boolean not null default false, add column anew bigint not null default 0,"
    " drop constraint managed_pkey, add primary key (kind, id);"
    " create unique index managed_id on trunkline.managed (id); commit";

PgRows read_rows(PgConnection& sql) {
  return sql.exec("select kind, id, name, coalesce(owner_id::text, ''), coalesce(applied, ''),"
                  " seen, anew from trunkline.managed");
}

std::string key_condition(const ObjectKey& key) {
  return std::string(" where kind = '") + to_text(key.kind) + "' and id = " + quote_literal(key.id);
}

std::string record_sql(const ObjectStep& step, const std::string& name,
                       const std::string& applied) {
  const std::string value = applied.empty() ? "null" : quote_literal(applied);
  return std::string("insert into trunkline.managed as m (kind, id, name, applied) values ('") +
         to_text(step.key.kind) + "', " + quote_literal(step.key.id) + ", " + quote_literal(name) +
         ", " + value + ") on conflict (kind, id) do update set name = excluded.name,"
         " applied = coalesce(excluded.applied, m.applied)";
}

}  // namespace

std::vector<SeenRole> look_at_roles(PgConnection& sql) {
  std::vector<SeenRole> out;
  for (const auto& r :
       sql.exec("select a.rolname, a.rolcanlogin, a.rolsuper, a.rolcreaterole, a.rolcreatedb,"
                " a.rolreplication, a.rolbypassrls, a.rolconnlimit <> -1 or "
                "coalesce(a.rolvaliduntil, 'infinity') <> 'infinity',"
                " coalesce(left(a.rolpassword, " + std::to_string(kMostVerifierBytes + 1) +
                "), '') from pg_authid a where a.rolname !~ '^pg_'")) {
    out.push_back({*r[0], *r[1] == "t", *r[2] == "t", *r[3] == "t", *r[4] == "t", *r[5] == "t",
                   *r[6] == "t", *r[7] == "t", *r[8], {}});
  }
  for (const auto& r :
       sql.exec("select m.rolname, g.rolname from pg_auth_members x"
                " join pg_roles m on m.oid = x.member join pg_roles g on g.oid = x.roleid"
                " where (g.rolname ~ '^(pg_|trunkline_)' or g.rolname = 'postgres')"
                " and m.rolname !~ '^pg_'")) {
    for (auto& role : out) {
      if (role.name == *r[0]) role.dangerous_memberships.push_back(*r[1]);
    }
  }
  return out;
}

std::vector<SeenDatabase> look_at_databases(PgConnection& sql) {
  std::vector<SeenDatabase> out;
  for (const auto& r : sql.exec("select d.datname, o.rolname, exists (select from"
                                " aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a"
                                " where a.grantee = 0 and a.privilege_type = 'CONNECT'),"
                                " not d.datallowconn or d.datconnlimit <> -1 or d.datistemplate"
                                " from pg_database d join pg_roles o on o.oid = d.datdba"
                                " where d.datname not in ('template0', 'template1', 'postgres')")) {
    out.push_back({*r[0], *r[1], *r[2] == "t", *r[3] == "t"});
  }
  return out;
}

std::vector<ManagedRow> read_managed(PgConnection& sql) {
  PgRows rows;
  try {
    rows = read_rows(sql);
  } catch (const PgError& e) {
    if (e.sqlstate() != kUndefinedColumn) throw;
    try {
      sql.exec(kMigrateSql);
    } catch (const PgError& again) {
      if (!again.sqlstate().empty()) sql.exec("rollback");
      throw;
    }
    rows = read_rows(sql);
  }
  std::vector<ManagedRow> out;
  for (const auto& r : rows) {
    const ObjectKind kind = *r[0] == "database" ? ObjectKind::database : ObjectKind::user;
    out.push_back({{kind, *r[1]}, *r[2], *r[3], *r[4], *r[5] == "t",
                   std::strtoull(r[6]->c_str(), nullptr, 10)});
  }
  return out;
}

std::string record_user_sql(const ObjectStep& step, const std::string& name) {
  return record_sql(step, name, step.verifier.empty() ? "" : applied_digest(step.verifier));
}
std::string record_database_sql(const ObjectStep& step, const std::string& name) {
  return record_sql(step, name, "");
}

std::string applied_sql(const ObjectStep& step) {
  return "update trunkline.managed set applied = " + quote_literal(applied_digest(step.verifier)) +
         key_condition(step.key);
}

std::string made_sql(const ObjectStep& step) {
  const std::string owner = is_uuid(step.other_id) ? quote_literal(step.other_id) : "null";
  return "update trunkline.managed set seen = true, owner_id = " + owner +
         ", anew = greatest(anew, " + std::to_string(step.anew) + ")" + key_condition(step.key);
}

std::string forget_sql(const ObjectKey& key) {
  return "delete from trunkline.managed" + key_condition(key);
}

void allow_one_id_for_two_kinds(PgConnection& sql) {
  sql.exec("drop index if exists trunkline.managed_id");
}

}  // namespace trunkline::agent
