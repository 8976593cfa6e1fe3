// What a tenant leaves behind, whatever goes wrong and in whatever order: nothing of it is ever a
// superuser's, and no code of it runs. On a real server, by real sessions.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "agent/tests/object_fixture.h"
#include "base/utf8.h"

namespace trunkline::agent::testing {
namespace {

enum class Order { set_owner, drop_database, drop_user };
enum class Hindrance { locks, reserved_name, refused_connection };

// {set owner, drop database, drop user} in any order, each while something is in the way.
TEST_F(ObjectTransfer, NothingBecomesASuperusersInAnyOrderAndWithAnyHindrance) {
  int round = 0;
  for (const Hindrance hindrance :
       {Hindrance::locks, Hindrance::reserved_name, Hindrance::refused_connection}) {
    std::array<Order, 3> orders = {Order::set_owner, Order::drop_database, Order::drop_user};
    do {
      spec_ = {};
      const std::string n = std::to_string(++round);
      SCOPED_TRACE("round " + n + ", hindrance " + std::to_string(static_cast<int>(hindrance)) +
                   ", orders " + std::to_string(static_cast<int>(orders[0])) +
                   std::to_string(static_cast<int>(orders[1])) +
                   std::to_string(static_cast<int>(orders[2])));
      const std::string mal = add_user("mal" + n);
      const std::string database = add_database("db" + n, mal);
      ASSERT_EQ(text(apply()), "");
      ASSERT_EQ(as_client(node_, "mal" + n, kPassword, "db" + n, kMakeEverything), "");
      std::vector<std::unique_ptr<Client>> holders;
      const auto hold = [&](const std::string& sql) {
        holders.push_back(std::make_unique<Client>(node_, "mal" + n, "db" + n));
        EXPECT_EQ(holders.back()->run("begin; " + sql), "");
      };
      if (hindrance == Hindrance::locks) {
        hold("alter role mal" + n + " password 'another-one-1'");
        hold("lock table mine.t; select pg_advisory_lock(1)");
        holders.push_back(std::make_unique<Client>(node_, "mal" + n, "db" + n));
        EXPECT_EQ(holders.back()->run("begin; alter database db" + n + " connection limit 20"),
                  "");
      }
      if (hindrance == Hindrance::refused_connection) {
        query(host_, node_, "alter database db" + n + " set local_preload_libraries = nope");
        query(host_, node_, "alter database db" + n + " with allow_connections false");
      }
      for (const Order order : orders) {
        if (order == Order::drop_user) remove_user(mal);
        if (order == Order::drop_database) remove_database(database);
        if (order == Order::set_owner) {
          const std::string heir =
              add_user((hindrance == Hindrance::reserved_name ? "trunkline_" : "heir") + n);
          if (!spec_.databases.empty()) spec_.databases[0].owner_id = heir;
        }
        apply();
        EXPECT_EQ(superusers(), "");
        if (has_role("mal" + n)) {
          EXPECT_EQ(db("select rolsuper from pg_roles where rolname = 'mal" + n + "'"), "f");
        }
      }
      // What is in the way is gone, but for the name: all is as ordered.
      holders.clear();
      const std::string failed = text(apply());
      EXPECT_EQ(failed.find("name_reserved") == std::string::npos,
                hindrance != Hindrance::reserved_name)
          << failed;
      EXPECT_EQ(std::count(failed.begin(), failed.end(), ';'),
                hindrance == Hindrance::reserved_name ? 1 : 0)
          << failed;
      EXPECT_FALSE(has_database("db" + n));
      EXPECT_FALSE(has_role("mal" + n));
      EXPECT_EQ(superusers(), "");
      EXPECT_EQ(db("select count(*) from pg_roles where rolsuper"), "1");
    } while (std::next_permutation(orders.begin(), orders.end()));
  }
}

// The way that was used: the new owner's name is refused, so the role's things had no heir.
TEST_F(ObjectTransfer, ARoleStaysUntilItsThingsHaveAnHeir) {
  const std::string mal = add_user("mal");
  add_database("shop", mal);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "mal", kPassword, "shop", kMakeEverything), "");
  spec_.databases[0].owner_id = add_user("trunkline_x");
  remove_user(mal);
  const std::string failed = text(apply());
  EXPECT_NE(failed.find("name_reserved"), std::string::npos) << failed;
  EXPECT_NE(failed.find("waits: waits for database"), std::string::npos) << failed;
  EXPECT_TRUE(has_role("mal"));
  EXPECT_EQ(superusers(), "");
  spec_.users[0].name = "heir";
  EXPECT_EQ(text(apply()), "");
  EXPECT_FALSE(has_role("mal"));
  EXPECT_EQ(superusers(), "");
}

// A user who goes leaves everything to the owner of the database; what would run with that one's
// rights does not run.
TEST_F(ObjectTransfer, CodeThatIsLeftDoesNotRun) {
  const std::string ann = add_user("ann");
  const std::string bob = add_user("bob");
  add_database("shop", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop",
                      "create table secret (s text); insert into secret values ('ann''s');"
                      "grant connect on database shop to bob; grant create on database shop to"
                      " bob; grant create on schema public to bob"),
            "");
  ASSERT_EQ(as_client(node_, "bob", kPassword, "shop", kMakeEverything), "");
  ASSERT_EQ(as_client(node_, "bob", kPassword, "shop", R"sql(
create extension citext;
create function steal() returns setof text language sql security definer
  begin atomic select s from public.secret; end;
create view peep as select s from public.secret;
grant select on peep to public;
create table bait (x int primary key);
create function on_bait() returns trigger language plpgsql as
  'begin perform s from public.secret; return new; end';
create trigger tr before insert on bait for each row execute function on_bait();
create function upkeep(int) returns int language plpgsql immutable as
  'begin perform s from public.secret; return $1; end';
create table kept (x int);
create index on kept (upkeep(x));
)sql"),
            "");
  remove_user(bob);
  const ObjectsResult result = apply();
  EXPECT_EQ(text(result), "");
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_EQ(result.notes[0].what, "disarmed");
  EXPECT_EQ(result.notes[0].key.id, bob);
  EXPECT_GT(result.notes[0].count, 5u);
  EXPECT_EQ(std::ranges::count(result.notes[0].items, "view mine.v"), 1);
  EXPECT_FALSE(has_role("bob"));
  EXPECT_EQ(superusers(), "");
  const auto owner = [&](const std::string& sql) { return db(sql, "shop"); };
  EXPECT_EQ(owner("select relowner::regrole from pg_class where oid = 'mine.t'::regclass"), "ann");
  EXPECT_EQ(owner("select relowner::regrole from pg_class where oid = 'mine.t_id_seq'::regclass"),
            "ann");
  EXPECT_EQ(owner("select nspowner::regrole from pg_namespace where nspname = 'mine'"), "ann");
  EXPECT_EQ(owner("select proowner::regrole from pg_proc where proname = 'plain'"), "ann");
  EXPECT_EQ(owner("select extowner::regrole from pg_extension where extname = 'citext'"), "ann");
  EXPECT_EQ(owner("select string_agg(distinct proowner::regrole::text, ' ') from pg_proc where"
                  " proname in ('definer', 'odd \" name', 'proc', 'on_write', 'steal', 'on_bait',"
                  " 'upkeep')"),
            "ann");
  const auto as_ann = [&](const std::string& sql) {
    return as_client(node_, "ann", kPassword, "shop", sql);
  };
  EXPECT_NE(as_ann("select * from peep").find("permission denied"), std::string::npos);
  for (const char* sql : {"select steal()", "select mine.plain()", "call mine.proc()",
                          "insert into bait values (1)", "insert into kept values (1)",
                          "insert into mine.t (x) values (0)"}) {
    EXPECT_NE(as_ann(sql).find("was left by user bob and is disarmed"), std::string::npos) << sql;
  }
  EXPECT_EQ(owner("select ev_enabled from pg_rewrite where rulename = 'r'"), "D");
  // She can tidy up.
  EXPECT_EQ(as_ann("drop view mine.v; drop materialized view mine.mv;"
                   " drop function mine.definer()"), "");
}

// Names are a tenant's, and go into reports: a text that is cut within a character spoils all.
TEST_F(ObjectTransfer, LongNamesAreCutBetweenCharacters) {
  const std::string ann = add_user("ann");
  const std::string bob = add_user("bob");
  add_database("shop", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop",
                      "grant connect, create on database shop to bob"),
            "");
  std::string long_name;
  for (int i = 0; i < 20; ++i) long_name += "\u3042";
  std::string sql;
  for (const char* before : {"", "a", "ab"}) {
    const std::string schema = std::string("\"") + before + long_name + "\"";
    sql += "create schema " + schema + "; create function " + schema + "." + schema +
           "() returns int language sql security definer as 'select 1';";
  }
  ASSERT_EQ(as_client(node_, "bob", kPassword, "shop", sql), "");
  remove_user(bob);
  const ObjectsResult result = apply();
  ASSERT_EQ(text(result), "");
  ASSERT_EQ(result.notes.size(), 1u);
  ASSERT_EQ(result.notes[0].items.size(), 3u);
  for (const std::string& item : result.notes[0].items) {
    EXPECT_GT(item.size(), 90u);
    EXPECT_EQ(item, bounded_text(item, 100)) << "cut within a character";
    EXPECT_EQ(item.find('?'), std::string::npos);
  }
}

// What becomes of an owner's things when the database gets another one.
TEST_F(ObjectTransfer, ADatabasesNewOwnerGetsTheFormerOnesThings) {
  const std::string ann = add_user("ann");
  const std::string bob = add_user("bob");
  add_database("shop", ann);
  add_database("other", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop", kMakeEverything), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "other", "create table stays ()"), "");
  Client session(node_, "ann", "shop");
  EXPECT_EQ(session.run("begin; insert into mine.t (x) values (1)"), "");
  spec_.databases[0].owner_id = bob;
  const ObjectsResult result = apply();
  EXPECT_EQ(text(result), "");
  EXPECT_FALSE(session.alive()) << "who may not connect any more is out";
  ASSERT_EQ(result.notes.size(), 1u);
  EXPECT_EQ(result.notes[0].count, 4u) << "definer, odd name, proc and the rule";
  EXPECT_EQ(as_client(node_, "bob", kPassword, "shop",
                      "select * from mine.t; select * from mine.v; insert into mine.t values (1);"
                      " alter table mine.t add y int; drop type mine.pair"),
            "");
  EXPECT_NE(as_client(node_, "ann", kPassword, "shop"), "");
  EXPECT_EQ(db("select tableowner from pg_tables where tablename = 'stays'", "other"), "ann");
  EXPECT_EQ(db("select datdba::regrole from pg_database where datname = 'other'"), "ann");
  EXPECT_EQ(as_client(node_, "ann", kPassword, "other", "select * from stays"), "");
  EXPECT_EQ(superusers(), "");
  EXPECT_EQ(text(apply()), "");
}

// A view over what is not the former owner's neither reads nor writes it with the new one's rights.
TEST_F(ObjectTransfer, AViewThatIsHandedOverReadsNoMoreThanBefore) {
  const std::string ann = add_user("ann");
  const std::string bob = add_user("bob");
  add_database("shop", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop",
                      "grant connect on database shop to bob; create schema b;"
                      " grant create, usage on schema b to bob, public"),
            "");
  ASSERT_EQ(as_client(node_, "bob", kPassword, "shop",
                      "create table b.secret (s text); create table b.shared (s text);"
                      " grant select on b.shared to ann"),
            "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop",
                      "create view peep as select * from b.secret; create view more as select *"
                      " from b.shared; grant all on peep, more to public; create table own (x int);"
                      " create view fine as select * from own; create view finer as select * from"
                      " fine; create materialized view finest as select * from finer"),
            "");
  spec_.databases[0].owner_id = bob;
  EXPECT_EQ(text(apply()), "");
  const std::string owners =
      db("select string_agg(relname || ' ' || relowner::regrole, ', ' order by relname) from"
         " pg_class where relnamespace = 'public'::regnamespace and relkind in ('v', 'm', 'r')",
         "shop");
  EXPECT_EQ(owners, "fine bob, finer bob, finest bob, more trunkline_disarmed_views, own bob, peep"
                    " trunkline_disarmed_views");
}

// Nothing that its owner sets for a database reaches the platform's sessions there.
TEST_F(ObjectTransfer, SettingsOfADatabaseDoNotReachThePlatformsSessions) {
  const std::string ann = add_user("ann");
  const std::string bob = add_user("bob");
  add_database("shop", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop",
                      "grant connect on database shop to bob; grant create on schema public to"
                      " bob"),
            "");
  ASSERT_EQ(as_client(node_, "bob", kPassword, "shop",
                      "create table t (); create function f() returns int language sql security"
                      " definer as 'select 1'"),
            "");
  std::string settings;
  for (const char* setting :
       {"role = ann", "session_authorization = ann", "local_preload_libraries = nope",
        "statement_timeout = 1", "lock_timeout = 1", "default_transaction_read_only = on",
        "default_transaction_isolation = serializable", "search_path = evil", "exit_on_error = on",
        "standard_conforming_strings = off", "datestyle = german", "idle_session_timeout = 1",
        "client_connection_check_interval = 1", "transaction_read_only = on",
        "default_tablespace = nope", "bytea_output = escape", "quote_all_identifiers = on"}) {
    settings += std::string("alter database shop set ") + setting + ";";
  }
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop", settings), "");
  const int version = superuser_session(host_, node_).server_version();
  PgConnection there(host_.node(node_.id).socket_dir,
                     server_user(host_, node_), node_.address.port(), "shop",
                     seconds(5), version);
  const PgRows session =
      there.exec("select current_user, session_user, current_setting('is_superuser'),"
                 " current_setting('search_path'), current_setting('local_preload_libraries'),"
                 " (select count(*) from pg_settings where source in ('database', 'user'))");
  EXPECT_EQ(session.at(0), (PgRow{"postgres", "postgres", "on", "pg_catalog,pg_temp", "", "0"}));
  remove_user(bob);
  EXPECT_EQ(text(apply()), "");
  EXPECT_FALSE(has_role("bob"));
  query(host_, node_, "alter database shop reset all");
  EXPECT_EQ(db("select tableowner from pg_tables where tablename = 't'", "shop"), "ann");
}

// What is held by somebody who is not ended: the rest goes, and the role waits for it.
TEST_F(ObjectTransfer, AnObjectThatFailsLeavesTheOthers) {
  const std::string ann = add_user("ann");
  const std::string mal = add_user("mal");
  add_database("shop", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop",
                      "grant connect on database shop to mal; grant create on schema public to"
                      " mal"),
            "");
  ASSERT_EQ(as_client(node_, "mal", kPassword, "shop",
                      "create table a (); create table b (); create table c ()"),
            "");
  {
    PgConnection holder = superuser_session(host_, node_, "shop");
    holder.exec("begin; lock table public.b");
    remove_user(mal);
    const std::string failed = text(apply());
    EXPECT_NE(failed.find("objects_remain"), std::string::npos) << failed;
    EXPECT_NE(failed.find("table public.b"), std::string::npos) << failed;
  }
  EXPECT_TRUE(has_role("mal"));
  EXPECT_EQ(db("select string_agg(tablename, '' order by tablename) from pg_tables where"
               " tableowner = 'ann'",
               "shop"),
            "ac");
  EXPECT_EQ(text(apply()), "");
  EXPECT_FALSE(has_role("mal"));
}

// Sessions first: whoever holds a row of the catalogs does not hold up what is ordered.
TEST_F(ObjectTransfer, LocksOfATenantAreBroken) {
  const std::string mal = add_user("mal");
  const std::string ann = add_user("ann");
  add_database("shop", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop", "grant connect on database shop to mal"),
            "");
  Client holder(node_, "mal", "shop");
  ASSERT_EQ(holder.run("begin; alter role mal password 'held-for-ever-1'"), "");
  spec_.users[0].scram_verifier = scram_sha256_verifier("ordered-one-1", "fedcba9876543210", 4096);
  EXPECT_EQ(text(apply()), "") << "a new password does not wait for the old one's sessions";
  EXPECT_FALSE(holder.alive());
  EXPECT_EQ(as_client(node_, "mal", "ordered-one-1", "shop"), "");

  // One who became another by SET ROLE is not seen as that one.
  query(host_, node_, "grant mal to ann");
  Client as_mal(node_, "ann", "shop");
  ASSERT_EQ(as_mal.run("set role mal; begin; select 1"), "");
  remove_user(mal);
  EXPECT_EQ(text(apply()), "");
  EXPECT_FALSE(as_mal.alive());
  EXPECT_FALSE(has_role("mal"));

  const std::string lost = spec_.databases[0].id;
  Client owner(node_, "ann", "shop");
  ASSERT_EQ(owner.run("begin; alter database shop connection limit 20"), "");
  remove_database(lost);
  EXPECT_EQ(text(apply()), "");
  EXPECT_FALSE(has_database("shop"));
}

// In turns that each let the node be looked at, and in batches that the lock table has room for.
TEST_F(ObjectTransfer, ThousandsOfTablesGoInBatches) {
  const std::string ann = add_user("ann");
  const std::string mal = add_user("mal");
  add_database("shop", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "shop",
                      "grant connect, create on database shop to mal"),
            "");
  ASSERT_EQ(as_client(node_, "mal", kPassword, "shop", "create schema many"), "");
  const int calls = 3;
  for (int i = 0; i < calls; ++i) {
    ASSERT_EQ(as_client(node_, "mal", kPassword, "shop",
                        "do $$ begin for i in 1..400 loop execute format('create table many.t" +
                            std::to_string(i) + "_%s (x int primary key)', i); end loop; end $$"),
              "");
  }
  remove_user(mal);
  int turns = 0;
  ObjectsResult result;
  do {
    result = apply();
    ASSERT_TRUE(result.more || result.failures.empty()) << text(result);
  } while (result.more && ++turns < 20);
  EXPECT_FALSE(has_role("mal"));
  EXPECT_EQ(db("select count(*) from pg_tables where schemaname = 'many' and tableowner = 'ann'",
               "shop"),
            std::to_string(calls * 400));
}

TEST_F(ObjectTransfer, AUserAndADatabaseOfOneIdLiveAndDieEachForItself) {
  const std::string ann = add_user("ann");
  spec_.databases.push_back({ann, "shop", ann, 0});
  ASSERT_EQ(text(apply()), "");
  EXPECT_EQ(text(apply()), "");
  EXPECT_EQ(db("select count(*) from trunkline.managed where id = '" + ann + "'"), "2");
  const std::string bob = add_user("bob");
  spec_.databases[0].owner_id = bob;
  remove_user(ann);
  EXPECT_EQ(text(apply()), "");
  EXPECT_TRUE(has_database("shop"));
  EXPECT_FALSE(has_role("ann"));
  EXPECT_EQ(db("select datdba::regrole from pg_database where datname = 'shop'"), "bob");
}

// As nodes of a release before have it.
TEST_F(ObjectTransfer, TheTableOfAReleaseBeforeIsTakenOver) {
  query(host_, node_,
        "drop table trunkline.managed; create table trunkline.managed (kind text not null check"
        " (kind in ('user', 'database')), id uuid primary key, name text not null)");
  const std::string ann = add_user("ann");
  const std::string shop = add_database("shop", ann);
  query(host_, node_, "create role ann login; alter role ann password '" +
                          spec_.users[0].scram_verifier + "'");
  query(host_, node_, "create database shop owner ann");
  query(host_, node_, "insert into trunkline.managed values ('user', '" + ann +
                          "', 'ann'), ('database', '" + shop + "', 'shop')");
  EXPECT_EQ(text(apply()), "");
  EXPECT_EQ(db("select owner_id from trunkline.managed where id = '" + shop + "'"), ann);
  // An agent of before still writes to it.
  query(host_, node_,
        "insert into trunkline.managed (kind, id, name) values ('user', '" + ann +
            "', 'ann') on conflict (id) do update set name = excluded.name");
  const ObjectsResult again = apply();
  EXPECT_EQ(text(again), "");
  EXPECT_EQ(again.changes, 0u);
}

TEST_F(ObjectTransfer, ADatabaseThatATenantDroppedIsMadeAnewOnlyWhenThatIsOrdered) {
  const std::string ann = add_user("ann");
  add_database("shop", ann);
  add_database("desk", ann);
  ASSERT_EQ(text(apply()), "");
  ASSERT_EQ(as_client(node_, "ann", kPassword, "desk", "drop database shop"), "");
  for (int i = 0; i < 2; ++i) {
    const ObjectsResult lost = apply();
    ASSERT_EQ(lost.failures.size(), 1u);
    EXPECT_EQ(lost.failures[0].code, "dropped_by_tenant");
    EXPECT_NE(lost.failures[0].message.find("ann"), std::string::npos);
    EXPECT_FALSE(has_database("shop"));
  }
  spec_.databases[0].anew = 9;
  EXPECT_EQ(text(apply()), "");
  EXPECT_TRUE(has_database("shop"));
  ASSERT_EQ(as_client(node_, "ann", kPassword, "desk", "drop database shop"), "");
  EXPECT_EQ(apply().failures.size(), 1u);
}

}  // namespace
}  // namespace trunkline::agent::testing
