// What a role owns in a database and is to become of it, as questions of SQL. Each gives rows of:
// what it is, its name, the statement to be run. $1 is the role, $2 the heir, $3 the role of views
// that are disarmed, all by oid; $4: all of the role's code is disarmed, not only what runs with
// its owner's rights. Why: docs/adr/0070-what-a-user-leaves.md
#pragma once

#include <string>

namespace trunkline::agent::looks {

std::string routines();    // get a body that raises, and go to the heir
std::string views();       // to the role of views; materialized ones to a role of their own
std::string rules();       // switched off
std::string triggers();    // those with code of others: switched off
std::string tables();      // those whose upkeep runs code of others: to a role of their own
std::string all_tables();  // the same, whatever their upkeep
std::string rest();        // all else goes to the heir

}  // namespace trunkline::agent::looks
