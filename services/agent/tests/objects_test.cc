// Users and databases on a real primary, through the agent.
#include <gtest/gtest.h>
#include <unistd.h>

#include "agent/tests/test_host.h"
#include "base/digest.h"
#include "runtime/random.h"

namespace trunkline::agent::testing {
namespace {

class ObjectsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    order_box(host_, node_);
    order_primary(host_, node_);
    ASSERT_TRUE(host_.await_node(node_.id, is_open));
  }

  std::string add_user(const std::string& name, const std::string& password) {
    auto& user = *objects_.add_users();
    user.set_user_id(runtime::new_uuid());
    user.set_name(name);
    user.set_scram_verifier(scram_sha256_verifier(password, runtime::random_bytes(16), 4096));
    return user.user_id();
  }
  std::string add_database(const std::string& name, const std::string& owner_id) {
    auto& database = *objects_.add_databases();
    database.set_database_id(runtime::new_uuid());
    database.set_name(name);
    database.set_owner_id(owner_id);
    return database.database_id();
  }
  // Orders what objects_ holds and waits until it is done.
  void apply() {
    objects_.set_objects_version(objects_.objects_version() + 1);
    order_objects(host_, node_, objects_);
    ASSERT_TRUE(host_.await_node(node_.id, [&](const auto& n) {
      return n.objects().generation() == objects_.objects_version() &&
             n.objects().state() == v1::TASK_STATE_SUCCEEDED;
    }));
  }
  std::string db(const std::string& sql, const std::string& database = "postgres") {
    return value(host_, node_, sql, database);
  }

  TestPlatform platform_;
  TestHost host_{platform_, "host-a", "127.31.77.14"};
  TestNode node_ = make_node(host_);
  v1::ApplyObjects objects_;
};

// What a killed agent began goes on in its session: nothing is planned beside it.
TEST_F(ObjectsTest, WaitsForASessionThatIsNotDoneYet) {
  const std::string ann = add_user("ann", "secret-ann-1");
  apply();
  const std::string shop = add_database("shop", ann);
  {
    PgConnection earlier = superuser_session(host_, node_);
    earlier.exec("select pg_advisory_lock(5461002)");
    objects_.set_objects_version(objects_.objects_version() + 1);
    order_objects(host_, node_, objects_);
    ASSERT_TRUE(await_value(
        host_, node_,
        "select count(*) from pg_locks where locktype = 'advisory' and not granted", "1"));
    earlier.exec("insert into trunkline.managed (kind, id, name) values ('database', '" + shop +
                 "', 'shop')");
    earlier.exec("create database shop owner ann");
  }
  ASSERT_TRUE(host_.await_node(node_.id, [&](const auto& n) {
    return n.objects().generation() == objects_.objects_version() &&
           n.objects().state() == v1::TASK_STATE_SUCCEEDED && n.object_failures().empty();
  }));
  EXPECT_EQ(as_client(node_, "ann", "secret-ann-1", "shop", "select 1"), "");
}

TEST_F(ObjectsTest, UserConnectsToItsDatabaseAndNowhereElse) {
  const std::string ann = add_user("ann", "secret-ann-1");
  add_user("bob", "secret-bob-1");
  add_database("shop", ann);
  apply();
  EXPECT_EQ(as_client(node_, "ann", "secret-ann-1", "shop",
                      "create table t (x int); insert into t values (1)"),
            "");
  EXPECT_EQ(as_client(node_, "ann", "secret-ann-1", "shop", "select 1", "sslmode=require"), "");
  EXPECT_NE(as_client(node_, "ann", "wrong", "shop"), "");
  EXPECT_NE(as_client(node_, "bob", "secret-bob-1", "shop").find("permission denied"),
            std::string::npos);
  EXPECT_TRUE(await_value(
      host_, node_,
      "select count(*) from pg_database where has_database_privilege('public', oid, 'connect')",
      "0"));
  for (const char* closed : {"postgres", "template1"}) {
    EXPECT_NE(as_client(node_, "ann", "secret-ann-1", closed).find("permission denied"),
              std::string::npos)
        << closed;
  }
  EXPECT_NE(as_client(node_, "postgres", "", "postgres").find("rejects"), std::string::npos);
  EXPECT_NE(as_client(node_, "trunkline_replicator", "", "shop").find("rejects"),
            std::string::npos);
  EXPECT_NE(as_client(node_, "ann", "secret-ann-1", "shop", "create role eve"), "");
  EXPECT_NE(as_client(node_, "ann", "secret-ann-1", "shop", "create database x"), "");
  // Without a certificate nobody replicates.
  EXPECT_NE(
      as_client(node_, "trunkline_replicator", "", "x", "", "replication=true sslmode=require"),
      "");
  EXPECT_NE(as_client(node_, "ann", "secret-ann-1", "x", "", "replication=true").find("rejects"),
            std::string::npos);
}

TEST_F(ObjectsTest, PasswordOwnerAndNameChange) {
  const std::string ann = add_user("ann", "first-password");
  const std::string bob = add_user("bob", "secret-bob-1");
  const std::string shop = add_database("shop", ann);
  apply();
  objects_.mutable_users(0)->set_scram_verifier(
      scram_sha256_verifier("second-password", runtime::random_bytes(16), 4096));
  objects_.mutable_databases(0)->set_name("store");
  objects_.mutable_databases(0)->set_owner_id(bob);
  apply();
  EXPECT_NE(as_client(node_, "ann", "first-password", "store"), "");
  EXPECT_EQ(as_client(node_, "bob", "secret-bob-1", "store", "create table mine ()"), "");
  EXPECT_EQ(db("select count(*) from pg_database where datname = 'shop'"), "0");
  EXPECT_EQ(db("select rolname from pg_database d join pg_roles r on r.oid = datdba"
               " where datname = 'store'"),
            "bob");
  EXPECT_EQ(db("select name from trunkline.managed where id = '" + shop + "'"), "store");
}

TEST_F(ObjectsTest, DroppedUsersLeaveTheirTablesToTheOwner) {
  const std::string ann = add_user("ann", "secret-ann-1");
  const std::string bob = add_user("bob", "secret-bob-1");
  add_database("shop", ann);
  apply();
  ASSERT_EQ(
      as_client(node_, "ann", "secret-ann-1", "shop",
                "grant connect on database shop to bob; grant create on schema public to bob"),
      "");
  ASSERT_EQ(as_client(node_, "bob", "secret-bob-1", "shop", "create table of_bob ()"), "");
  objects_.mutable_users()->RemoveLast();
  objects_.add_dropped_user_ids(bob);
  apply();
  EXPECT_EQ(db("select count(*) from pg_roles where rolname = 'bob'"), "0");
  EXPECT_EQ(db("select tableowner from pg_tables where tablename = 'of_bob'", "shop"), "ann");
  EXPECT_EQ(host_.newest_node(node_.id).object_failures_size(), 0);
}

TEST_F(ObjectsTest, DroppedDatabaseGoesWithItsSessions) {
  const std::string ann = add_user("ann", "secret-ann-1");
  const std::string shop = add_database("shop", ann);
  apply();
  PgConnection open(host_.node(node_.id).socket_dir, server_user(host_, node_),
                    node_.address.port(), "shop", seconds(5));
  objects_.mutable_databases()->Clear();
  objects_.add_dropped_database_ids(shop);
  apply();
  EXPECT_EQ(db("select count(*) from pg_database where datname = 'shop'"), "0");
  EXPECT_EQ(db("select count(*) from trunkline.managed where kind = 'database'"), "0");
}

TEST_F(ObjectsTest, WhatATenantBreaksIsPutRight) {
  const std::string ann = add_user("ann", "secret-ann-1");
  add_database("shop", ann);
  apply();
  ASSERT_EQ(as_client(node_, "ann", "secret-ann-1", "shop",
                      "grant connect on database shop to public;"
                      " alter role ann password 'other-password-9';"
                      " alter database shop connection limit 0"),
            "");
  query(host_, node_, "alter role ann createrole createdb replication connection limit 3");
  query(host_, node_, "grant pg_execute_server_program to ann");
  EXPECT_TRUE(
      await_value(host_, node_,
                  "select rolcreaterole or rolcreatedb or rolreplication or rolconnlimit <> -1"
                  " from pg_authid where rolname = 'ann'",
                  "f"));
  EXPECT_TRUE(
      await_value(host_, node_,
                  "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.member"
                  " where r.rolname = 'ann'",
                  "0"));
  EXPECT_TRUE(await_value(host_, node_,
                          "select datconnlimit from pg_database where datname = 'shop'", "-1"));
  EXPECT_TRUE(await_value(
      host_, node_, "select has_database_privilege('public', 'shop', 'connect')::text", "false"));
  // The password is hers to change: it is left alone, and reported to be adopted.
  const std::string theirs = db("select rolpassword from pg_authid where rolname = 'ann'");
  EXPECT_NE(theirs, objects_.users(0).scram_verifier());
  EXPECT_TRUE(host_.await_node(node_.id, [&](const auto& n) {
    bool changed = false;
    bool drifted = false;
    for (const auto& seen : n.object_notes()) {
      changed |= seen.note().what() == "password_changed" && seen.scram_verifier() == theirs &&
                 seen.note().database_user() == "ann";
      drifted |= seen.note().what() == "drifted";
    }
    return changed && drifted;
  }));
  objects_.mutable_users(0)->set_scram_verifier(theirs);
  apply();
  EXPECT_TRUE(host_.await_node(node_.id, [](const auto& n) {
    for (const auto& seen : n.object_notes()) {
      if (seen.note().what() == "password_changed") return false;
    }
    return true;
  }));
  EXPECT_EQ(as_client(node_, "ann", "other-password-9", "shop"), "");
}

// PostgreSQL takes a salt of any size, and what is reported goes to all.
TEST_F(ObjectsTest, AVerifierOfAnySizeIsPutBackAndInNoReport) {
  const std::string ann = add_user("ann", "secret-ann-1");
  add_database("shop", ann);
  apply();
  const std::string huge =
      scram_sha256_verifier("other-password-9", std::string(3'000'000, 's'), 4096);
  ASSERT_EQ(as_client(node_, "ann", "secret-ann-1", "shop",
                      "alter role ann password '" + huge + "'"),
            "");
  ASSERT_EQ(db("select length(rolpassword) > 4000000 from pg_authid where rolname = 'ann'"), "t");
  EXPECT_TRUE(host_.await_node(node_.id, [](const auto& n) {
    for (const auto& seen : n.object_notes()) {
      EXPECT_EQ(seen.scram_verifier(), "");
      if (seen.note().what() == "drifted") return true;
    }
    return false;
  }));
  EXPECT_LT(host_.newest().ByteSizeLong(), 20'000u);
  EXPECT_EQ(db("select rolpassword from pg_authid where rolname = 'ann'"),
            objects_.users(0).scram_verifier());
}

TEST_F(ObjectsTest, OneFailureIsReportedAndTheOthersAreDone) {
  const std::string ann = add_user("ann", "secret-ann-1");
  add_database("shop", ann);
  const std::string orphan = add_database("orphan", runtime::new_uuid());
  apply();
  EXPECT_EQ(as_client(node_, "ann", "secret-ann-1", "shop"), "");
  const auto report = host_.newest_node(node_.id);
  ASSERT_EQ(report.object_failures_size(), 1);
  EXPECT_EQ(report.object_failures(0).object_id(), orphan);
  EXPECT_EQ(report.object_failures(0).failure().code(), "owner_missing");
}

TEST_F(ObjectsTest, VerifiersAreNotInTheServersLog) {
  const std::string ann = add_user("ann", "secret-ann-1");
  // A statement that fails is logged by a default configuration.
  query(host_, node_, "create role taken");
  add_user("taken", "secret-taken-1");
  add_database("shop", ann);
  apply();
  const std::string log = read_file(host_.node(node_.id).log).value_or("");
  ASSERT_NE(log.find("ready to accept connections"), std::string::npos);
  EXPECT_EQ(log.find("SCRAM-SHA-256"), std::string::npos);
}

TEST_F(ObjectsTest, SizesAreReported) {
  const std::string ann = add_user("ann", "secret-ann-1");
  const std::string shop = add_database("shop", ann);
  apply();
  ASSERT_TRUE(host_.await_node(node_.id, [&](const auto& n) {
    return n.databases_size() == 1 && n.databases(0).database_id() == shop &&
           n.databases(0).bytes() > 1'000'000 && n.data_bytes() > n.databases(0).bytes();
  }));
}

}  // namespace
}  // namespace trunkline::agent::testing
