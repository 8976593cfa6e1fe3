// What a role owns in a database and is to become of it, as questions of SQL. Each gives rows of:
// what it is, its name, the statement to be run. $1 is the role, $2 the heir, $3 the role of views
// that are disarmed, all by oid; $4: all of the role's code is disarmed, not only what runs with
// its owner's rights. Why: docs/adr/0070-what-a-user-leaves.md
#pragma once

#include <string>

namespace trunkline::agent::looks {

// `moved`: not of what the role has, but of these, the heir's since the transaction began, an array
// of oids ("{1,2}"): rows are what must not be his.
std::string temporary();                        // dropped
std::string routines(const std::string& moved = "");  // a body that raises, and to the heir
std::string views(const std::string& moved = "");     // to the role of views; materialized ones to
                                                      // a role of their own
std::string rules(const std::string& moved = "");     // switched off
std::string triggers(const std::string& moved = "");  // those with code of others: switched off
std::string tables(const std::string& moved = "");    // those whose upkeep runs code of others: to
                                                      // a role of their own
std::string all_triggers();  // whatever they call
std::string all_tables();    // whatever their upkeep
std::string rest(bool with_tables);  // all else goes to the heir; two more columns: class, oid

}  // namespace trunkline::agent::looks
