// What a role owns in one database goes to another role. Nothing goes to a superuser, and what
// would run with the new owner's rights is disarmed on the way: routines raise, views belong to a
// role without rights, and data that others' code can reach to a role that owns nothing else.
// docs/adr/0070-what-a-user-leaves.md
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/io/lock_breaker.h"
#include "agent/io/pg_connection.h"

namespace trunkline::agent {

// Heir of what is left where no tenant gets in; on nodes of a release before also the owner of code
// that runs. What has a role of its own belongs to `trunkline_disarmed_<database>_<table>`.
inline constexpr char kDisarmedRole[] = "trunkline_disarmed";
inline constexpr char kDisarmedViewsRole[] = "trunkline_disarmed_views";

enum class TransferKind {
  left_behind,  // its owner is to be dropped
  handed_over,  // the database has a new owner, and the former one lives on
  of_owner_role,  // the same, of what belongs to pg_database_owner: it is only disarmed
  disarmed_before,  // by a release that left code running as kDisarmedRole: `role` is that one
};

struct TransferResult {
  uint64_t moved = 0;
  bool more = false;  // the time was up: call again
  std::vector<std::string> disarmed;  // the first few, "function public.f(integer)"
  uint64_t disarmed_count = 0;
  std::vector<std::string> left;  // what could not be moved, with the reason; the rest was
};

// Makes the roles that disarmed things belong to, and takes away what they were given. `sql` is a
// session in database `postgres`.
void ensure_disarmed_roles(PgConnection& sql);
// Those of single tables that are gone; one that cannot be dropped now stays until the next time.
void drop_empty_disarmed_roles(PgConnection& sql, LockBreaker& locks);

// In the database of `there`, a platform's session of its own. In batches that are a transaction
// each; one object that fails leaves the others. Disarms first, and ends transactions in which code
// that is disarmed may still run: while that is not done nothing else moves. Throws PgError if the
// database cannot be looked at.
TransferResult transfer_objects(PgConnection& there, LockBreaker& locks, const std::string& role,
                                const std::string& heir, TransferKind kind,
                                std::chrono::steady_clock::time_point until);

}  // namespace trunkline::agent
