#include "agent/io/objects_apply.h"

#include <spdlog/spdlog.h>

#include <chrono>

#include "agent/domain/sql_text.h"
#include "agent/io/pg_connection.h"

namespace trunkline::agent {
namespace {

constexpr auto kStatementDeadline = std::chrono::seconds(60);

// What is managed is declared again to whichever node is primary, so these commits need not wait
// for standbys: a standby that is away must not keep a user from being made.
constexpr char kSessionSql[] =
    "set log_statement = none; set log_min_error_statement = panic;"
    " set log_min_duration_statement = -1; set log_min_duration_sample = -1; set log_duration = "
    "off;"
    " set track_activities = off; set synchronous_commit = local; set lock_timeout = '5s';"
    " set statement_timeout = '60s'; set password_encryption = 'scram-sha-256'";

constexpr char kLockSql[] = "select pg_advisory_lock(5461002)";

class Applier {
 public:
  // A statement of an agent that was killed goes on to its end: until then nobody else looks or
  // changes anything.
  explicit Applier(ServerAddress server) : server_(std::move(server)), sql_(open("postgres")) {
    sql_.exec(kLockSql, {}, kStatementDeadline);
  }

  SeenObjects look() {
    SeenObjects seen;
    for (auto& r :
         sql_.exec("select a.rolname, a.rolcanlogin, a.rolsuper, a.rolcreaterole, a.rolcreatedb,"
                   " a.rolreplication, a.rolbypassrls, a.rolconnlimit <> -1 or "
                   "coalesce(a.rolvaliduntil, 'infinity') <> 'infinity',"
                   " coalesce(a.rolpassword, '') from pg_authid a where a.rolname !~ '^pg_'")) {
      seen.roles.push_back({*r[0],
                            *r[1] == "t",
                            *r[2] == "t",
                            *r[3] == "t",
                            *r[4] == "t",
                            *r[5] == "t",
                            *r[6] == "t",
                            *r[7] == "t",
                            *r[8],
                            {}});
    }
    for (auto& r :
         sql_.exec("select m.rolname, g.rolname from pg_auth_members x"
                   " join pg_roles m on m.oid = x.member join pg_roles g on g.oid = x.roleid"
                   " where (g.rolname ~ '^(pg_|trunkline_)' or g.rolname = 'postgres')"
                   " and m.rolname !~ '^pg_'")) {
      for (auto& role : seen.roles) {
        if (role.name == *r[0]) role.dangerous_memberships.push_back(*r[1]);
      }
    }
    for (auto& r : sql_.exec("select d.datname, o.rolname, exists (select from"
                             " aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a"
                             " where a.grantee = 0 and a.privilege_type = 'CONNECT'),"
                             " not d.datallowconn or d.datconnlimit <> -1 or d.datistemplate"
                             " from pg_database d join pg_roles o on o.oid = d.datdba"
                             " where d.datname not in ('template0', 'template1', 'postgres')")) {
      seen.databases.push_back({*r[0], *r[1], *r[2] == "t", *r[3] == "t"});
    }
    for (auto& r : sql_.exec("select kind, id, name from trunkline.managed")) {
      seen.managed.push_back({*r[0] == "database", *r[1], *r[2]});
    }
    return seen;
  }

  void perform(const ObjectStep& step) {
    const std::string name = quote_identifier(step.name);
    const std::string other = quote_identifier(step.other);
    switch (step.action) {
      case ObjectAction::create_role:
        run("begin; create role " + name + attributes(step) + "; " +
            record("user", step, step.name) + "; commit");
        break;
      case ObjectAction::alter_role:
        run("alter role " + name + attributes(step));
        break;
      case ObjectAction::revoke_role:
        run("revoke " + other + " from " + name + " cascade");
        break;
      case ObjectAction::rename_role:
        run("begin; alter role " + name + " rename to " + other + "; " +
            record("user", step, step.other) + "; commit");
        break;
      case ObjectAction::create_database:
        run(record("database", step, step.name));
        run("create database " + name + " owner " + other);
        run("revoke connect, temporary on database " + name + " from public");
        break;
      case ObjectAction::own_database:
        run("alter database " + name + " owner to " + other);
        break;
      case ObjectAction::close_to_public:
        run("revoke connect, temporary on database " + name + " from public");
        break;
      case ObjectAction::open_database:
        run("alter database " + name +
            " with allow_connections true connection limit -1 is_template false");
        break;
      case ObjectAction::rename_database:
        rename_database(step);
        break;
      case ObjectAction::drop_database:
        if (!step.name.empty()) {
          run("alter database " + name + " is_template false");
          run("drop database if exists " + name + " with (force)");
        }
        run(forget(step));
        break;
      case ObjectAction::drop_role:
        if (!step.name.empty()) drop_role(step.name);
        run(forget(step));
        break;
    }
  }

 private:
  PgConnection open(const std::string& database) {
    PgConnection connection(server_.socket_dir, server_.server_user, server_.port, database,
                            std::chrono::seconds(5));
    connection.exec(kSessionSql);
    return connection;
  }

  // A failed transaction block must not swallow the statements after it.
  void run(const std::string& sql) {
    try {
      sql_.exec(sql, {}, kStatementDeadline);
    } catch (const PgError& e) {
      if (!e.sqlstate().empty()) sql_.exec("rollback");
      throw;
    }
  }

  static std::string attributes(const ObjectStep& step) {
    return " with login nosuperuser nocreaterole nocreatedb noreplication nobypassrls inherit"
           " connection limit -1 valid until 'infinity' password " +
           quote_literal(step.verifier);
  }
  static std::string record(const char* kind, const ObjectStep& step, const std::string& name) {
    return std::string("insert into trunkline.managed (kind, id, name) values ('") + kind + "', " +
           quote_literal(step.object_id) + ", " + quote_literal(name) +
           ") on conflict (id) do update set name = excluded.name";
  }
  static std::string forget(const ObjectStep& step) {
    return "delete from trunkline.managed where id = " + quote_literal(step.object_id);
  }

  // Connections come back as fast as they are ended, so the door is shut first. If this is
  // interrupted, the next look finds the database closed and opens it.
  void rename_database(const ObjectStep& step) {
    const std::string name = quote_identifier(step.name);
    run("alter database " + name + " with allow_connections false");
    try {
      for (int i = 0;; ++i) {
        run("select pg_terminate_backend(pid, 1000) from pg_stat_activity where datname = " +
            quote_literal(step.name) + " and pid <> pg_backend_pid()");
        try {
          run("begin; alter database " + name + " rename to " + quote_identifier(step.other) +
              "; " + record("database", step, step.other) + "; commit");
          break;
        } catch (const PgError& e) {
          if (e.sqlstate() != "55006" || i >= 5) throw;  // still in use
        }
      }
    } catch (...) {
      run("alter database " + name + " with allow_connections true");
      throw;
    }
    run("alter database " + quote_identifier(step.other) + " with allow_connections true");
  }

  // What the role owns in a database goes to that database's owner.
  void drop_role(const std::string& role) {
    const std::string name = quote_identifier(role);
    run("alter role " + name + " nologin");
    run("select pg_terminate_backend(pid, 1000) from pg_stat_activity where usename = " +
        quote_literal(role));
    for (const auto& row : sql_.exec(
             "select d.datname, o.rolname, d.datallowconn from pg_database d join pg_roles o on"
             " o.oid = d.datdba where d.datname <> 'template0'")) {
      if (*row[2] != "t")
        run("alter database " + quote_identifier(*row[0]) + " with allow_connections true");
      PgConnection there = open(*row[0]);
      const std::string heir = *row[1] == role ? "postgres" : *row[1];
      there.exec("reassign owned by " + name + " to " + quote_identifier(heir), {},
                 kStatementDeadline);
      there.exec("drop owned by " + name + " cascade", {}, kStatementDeadline);
    }
    run("drop role if exists " + name);
  }

  const ServerAddress server_;
  PgConnection sql_;
};

}  // namespace

ObjectsResult apply_objects(const ServerAddress& server, const ObjectsSpec& wanted) {
  Applier applier(server);
  ObjectsPlan plan = plan_objects(wanted, applier.look());
  ObjectsResult result;
  result.failures = std::move(plan.failures);
  for (const ObjectStep& step : plan.steps) {
    try {
      applier.perform(step);
      ++result.changes;
      spdlog::info("{} {} done", to_text(step.action), step.object_id);
    } catch (const PgError& e) {
      if (e.sqlstate().empty()) throw;
      result.failures.push_back({step.object_id, "sql_" + e.sqlstate(), e.what()});
      spdlog::warn("{} {} failed: {}", to_text(step.action), step.object_id, e.what());
    }
  }
  return result;
}

}  // namespace trunkline::agent
