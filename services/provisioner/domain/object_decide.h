// Decides what happens to users and databases of an instance: the customer's commands, and what
// the primary's host says of them. Called by instance_decide once the instance is known to exist.
//
// Rules (rule: blame):
//   Create*         uuid_in_use, name_in_use: conflict; uuid_malformed, name_*, description_*,
//                   verifier_malformed: bad_value; owner_not_found: not_found
//   Update*         user_not_found, database_not_found, owner_not_found: not_found;
//                   name_in_use: conflict; the value rules above
//   DeleteUser      user_not_found: not_found; user_owns_databases: conflict
//   DeleteDatabase  database_not_found: not_found
// A uuid is in use if any user or database of the instance has it, one that is being dropped too.
// Names are compared byte by byte among the live users, and among the live databases.
// An update that changes nothing is Ignored, but for an object in ERROR it is a retry.
#pragma once

#include <vector>

#include "base/decision.h"
#include "provisioner/domain/instance_state.h"
#include "trunkline/v1/instance.pb.h"

namespace trunkline::provisioner {

using InstanceDecision = Decision<v1::InstanceEvent>;

InstanceDecision create_user(const InstanceState& state, const v1::CreateUser& command);
InstanceDecision update_user(const InstanceState& state, const v1::UpdateUser& command);
InstanceDecision delete_user(const InstanceState& state, const v1::DeleteUser& command);
InstanceDecision create_database(const InstanceState& state, const v1::CreateDatabase& command);
InstanceDecision update_database(const InstanceState& state, const v1::UpdateDatabase& command);
InstanceDecision delete_database(const InstanceState& state, const v1::DeleteDatabase& command);

// What the outcome of applying `command.objects_version` changes; empty: all of it is known.
// ObjectsApplied is among the events only if nothing failed that may yet come true: a dropped
// object is forgotten only when it is gone. What was applied fails no oftener than sql_pace.h has
// room for.
std::vector<v1::InstanceEvent> objects_outcome(const InstanceState& state,
                                               const v1::RecordObjectsApplied& command,
                                               TimePoint now);
InstanceDecision record_objects_applied(const InstanceState& state,
                                        const v1::RecordObjectsApplied& command, TimePoint now);

// What the primary's host saw of a user or database that nobody ordered. A password that was
// changed by SQL is adopted, unless a newer order is on its way; of the rest there is one event
// each. Of passwords and drift there are no more than sql_pace.h has room for.
InstanceDecision record_object_note(const InstanceState& state,
                                    const v1::RecordObjectNote& command, TimePoint now);

}  // namespace trunkline::provisioner
