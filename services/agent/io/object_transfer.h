// What a role owns in one database goes to another role. Nothing goes to a superuser, and code that
// would run with the new owner's rights is disarmed on the way: it becomes the property of
// `trunkline_disarmed`, which has no rights and cannot log in. docs/adr/0070-what-a-user-leaves.md
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/io/lock_breaker.h"
#include "agent/io/pg_connection.h"

namespace trunkline::agent {

inline constexpr char kDisarmedRole[] = "trunkline_disarmed";

enum class TransferKind {
  left_behind,  // its owner is to be dropped
  handed_over,  // the database has a new owner, and the former one lives on
};

struct TransferResult {
  uint64_t moved = 0;
  bool more = false;  // the time was up: call again
  std::vector<std::string> disarmed;  // the first few, "function public.f(integer)"
  uint64_t disarmed_count = 0;
  std::vector<std::string> left;  // what could not be moved, with the reason; the rest was
};

// Makes the role that disarmed code belongs to, and takes away what it was given. `sql` is a
// session in database `postgres`.
void ensure_disarmed_role(PgConnection& sql);

// In the database of `there`, a platform's session of its own. In batches that are a transaction
// each; one object that fails leaves the others. Disarms first: while that is not done nothing
// else moves. Throws PgError if the database cannot be looked at.
TransferResult transfer_objects(PgConnection& there, LockBreaker& locks, const std::string& role,
                                const std::string& heir, TransferKind kind,
                                std::chrono::steady_clock::time_point until);

}  // namespace trunkline::agent
