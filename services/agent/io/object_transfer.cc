#include "agent/io/object_transfer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "agent/domain/sql_text.h"
#include "agent/io/object_looks.h"
#include "base/utf8.h"

namespace trunkline::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kBatch = 100;       // statements a transaction: far below the lock table's room
constexpr size_t kShown = 10;        // disarmed objects that are named
constexpr size_t kLongestName = 100;  // bytes
constexpr size_t kLongestReason = 150;
constexpr auto kLook = std::chrono::seconds(8);  // beyond the server's own time-out, see run()
constexpr int kMostPasses = 5;
constexpr char kQueryCanceled[] = "57014";
constexpr char kClassOfRelations[] = "1259", kClassOfRoutines[] = "1255";  // pg_class, pg_proc

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
        values_{oid_of(there, role), oid_of(there, heir), oid_of(there, kDisarmedViewsRole),
                kind == TransferKind::handed_over ? "false" : "true"},
        kind_(kind),
        until_(until) {}

  TransferResult run() {
    // Names are bytes: not each that a database can have is one in UTF-8.
    there_.exec("set client_encoding = 'SQL_ASCII'; set statement_timeout = '3s';"
                " set lock_timeout = '2s'; set synchronous_commit = local;"
                " set check_function_bodies = off");
    if (!disarm_all() || kind_ == TransferKind::of_owner_role ||
        kind_ == TransferKind::disarmed_before) {
      return std::move(result_);
    }
    // A type that has gone cannot be changed by code that was running, but for what had begun.
    if (!go(looks::rest(false), false) || !disarm_all()) return std::move(result_);
    go(looks::rest(true), false);
    return std::move(result_);
  }

 private:
  // Until nothing is found that runs, after all that could have been running has ended. False if
  // something is left.
  bool disarm_all() {
    for (int pass = 0; pass < kMostPasses; ++pass) {
      const uint64_t before = result_.disarmed_count;
      const size_t left = result_.left.size();
      disarm();
      if (result_.more || result_.left.size() > left) return false;
      if (result_.disarmed_count == before) return true;
      if (!locks_.end_older_transactions(there_.database())) {
        result_.left.push_back("transactions that began before do not end");
        return false;
      }
    }
    result_.more = true;
    return false;
  }

  // What is in the way of one kind holds up no other.
  void disarm() {
    go(looks::temporary(), true);
    go(looks::routines(), true);
    go(looks::views(), true);
    if (kind_ == TransferKind::disarmed_before) {
      go(looks::all_tables(), true);
      return;
    }
    go(looks::rules(), true);
    if (kind_ != TransferKind::left_behind) return;  // all else goes along
    go_or(too_many_triggers_, looks::triggers(), looks::all_triggers());
    go_or(too_many_tables_, looks::tables(), looks::all_tables());
  }

  // What cannot be looked through in time is taken for code.
  void go_or(bool& is_too_much, const std::string& look, const std::string& all) {
    try {
      if (!is_too_much) go(look, true);
    } catch (const PgError& e) {
      if (e.sqlstate() != kQueryCanceled) throw;
      spdlog::warn("{}: all are taken for code", e.what());
      is_too_much = true;
    }
    if (is_too_much) go(all, true);
  }

  // False if something of it is left.
  bool go(const std::string& look, bool disarms) {
    const std::string sql = look + " limit " + std::to_string(kBatch * 10);
    std::set<std::string> tried;
    bool has_moved = false;  // so that looks which take long do not keep it from coming to an end
    const size_t left = result_.left.size();
    while (true) {
      std::vector<PgRow> fresh;
      for (PgRow& row : there_.exec(sql, values_, kLook)) {
        if (tried.insert(*row.at(2)).second) fresh.push_back(std::move(row));
      }
      if (fresh.empty()) return result_.left.size() == left;
      for (size_t at = 0; at < fresh.size(); at += kBatch) {
        if (has_moved && Clock::now() >= until_) {
          result_.more = true;
          return false;
        }
        has_moved = true;
        const size_t end = std::min(at + kBatch, fresh.size());
        move({fresh.begin() + static_cast<ptrdiff_t>(at),
              fresh.begin() + static_cast<ptrdiff_t>(end)},
             disarms);
      }
    }
  }

  void move(const std::vector<PgRow>& batch, bool disarms) {
    try {
      run_all(batch, disarms);
      for (const PgRow& row : batch) moved(row, disarms);
      return;
    } catch (const PgError& e) {
      if (e.sqlstate().empty()) throw;
    }
    for (const PgRow& row : batch) {
      try {
        run_all({row}, disarms);
        moved(row, disarms);
      } catch (const PgError& e) {
        if (e.sqlstate().empty()) throw;
        result_.left.push_back(name_of(row) + ": " + bounded_text(e.what(), kLongestReason));
      }
    }
  }

  void run_all(const std::vector<PgRow>& batch, bool disarms) {
    std::string all = "begin";
    for (const PgRow& row : batch) all += "; " + *row.at(2);
    if (disarms) {
      locks_.run(there_, all + "; commit");
      return;
    }
    locks_.run(there_, all);
    try {
      check_moved(batch);
      there_.exec("commit");
    } catch (const PgError& e) {
      if (!e.sqlstate().empty()) there_.exec("rollback");
      throw;
    }
  }

  // Statements name what they move. Before it is the heir's for good, and while nobody else can
  // change it: it is what was looked at, and has not got code since.
  void check_moved(const std::vector<PgRow>& batch) {
    std::string pairs, relations, routines;
    for (const PgRow& row : batch) {
      pairs += (pairs.empty() ? "(" : ", (") + *row.at(3) + "::oid, " + *row.at(4) + "::oid)";
      std::string* list = *row.at(3) == kClassOfRelations  ? &relations
                          : *row.at(3) == kClassOfRoutines ? &routines
                                                           : nullptr;
      if (list != nullptr) *list += (list->empty() ? "" : ",") + *row.at(4);
    }
    const PgRows there = there_.exec(
        "select count(*) from pg_shdepend s where s.dbid = (select oid from pg_database where"
        " datname = current_database()) and s.refclassid = 'pg_authid'::regclass and"
        " s.refobjid = $1::oid and s.deptype = 'o' and s.objsubid = 0 and (s.classid, s.objid) in"
        " (values " + pairs + ")",
        {values_.at(1)});
    if (*there.at(0).at(0) != std::to_string(batch.size())) {
      throw PgError("another one had its name", "55006");
    }
    if (!routines.empty()) check_none(looks::routines("{" + routines + "}"));
    if (relations.empty()) return;
    const std::string moved = "{" + relations + "}";
    check_none(looks::views(moved));
    check_none(looks::rules(moved));
    if (kind_ != TransferKind::left_behind) return;
    check_none(looks::triggers(moved));
    check_none(looks::tables(moved));
  }
  void check_none(const std::string& look) {
    const PgRows found = there_.exec(look + " limit 1", values_, kLook);
    if (!found.empty()) throw PgError(name_of(found[0]) + " got code meanwhile", "55006");
  }

  void moved(const PgRow& row, bool disarms) {
    ++result_.moved;
    if (!disarms) return;
    ++result_.disarmed_count;
    if (result_.disarmed.size() < kShown) result_.disarmed.push_back(name_of(row));
  }
  static std::string name_of(const PgRow& row) {
    return bounded_text(row.at(0).value_or("") + " " + row.at(1).value_or(""), kLongestName);
  }

  PgConnection& there_;
  LockBreaker& locks_;
  std::vector<std::string> values_;
  const TransferKind kind_;
  const Clock::time_point until_;
  bool too_many_triggers_ = false, too_many_tables_ = false;
  TransferResult result_;
};

}  // namespace

void ensure_disarmed_roles(PgConnection& sql) {
  for (const std::string role : {kDisarmedRole, kDisarmedViewsRole}) {
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
}

void drop_empty_disarmed_roles(PgConnection& sql, LockBreaker& locks) {
  for (const PgRow& row :
       sql.exec("select r.rolname from pg_roles r where r.rolname ~ $1 and not exists (select"
                " from pg_shdepend d where d.refclassid = 'pg_authid'::regclass and"
                " d.refobjid = r.oid) limit 100",
                {"^" + std::string(kDisarmedRole) + "_[0-9]+_[0-9]+$"})) {
    try {
      locks.run(sql, "drop role " + *row.at(0));
    } catch (const PgError& e) {
      if (e.sqlstate().empty()) throw;
      spdlog::warn("role {} is not dropped yet: {}", *row.at(0), e.what());
    }
  }
}

TransferResult transfer_objects(PgConnection& there, LockBreaker& locks, const std::string& role,
                                const std::string& heir, TransferKind kind,
                                Clock::time_point until) {
  return Transfer(there, locks, role, heir, kind, until).run();
}

}  // namespace trunkline::agent
