#include "agent/io/objects_apply.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <stdexcept>

#include "agent/domain/sql_text.h"
#include "agent/io/lock_breaker.h"
#include "agent/io/managed_table.h"
#include "agent/io/object_transfer.h"
#include "agent/io/pg_connection.h"
#include "base/clock.h"
#include "runtime/random.h"

namespace trunkline::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kStatementDeadline = std::chrono::seconds(60);
// One call works so long on what roles leave; the node is looked at in between.
constexpr auto kTransferTime = std::chrono::seconds(5);
constexpr char kUniqueViolation[] = "23505";
// Whoever owns a database is it, there.
constexpr char kOwnerRole[] = "pg_database_owner";

// What is managed is declared again to whichever node is primary, so these commits need not wait
// for standbys: a standby that is away must not keep a user from being made.
constexpr char kSessionSql[] =
    "set track_activities = off; set synchronous_commit = local; set lock_timeout = '5s'";

constexpr char kLockSql[] = "select pg_advisory_lock(5461002)";

// Calls that had begun go on as the role that is dropped, and may have made what is not disarmed.
constexpr char kNoCodeMoved[] = R"sql(do $$ begin
  if exists (select from pg_proc where xmin = pg_current_xact_id()::xid)
      or exists (select from pg_class where xmin = pg_current_xact_id()::xid
                 and relkind in ('r', 'p', 'f', 'v', 'm')) then
    raise exception 'more was made meanwhile' using errcode = '55006';
  end if;
end $$)sql";

// A step that cannot be done now; tried again with the next look.
class StepFailed : public std::runtime_error {
 public:
  StepFailed(std::string code, const std::string& message, bool more = false)
      : std::runtime_error(message), code_(std::move(code)), more_(more) {}
  const std::string& code() const { return code_; }
  bool more() const { return more_; }

 private:
  std::string code_;
  bool more_;
};

class Applier {
 public:
  // A statement of an agent that was killed goes on to its end: until then nobody else looks or
  // changes anything.
  explicit Applier(ServerAddress server)
      : server_(std::move(server)),
        sql_(open("postgres")),
        locks_([this] { return open("postgres"); }) {
    server_version_ = sql_.server_version();
    sql_.exec(kLockSql, {}, kStatementDeadline);
  }

  SeenObjects look() {
    SeenObjects seen;
    seen.roles = look_at_roles(sql_);
    seen.databases = look_at_databases(sql_);
    seen.managed = read_managed(sql_);
    return seen;
  }

  // `owners` as in ObjectsPlan.
  void perform(const ObjectStep& step, const std::map<std::string, std::string>& owners) {
    try {
      do_step(step, owners);
    } catch (const PgError& e) {
      if (e.sqlstate() != kUniqueViolation) throw;
      allow_one_id_for_two_kinds(sql_);
      do_step(step, owners);
    }
  }

  // Nodes of a release before have code that runs as kDisarmedRole. True: call again.
  bool disarm_what_a_release_before_left() {
    drop_empty_disarmed_roles(sql_, locks_);
    bool more = false;
    for (const PgRow& row :
         sql_.exec("select d.datname, o.rolname, m.id from pg_database d join pg_roles o on"
                   " o.oid = d.datdba and not o.rolsuper join trunkline.managed m on"
                   " m.kind = 'database' and m.name = d.datname where d.datallowconn and"
                   " d.oid in (select s.dbid from pg_shdepend s join pg_roles r on"
                   " r.oid = s.refobjid where s.refclassid = 'pg_authid'::regclass and"
                   " s.deptype = 'o' and r.rolname = $1) order by 1",
                   {kDisarmedRole})) {
      try {
        ensure_disarmed_roles(sql_);
        transfer({.key = {ObjectKind::database, *row.at(2)}}, *row.at(0), kDisarmedRole,
                 *row.at(1), TransferKind::disarmed_before);
      } catch (const StepFailed& e) {
        more = more || e.more();
        spdlog::warn("what was disarmed before: {}", e.what());
      }
    }
    return more;
  }

  std::vector<ObjectNote> take_notes() { return std::move(notes_); }

 private:
  void do_step(const ObjectStep& step, const std::map<std::string, std::string>& owners) {
    const std::string name = quote_identifier(step.name);
    const std::string other = quote_identifier(step.other);
    switch (step.action) {
      case ObjectAction::create_role:
        return run("begin; create role " + name + attributes(step) + "; " +
                   record_user_sql(step, step.name) + "; commit");
      case ObjectAction::alter_role:
        return run("begin; alter role " + name + attributes(step) + "; " +
                   (step.verifier.empty() ? "" : applied_sql(step) + "; ") + "commit");
      case ObjectAction::revoke_role:
        return run("revoke " + other + " from " + name + " cascade");
      case ObjectAction::rename_role:
        return run("begin; alter role " + name + " rename to " + other + "; " +
                   record_user_sql(step, step.other) + "; commit");
      case ObjectAction::create_database:
        run(record_database_sql(step, step.name));
        run("create database " + name + " owner " + other + step.options);
        run("revoke connect, temporary on database " + name + " from public");
        return run(made_sql(step));
      case ObjectAction::own_database:
        return own_database(step);
      case ObjectAction::close_to_public:
        return run("revoke connect, temporary on database " + name + " from public");
      case ObjectAction::open_database:
        return run("alter database " + name +
                   " with allow_connections true connection limit -1 is_template false");
      case ObjectAction::rename_database:
        return rename_database(step);
      case ObjectAction::drop_database:
        if (!step.name.empty()) drop_database(step.name);
        return run(forget_sql(step.key));
      case ObjectAction::drop_role:
        if (!step.name.empty()) drop_role(step, owners);
        return run(forget_sql(step.key));
      case ObjectAction::note_user:
        return run(applied_sql(step));
      case ObjectAction::note_database:
        return run(made_sql(step));
    }
  }

  PgConnection open(const std::string& database) {
    PgConnection connection(server_.socket_dir, server_.server_user, server_.port, database,
                            std::chrono::seconds(5), server_version_);
    connection.exec(kSessionSql);
    return connection;
  }

  void run(const std::string& sql) { locks_.run(sql_, sql); }

  static std::string attributes(const ObjectStep& step) {
    const std::string password =
        step.verifier.empty() ? "" : " password " + quote_literal(step.verifier);
    return " with login nosuperuser nocreaterole nocreatedb noreplication nobypassrls inherit"
           " connection limit -1 valid until 'infinity'" +
           password;
  }

  // Connections come back as fast as they are ended, so the door is shut first. If this is
  // interrupted, the next look finds the database closed and opens it.
  void rename_database(const ObjectStep& step) {
    const std::string name = quote_identifier(step.name);
    run("alter database " + name + " with allow_connections false");
    try {
      for (int i = 0;; ++i) {
        locks_.end_sessions_of_database(step.name);
        try {
          run("begin; alter database " + name + " rename to " + quote_identifier(step.other) +
              "; " + record_database_sql(step, step.other) + "; commit");
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

  void drop_database(const std::string& database) {
    const std::string name = quote_identifier(database);
    locks_.end_sessions_of_database(database);
    run("alter database " + name + " with allow_connections false is_template false");
    locks_.end_sessions_of_database(database);
    run("drop database if exists " + name + " with (force)");
  }

  // The former owner's objects go with the database. Only then its new owner is on record, so
  // that what is interrupted goes on.
  void own_database(const ObjectStep& step) {
    run("alter database " + quote_identifier(step.name) + " owner to " +
        quote_identifier(step.other));
    if (!step.was.empty()) {
      ensure_disarmed_roles(sql_);
      const auto former = sql_.exec("select oid from pg_roles where rolname = $1", {step.was});
      if (!former.empty()) locks_.end_sessions({*former[0].at(0)}, step.name);
      transfer(step, step.name, kOwnerRole, step.other, TransferKind::of_owner_role);
      transfer(step, step.name, step.was, step.other, TransferKind::handed_over);
    }
    run(made_sql(step));
  }

  // Moves what `role` owns in `database`. Throws if some of it is left.
  void transfer(const ObjectStep& step, const std::string& database, const std::string& role,
                const std::string& heir, TransferKind kind) {
    if (Clock::now() >= until_) {
      throw StepFailed("in_progress",
                       "what is left in database " + database + " has not had its turn", true);
    }
    try {
      PgConnection there = open(database);
      TransferResult result = transfer_objects(there, locks_, role, heir, kind, until_);
      note_disarmed(step.key, database, role, result);
      if (result.more) {
        throw StepFailed("in_progress",
                         "objects in database " + database + " go to " + heir + ": " +
                             std::to_string(result.moved) + " have gone in this turn",
                         true);
      }
      if (!result.left.empty()) {
        throw StepFailed("objects_remain", "in database " + database + ", " +
                                               std::to_string(result.left.size()) +
                                               " objects, the first: " + result.left[0]);
      }
      if (kind != TransferKind::left_behind) return;
      there.exec("reset statement_timeout");
      // Whatever the statements above do not know; no database is among it (see drop_role()).
      locks_.run(there, "begin; reassign owned by " + quote_identifier(role) + " to " +
                            quote_identifier(heir) + "; " + kNoCodeMoved + "; commit");
      locks_.run(there, "drop owned by " + quote_identifier(role));
    } catch (const PgError& e) {
      throw StepFailed(e.sqlstate().empty() ? "connection_refused" : "sql_" + e.sqlstate(),
                       "in database " + database + ": " + e.what());
    }
  }

  void note_disarmed(const ObjectKey& key, const std::string& database, const std::string& role,
                     const TransferResult& result) {
    if (result.disarmed_count == 0) return;
    notes_.push_back({.key = key, .what = "disarmed",
                      .detail = "code of " + role + " in database " + database +
                                " does not run any more, or with nobody's rights",
                      .items = result.disarmed,
                      .count = static_cast<uint32_t>(result.disarmed_count),
                      .seen_unix_us = to_unix_us(runtime::now())});
    spdlog::warn("{} objects of {} in database {} are disarmed", result.disarmed_count, role,
                 database);
  }

  // Sessions first, so that nothing of the role holds this up or comes back.
  void take_away_access(const std::string& role) {
    const std::string name = quote_identifier(role);
    const auto members = locks_.who_can_be(role);
    locks_.end_sessions(members);
    run("alter role " + name + " nologin");
    for (const PgRow& row : sql_.exec("select m.rolname from pg_auth_members x join pg_roles m on"
                                      " m.oid = x.member where x.roleid = $1::text::regrole",
                                      {name})) {
      run("revoke " + name + " from " + quote_identifier(*row.at(0)) + " cascade");
    }
    if (!locks_.end_sessions(members)) {
      throw StepFailed("sessions_remain", "sessions of " + role + " do not end");
    }
  }

  // What the role owns in a database goes to the owner that the database shall have and has; until
  // then the role stays, without a way in.
  void drop_role(const ObjectStep& step, const std::map<std::string, std::string>& owners) {
    const std::string name = quote_identifier(step.name);
    ensure_disarmed_roles(sql_);
    take_away_access(step.name);
    for (const PgRow& row : sql_.exec("select datname from pg_database where datdba ="
                                      " $1::text::regrole",
                                      {name})) {
      throw StepFailed("owns_database", "it still owns database " + *row.at(0));
    }
    std::optional<StepFailed> failed;
    for (const PgRow& row :
         sql_.exec("select d.datname, o.rolname, o.rolsuper, d.datallowconn,"
                   " exists (select from trunkline.managed m where m.kind = 'database' and"
                   " m.name = d.datname) from pg_database d join pg_roles o on o.oid = d.datdba"
                   " where d.oid in (select dbid from pg_shdepend where refclassid ="
                   " 'pg_authid'::regclass and refobjid = $1::text::regrole) order by 1",
                   {name})) {
      try {
        leave_database(step, row, owners);
      } catch (const StepFailed& e) {
        if (!failed || e.more()) failed = e;
      }
    }
    if (failed) throw *failed;
    run("drop owned by " + name);  // what it was granted on databases
    run("drop role if exists " + name);
  }

  // `row`: name, owner, whether that is a superuser, open to connections, managed.
  void leave_database(const ObjectStep& step, const PgRow& row,
                      const std::map<std::string, std::string>& owners) {
    const std::string& database = *row.at(0);
    const bool managed = *row.at(4) == "t";
    std::string heir = kDisarmedRole;
    if (managed) {
      const auto owner = owners.find(database);
      if (owner == owners.end() || owner->second != *row.at(1)) {
        throw StepFailed("waits", "database " + database + " is neither gone nor its new owner's");
      }
      heir = owner->second;
    }
    if (heir == step.name) throw StepFailed("owns_database", "it still owns " + database);
    if (managed && *row.at(2) == "t") throw StepFailed("waits", database + " is a superuser's");
    if (*row.at(3) != "t") {
      run("alter database " + quote_identifier(database) + " with allow_connections true");
    }
    transfer(step, database, step.name, heir, TransferKind::left_behind);
  }

  const ServerAddress server_;
  const Clock::time_point until_ = Clock::now() + kTransferTime;
  int server_version_ = 0;
  PgConnection sql_;
  LockBreaker locks_;
  std::vector<ObjectNote> notes_;
};

// The first object that `step` depends on and that has failed.
const ObjectKey* failed_need(const ObjectStep& step,
                             const std::map<ObjectKey, std::string>& failed) {
  for (const ObjectKey& need : step.needs) {
    if (failed.contains(need)) return &need;
  }
  return nullptr;
}

ObjectNote drift_note(const ObjectStep& step) {
  return {.key = step.key, .what = "drifted",
          .detail = std::string(to_text(step.key.kind)) + " " + step.name +
                    " was changed by SQL; done to put it right: " + to_text(step.action),
          .database_user = step.by,
          .seen_unix_us = to_unix_us(runtime::now())};
}

bool is_bookkeeping(const ObjectStep& step) {
  return step.action == ObjectAction::note_user || step.action == ObjectAction::note_database;
}

}  // namespace

ObjectsResult apply_objects(const ServerAddress& server, const ObjectsSpec& wanted) {
  Applier applier(server);
  ObjectsPlan plan = plan_objects(wanted, applier.look());
  ObjectsResult result;
  result.more = applier.disarm_what_a_release_before_left();
  result.failures = std::move(plan.failures);
  result.notes = std::move(plan.notes);
  for (ObjectNote& note : result.notes) note.seen_unix_us = to_unix_us(runtime::now());
  std::map<ObjectKey, std::string> failed;
  for (const ObjectFailure& failure : result.failures) failed[failure.key] = failure.message;
  const auto fail = [&](const ObjectStep& step, const std::string& code, const std::string& why) {
    failed[step.key] = why;
    result.failures.push_back({step.key, code, why});
    spdlog::warn("{} {} failed: {}", to_text(step.action), step.key.id, why);
  };
  for (const ObjectStep& step : plan.steps) {
    if (failed.contains(step.key)) continue;
    if (const ObjectKey* need = failed_need(step, failed)) {
      fail(step, "waits",
           std::string("waits for ") + to_text(need->kind) + " " + need->id + ": " + failed[*need]);
      continue;
    }
    try {
      applier.perform(step, plan.owners);
      if (is_bookkeeping(step)) continue;
      ++result.changes;
      if (step.drift) result.notes.push_back(drift_note(step));
      spdlog::info("{} {} done", to_text(step.action), step.key.id);
    } catch (const StepFailed& e) {
      result.more = result.more || e.more();
      fail(step, e.code(), e.what());
    } catch (const PgError& e) {
      if (e.sqlstate().empty()) throw;
      fail(step, "sql_" + e.sqlstate(), e.what());
    }
  }
  for (ObjectNote& note : applier.take_notes()) result.notes.push_back(std::move(note));
  return result;
}

}  // namespace trunkline::agent
