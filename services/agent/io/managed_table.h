// What a primary has of users and databases, and its own table of those that are ours: table
// trunkline.managed in database `postgres`. Sessions are in that database.
#pragma once

#include <string>
#include <vector>

#include "agent/domain/objects_plan.h"
#include "agent/io/pg_connection.h"

namespace trunkline::agent {

std::vector<SeenRole> look_at_roles(PgConnection& sql);
std::vector<SeenDatabase> look_at_databases(PgConnection& sql);

// Brings a table of a release before into the shape of this one.
std::vector<ManagedRow> read_managed(PgConnection& sql);

// Statements; each is good within a transaction.
std::string record_user_sql(const ObjectStep& step, const std::string& name);
std::string record_database_sql(const ObjectStep& step, const std::string& name);
std::string applied_sql(const ObjectStep& step);  // its verifier is in force
std::string made_sql(const ObjectStep& step);     // it is there, as its owner's other_id
std::string forget_sql(const ObjectKey& key);

// Agents of one release back write by id alone and need ids to be unique; where a user and a
// database have the same one, that must go.
void allow_one_id_for_two_kinds(PgConnection& sql);

}  // namespace trunkline::agent
