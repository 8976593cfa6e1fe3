// Users and databases of an instance, made as ordered on its primary. Not thread-safe; works on the
// calling thread.
#pragma once

#include <string>
#include <vector>

#include "agent/domain/objects_plan.h"

namespace trunkline::agent {

struct ServerAddress {
  std::string socket_dir;
  uid_t server_user = 0;
  uint32_t port = 0;
};

struct ObjectsResult {
  std::vector<ObjectFailure> failures;  // of single objects; the others are as ordered
  std::vector<ObjectNote> notes;        // what was done by SQL, and what became of code
  size_t changes = 0;                   // steps that were done
  bool more = false;                    // a large piece of work goes on with the next call
};

// Reads what is there, plans, and does it. A step does not run when one that it depends on has
// failed. Sessions that hold locks on what is to change are ended. Safe to repeat and to
// interrupt. Throws PgError if nothing could be looked at. Statements with verifiers leave no
// trace in the server's log or in pg_stat_activity.
ObjectsResult apply_objects(const ServerAddress& server, const ObjectsSpec& wanted);

}  // namespace trunkline::agent
