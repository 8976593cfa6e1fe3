// Users and databases: which steps follow from what is wanted and what is there.
#include "agent/domain/objects_plan.h"

#include <gtest/gtest.h>

#include "base/digest.h"

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
  for (const auto& note : plan.notes) out += "NOTE " + note.what + "; ";
  return out;
}

ManagedRow user_row(const std::string& id, const std::string& name, const std::string& verifier) {
  return {{ObjectKind::user, id}, name, "", applied_digest(verifier), false, 0};
}
ManagedRow database_row(const std::string& id, const std::string& name, const std::string& owner) {
  return {{ObjectKind::database, id}, name, owner, "", true, 0};
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
  s.managed = {user_row(kU1, "ann", "v1"), database_row(kD1, "shop", kU1)};
  return s;
}

TEST(ObjectsPlan, NothingToDo) {
  EXPECT_EQ(text(plan_objects(wanted(), as_wanted())), "");
}

TEST(ObjectsPlan, NewUserBeforeItsDatabase) {
  EXPECT_EQ(text(plan_objects(wanted(), {})), "create role ann; create database shop>ann; ");
}

TEST(ObjectsPlan, ADatabaseIsMadeInItsForm) {
  const auto options = [](const char* locale, const char* encoding, const char* icu) {
    ObjectsSpec spec = wanted();
    spec.databases[0].locale = locale;
    spec.databases[0].encoding = encoding;
    spec.databases[0].icu_locale = icu;
    for (const auto& step : plan_objects(spec, {}).steps) {
      if (step.action == ObjectAction::create_database) return step.options;
    }
    return std::string("no such step");
  };
  EXPECT_EQ(options("", "", ""), "");
  EXPECT_EQ(options("de_DE.ISO-8859-1", "LATIN1", ""),
            " template template0 encoding 'LATIN1' locale 'de_DE.ISO-8859-1'");
  EXPECT_EQ(options("", "", "de-AT"),
            " template template0 locale_provider icu icu_locale 'de-AT'");
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
  s.managed = {user_row(kU1, "ann", "v1"), database_row(kD1, "a", kU1),
               database_row(kD2, "b", kU1)};
  const std::string aside1 = std::string("trunkline_aside_") + kD1;
  const std::string aside2 = std::string("trunkline_aside_") + kD2;
  EXPECT_EQ(text(plan_objects(w, s)), "rename database b>" + aside2 + "; rename database a>" +
                                          aside1 + "; rename database " + aside1 +
                                          ">b; rename database " + aside2 + ">a; ");
}

TEST(ObjectsPlan, DropsUserAfterItsDatabaseHasANewOwnerAndItsNameIsFree) {
  ObjectsSpec w;
  w.users = {{kU2, "ann", "v2"}};
  w.databases = {{kD1, "shop", kU2}};
  w.dropped_user_ids = {kU1};
  const std::string aside = std::string("trunkline_aside_") + kU1;
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
  half.managed = {user_row(kU1, "ann", "v1"), database_row(kD1, "shop", kU1)};
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

const ObjectStep& step_of(const ObjectsPlan& plan, ObjectAction action) {
  for (const auto& step : plan.steps) {
    if (step.action == action) return step;
  }
  static const ObjectStep none{};
  return none;
}
const ObjectKey kUser1{ObjectKind::user, kU1};
const ObjectKey kUser2{ObjectKind::user, kU2};
const ObjectKey kDatabase1{ObjectKind::database, kD1};

// What must not have failed before a step runs.
TEST(ObjectsPlan, StepsSayWhatTheyDependOn) {
  ObjectsSpec w;
  w.users = {{kU2, "bob", "v2"}};
  w.databases = {{kD1, "shop", kU2}};
  w.dropped_user_ids = {kU1};
  ObjectsPlan plan = plan_objects(w, as_wanted());
  EXPECT_EQ(text(plan), "create role bob; change owner shop>bob; drop role ann; ");
  EXPECT_EQ(plan.steps[1].needs, std::vector<ObjectKey>{kUser2});
  EXPECT_EQ(plan.steps[2].needs, std::vector<ObjectKey>{kDatabase1});
  EXPECT_EQ(plan.owners, (std::map<std::string, std::string>{{"shop", "bob"}}));

  // An owner whose name is refused: the database does not get one, and ann waits for it.
  w.users = {{kU2, "trunkline_x", "v2"}};
  plan = plan_objects(w, as_wanted());
  EXPECT_EQ(text(plan), "drop role ann; FAIL name_reserved; FAIL owner_missing; ");
  EXPECT_EQ(plan.steps[0].needs, std::vector<ObjectKey>{kDatabase1});
  EXPECT_TRUE(plan.owners.empty());

  w.users.clear();
  w.databases.clear();
  w.dropped_database_ids = {kD1};
  plan = plan_objects(w, as_wanted());
  EXPECT_EQ(text(plan), "drop database shop; drop role ann; ");
  EXPECT_EQ(plan.steps[1].needs, std::vector<ObjectKey>{kDatabase1});

  w = wanted();
  w.users = {{kU2, "ann", "v2"}};
  w.databases[0].owner_id = kU2;
  w.dropped_user_ids = {kU1};
  plan = plan_objects(w, as_wanted());
  EXPECT_EQ(step_of(plan, ObjectAction::create_role).needs, std::vector<ObjectKey>{kUser1});
}

TEST(ObjectsPlan, AUserAndADatabaseMayHaveOneId) {
  ObjectsSpec w = wanted();
  w.databases = {{kU1, "shop", kU1}};
  SeenObjects s = as_wanted();
  s.managed[1] = database_row(kU1, "shop", kU1);
  EXPECT_EQ(text(plan_objects(w, s)), "");
  w.databases.clear();
  w.dropped_database_ids = {kU1};
  EXPECT_EQ(text(plan_objects(w, s)), "drop database shop; ");
}

// The former owner's objects go along when an order changes the owner, not when a tenant did.
TEST(ObjectsPlan, ObjectsGoWithAnOrderedOwnerOnly) {
  ObjectsSpec w = wanted();
  w.users.push_back({kU2, "bob", "v2"});
  w.databases[0].owner_id = kU2;
  SeenObjects s = as_wanted();
  SeenRole bob{.name = "bob"};
  bob.verifier = "v2";
  s.roles.push_back(bob);
  s.managed.push_back(user_row(kU2, "bob", "v2"));
  ObjectStep step = step_of(plan_objects(w, s), ObjectAction::own_database);
  EXPECT_EQ(step.was, "ann");
  EXPECT_FALSE(step.drift);
  // It was cut off after the owner and before the objects.
  s.databases[0].owner = "bob";
  step = step_of(plan_objects(w, s), ObjectAction::own_database);
  EXPECT_EQ(step.was, "ann");
  s.managed[1].owner_id = kU2;
  EXPECT_EQ(text(plan_objects(w, s)), "");
  s.databases[0].owner = "ann";
  step = step_of(plan_objects(w, s), ObjectAction::own_database);
  EXPECT_EQ(step.was, "");
  EXPECT_TRUE(step.drift);
  EXPECT_EQ(step.by, "bob");
  // A table of a release before does not say.
  s.managed[1].owner_id = "";
  EXPECT_EQ(step_of(plan_objects(w, s), ObjectAction::own_database).was, "ann");
}

TEST(ObjectsPlan, APasswordOfSqlIsToBeAdoptedIfItCanBe) {
  const std::string theirs = scram_sha256_verifier("theirs-1", "0123456789abcdef", 4096);
  const std::string huge = scram_sha256_verifier("theirs-1", std::string(27'000'000, 's'), 4096);
  const std::string slow = "SCRAM-SHA-256$1000001" + theirs.substr(theirs.find(':'));
  const std::string weak = scram_sha256_verifier("theirs-1", "0123456789abcdef", 1);
  struct Row {
    const char* what;
    std::string verifier;
    std::string applied;
    const char* want;
  };
  const Row rows[] = {
      {"as ordered", "v1", "v1", ""},
      {"not known of a release before", "v1", "", "note user ann; "},
      {"ordered anew", "v0", "v0", "alter role ann; "},
      {"changed by SQL", theirs, "v1", "NOTE password_changed; "},
      {"changed by SQL, and ordered anew", theirs, "v0", "alter role ann; "},
      {"adopted", "v1", theirs, "note user ann; "},
      {"too weak", weak, "v1", "alter role ann; "},
      {"too slow", slow, "v1", "alter role ann; "},
      {"of any size", huge, "v1", "alter role ann; "},
      {"of any size, as far as it is read", huge.substr(0, kMostVerifierBytes + 1), "v1",
       "alter role ann; "},
      {"md5", "md5c6b5a4", "v1", "alter role ann; "},
      {"none", "", "v1", "alter role ann; "},
      {"changed in a release before", theirs, "", "alter role ann; "},
  };
  for (const Row& row : rows) {
    SeenObjects s = as_wanted();
    s.roles[0].verifier = row.verifier;
    s.managed[0].applied = row.applied.empty() ? "" : applied_digest(row.applied);
    EXPECT_EQ(text(plan_objects(wanted(), s)), row.want) << row.what;
  }
  SeenObjects s = as_wanted();
  s.roles[0].verifier = theirs;
  s.roles[0].create_db = true;
  EXPECT_EQ(step_of(plan_objects(wanted(), s), ObjectAction::alter_role).verifier, "")
      << "what else is put right leaves the new password alone";
}

TEST(ObjectsPlan, ADatabaseThatWasThereIsNotMadeAgainUntilThatIsOrdered) {
  SeenObjects s = as_wanted();
  s.databases.clear();
  EXPECT_EQ(text(plan_objects(wanted(), s)), "FAIL dropped_by_tenant; ");
  ObjectsSpec w = wanted();
  w.databases[0].anew = 7;
  EXPECT_EQ(text(plan_objects(w, s)), "create database shop>ann; ");
  s.managed[1].anew = 7;  // it was, and was dropped once more
  EXPECT_EQ(text(plan_objects(w, s)), "FAIL dropped_by_tenant; ");
  s.managed[1].seen = false;  // its making was cut off
  EXPECT_EQ(text(plan_objects(w, s)), "create database shop>ann; ");
  ObjectsSpec gone = wanted();
  gone.databases.clear();
  gone.dropped_database_ids = {kD1};
  EXPECT_EQ(text(plan_objects(gone, s)), "drop database ; ");
}

TEST(ObjectsPlan, PlatformNamesAreRefusedButOfWhatWasMadeBefore) {
  ObjectsSpec w = wanted();
  w.databases[0].name = "trunkline_shop";
  EXPECT_EQ(text(plan_objects(w, {})), "create role ann; FAIL name_reserved; ");
  SeenObjects s = as_wanted();
  s.databases[0].name = s.managed[1].name = "trunkline_shop";
  EXPECT_EQ(text(plan_objects(w, s)), "");
  for (const char* name : {"trunkline_x", "trunkline_disarmed", "pg_x", "postgres", "none"}) {
    ObjectsSpec u;
    u.users = {{kU1, name, "v1"}};
    EXPECT_EQ(text(plan_objects(u, {})), "FAIL name_reserved; ") << name;
  }
}

}  // namespace
}  // namespace trunkline::agent
