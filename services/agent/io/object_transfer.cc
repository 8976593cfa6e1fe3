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
constexpr auto kLook = std::chrono::seconds(30);

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
    there_.exec("set lock_timeout = '2s'; set synchronous_commit = local;"
                " set check_function_bodies = off");
    if (kind_ == TransferKind::disarmed_before) {
      if (go(looks::routines(), true) && go(looks::views(), true)) go(looks::all_tables(), true);
      return std::move(result_);
    }
    for (const auto& look : {looks::views(), looks::routines(), looks::rules(), looks::triggers(),
                             looks::tables()}) {
      if (!go(look, true)) return std::move(result_);
    }
    go(looks::rest(), false);
    return std::move(result_);
  }

 private:
  // False if something of it is left.
  bool go(const std::string& look, bool disarms) {
    const std::string sql = look + " limit " + std::to_string(kBatch * 10);
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
        result_.left.push_back(name_of(row) + ": " + bounded_text(e.what(), kLongestReason));
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
    return bounded_text(*row.at(0) + " " + *row.at(1), kLongestName);
  }

  PgConnection& there_;
  LockBreaker& locks_;
  std::vector<std::string> values_;
  const TransferKind kind_;
  const Clock::time_point until_;
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
