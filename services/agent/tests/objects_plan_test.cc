// Users and databases: which steps follow from what is wanted and what is there.
#include "agent/domain/objects_plan.h"

#include <gtest/gtest.h>

namespace trunkline::agent {
namespace {

const char kU1[] = "00000000-0000-4000-8000-000000000001";
const char kU2[] = "00000000-0000-4000-8000-000000000002";
const char kD1[] = "00000000-0000-4000-8000-0000000000d1";
const char kD2[] = "00000000-0000-4000-8000-0000000000d2";

std::string text(const ObjectsPlan& plan) {
  std::string out;
  for (const auto& step : plan.steps) {
    out += std::string(to_text(step.action)) + " " + step.name;
    if (!step.other.empty()) out += ">" + step.other;
    out += "; ";
  }
  for (const auto& failure : plan.failures) out += "FAIL " + failure.code + "; ";
  return out;
}

ObjectsSpec wanted() {
  ObjectsSpec w;
  w.users = {{kU1, "ann", "v1"}};
  w.databases = {{kD1, "shop", kU1}};
  return w;
}

SeenObjects as_wanted() {
  SeenObjects s;
  SeenRole ann{.name = "ann"};
  ann.verifier = "v1";
  s.roles = {ann, SeenRole{.name = "postgres"}};
  s.databases = {{"shop", "ann"}};
  s.managed = {{false, kU1, "ann"}, {true, kD1, "shop"}};
  return s;
}

TEST(ObjectsPlan, NothingToDo) {
  EXPECT_EQ(text(plan_objects(wanted(), as_wanted())), "");
}

TEST(ObjectsPlan, NewUserBeforeItsDatabase) {
  EXPECT_EQ(text(plan_objects(wanted(), {})), "create role ann; create database shop>ann; ");
}

TEST(ObjectsPlan, WhatATenantChangedIsPutRight) {
  struct Row {
    void (*change)(SeenObjects&);
    const char* want;
  };
  const Row rows[] = {
      {[](SeenObjects& s) { s.roles[0].verifier = "x"; }, "alter role ann; "},
      {[](SeenObjects& s) { s.roles[0].create_role = true; }, "alter role ann; "},
      {[](SeenObjects& s) { s.roles[0].create_db = true; }, "alter role ann; "},
      {[](SeenObjects& s) { s.roles[0].superuser = true; }, "alter role ann; "},
      {[](SeenObjects& s) { s.roles[0].replication = true; }, "alter role ann; "},
      {[](SeenObjects& s) { s.roles[0].bypass_rls = true; }, "alter role ann; "},
      {[](SeenObjects& s) { s.roles[0].login = false; }, "alter role ann; "},
      {[](SeenObjects& s) { s.roles[0].limited = true; }, "alter role ann; "},
      {[](SeenObjects& s) { s.roles[0].dangerous_memberships = {"pg_write_server_files"}; },
       "revoke role ann>pg_write_server_files; "},
      {[](SeenObjects& s) { s.databases[0].owner = "postgres"; }, "change owner shop>ann; "},
      {[](SeenObjects& s) { s.databases[0].public_can_connect = true; }, "close to public shop; "},
      {[](SeenObjects& s) { s.databases[0].closed = true; }, "open database shop; "},
      {[](SeenObjects& s) { s.databases.clear(); }, "create database shop>ann; "},
      {[](SeenObjects& s) { s.roles.clear(); }, "create role ann; "},
  };
  for (const Row& row : rows) {
    SeenObjects s = as_wanted();
    row.change(s);
    EXPECT_EQ(text(plan_objects(wanted(), s)), row.want);
  }
}

TEST(ObjectsPlan, RenameAndNewOwner) {
  ObjectsSpec w = wanted();
  w.users.push_back({kU2, "bob", "v2"});
  w.databases[0] = {kD1, "store", kU2};
  EXPECT_EQ(text(plan_objects(w, as_wanted())),
            "create role bob; rename database shop>store; change owner store>bob; ");
}

TEST(ObjectsPlan, NamesCanBeSwapped) {
  ObjectsSpec w = wanted();
  w.databases = {{kD1, "b", kU1}, {kD2, "a", kU1}};
  SeenObjects s = as_wanted();
  s.databases = {{"a", "ann"}, {"b", "ann"}};
  s.managed = {{false, kU1, "ann"}, {true, kD1, "a"}, {true, kD2, "b"}};
  const std::string aside1 = std::string("tl_aside_") + kD1;
  const std::string aside2 = std::string("tl_aside_") + kD2;
  EXPECT_EQ(text(plan_objects(w, s)), "rename database b>" + aside2 + "; rename database a>" +
                                          aside1 + "; rename database " + aside1 +
                                          ">b; rename database " + aside2 + ">a; ");
}

TEST(ObjectsPlan, DropsUserAfterItsDatabaseHasANewOwnerAndItsNameIsFree) {
  ObjectsSpec w;
  w.users = {{kU2, "ann", "v2"}};
  w.databases = {{kD1, "shop", kU2}};
  w.dropped_user_ids = {kU1};
  const std::string aside = std::string("tl_aside_") + kU1;
  EXPECT_EQ(text(plan_objects(w, as_wanted())),
            "rename role ann>" + aside + "; create role ann; change owner shop>ann; drop role " +
                aside + "; ");
}

TEST(ObjectsPlan, DropsAreRepeatable) {
  ObjectsSpec w;
  w.dropped_user_ids = {kU1};
  w.dropped_database_ids = {kD1};
  EXPECT_EQ(text(plan_objects(w, as_wanted())), "drop database shop; drop role ann; ");
  SeenObjects half;
  half.managed = {{false, kU1, "ann"}, {true, kD1, "shop"}};
  EXPECT_EQ(text(plan_objects(w, half)), "drop database ; drop role ; ");
  EXPECT_EQ(text(plan_objects(w, {})), "");
}

TEST(ObjectsPlan, OneFailureLeavesTheOthers) {
  ObjectsSpec w = wanted();
  w.users.push_back({kU2, "postgres2", "v2"});
  w.databases.push_back({kD2, "lost", kU2});
  EXPECT_EQ(text(plan_objects(w, {})),
            "create role ann; create database shop>ann; FAIL name_reserved; FAIL owner_missing; ");
}

TEST(ObjectsPlan, WhatIsNotManagedIsNotTaken) {
  SeenObjects s = as_wanted();
  s.managed.clear();
  EXPECT_EQ(text(plan_objects(wanted(), s)), "FAIL name_taken; FAIL owner_missing; ");
}

}  // namespace
}  // namespace trunkline::agent
