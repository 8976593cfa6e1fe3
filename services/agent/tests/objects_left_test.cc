// Code and data that deleted users left, against whoever would profit by them: nothing of it runs,
// and what it can reach has no rights. On a real server.
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <thread>

#include "agent/tests/object_fixture.h"

namespace trunkline::agent::testing {
namespace {

// Routines of a role that nobody is.
constexpr char kNobodysCode[] =
    "select coalesce(string_agg(oid::regprocedure::text, ', '), '') from pg_proc where"
    " proowner::regrole::text ~ '^trunkline_'";
// Data that shares its owner with anything but its own sequences.
constexpr char kSharedData[] =
    "select coalesce(string_agg(r.rolname, ', '), '') from pg_roles r where rolname ~"
    " '^trunkline_disarmed' and exists (select from pg_class where relowner = r.oid and relkind in"
    " ('r', 'p', 'm', 'f')) and (select count(*) from pg_shdepend where refobjid = r.oid and"
    " deptype = 'o' and objid not in (select oid from pg_class where relkind = 'S')) <> 1";

constexpr char kRun[] =
    "create function run(q text) returns text language plpgsql security definer as"
    " $$ declare r text; begin execute q into r; return r; end $$;";

// As the customer: the definition that stands in the routine's source is run.
std::string restores(const std::string& routine) {
  return "do $$ begin execute (select regexp_replace(split_part(prosrc, E'\\nend\\n-- ', 2),"
         " E'\\n-- ', E'\\n', 'g') from pg_proc where proname = " +
         ("'" + routine + "'") + "); end $$";
}

// ann has the database and a secret; bob, ben and eve may make things in it.
class ObjectsLeft : public ObjectTransfer {
 protected:
  void SetUp() override {
    const std::string ann = add_user("ann");
    for (const char* name : {"bob", "ben", "eve"}) ids_[name] = add_user(name);
    add_database("shop", ann);
    ASSERT_EQ(text(apply()), "");
    ASSERT_EQ(as("ann", "create table secret (x text); insert into secret values ('gold');"
                        "grant connect, create, temporary on database shop to bob, ben, eve;"
                        "grant usage, create on schema public to bob, ben, eve"),
              "");
  }
  std::string as(const std::string& user, const std::string& sql) {
    return as_client(node_, user, kPassword, "shop", sql);
  }
  std::string shop(const std::string& sql) { return db(sql, "shop"); }
  std::string owner_of(const std::string& relation) {
    return shop("select relowner::regrole from pg_class where oid = '" + relation + "'::regclass");
  }
  void leaves(const std::string& user) {
    remove_user(ids_[user]);
    EXPECT_EQ(text(apply()), "");
    EXPECT_FALSE(has_role(user));
    EXPECT_EQ(superusers(), "");
    EXPECT_EQ(shop(kNobodysCode), "");
    EXPECT_EQ(shop(kSharedData), "");
  }
  void expect_disarmed(const std::string& user, const std::string& sql) {
    const std::string error = as(user, sql);
    EXPECT_NE(error.find("is disarmed"), std::string::npos) << sql << ": " << error;
  }
  void expect_denied(const std::string& user, const std::string& sql) {
    const std::string error = as(user, sql);
    EXPECT_NE(error.find("permission denied"), std::string::npos) << sql << ": " << error;
  }

  std::map<std::string, std::string> ids_;
};

TEST_F(ObjectsLeft, CodeCannotArmItself) {
  ASSERT_EQ(as("bob", std::string(kRun) + R"sql(
create table orders (n int);
create function stamp() returns trigger language plpgsql as $$ begin
  begin execute 'grant select on secret to eve'; exception when others then null; end;
  begin execute 'alter function stamp() security invoker'; exception when others then null; end;
  return new; end $$;
create trigger s before insert on orders execute function stamp();
)sql"),
            "");
  leaves("bob");
  for (int i = 0; i < 3; ++i) expect_disarmed("ann", "insert into orders values (1)");
  for (const char* user : {"ann", "eve"}) {
    expect_disarmed(user, "select run('alter function run(text) security invoker')");
  }
  expect_denied("eve", "select * from secret");
  // She reads what it was, and makes it anew.
  EXPECT_NE(shop("select prosrc from pg_proc where proname = 'stamp'").find("grant select"),
            std::string::npos);
  EXPECT_EQ(as("ann", "create or replace function stamp() returns trigger language plpgsql as"
                      " 'begin return new; end'; insert into orders values (1)"),
            "");
  EXPECT_EQ(as("ann", restores("run") + "; select run('select 1')"), "");
  EXPECT_EQ(as("ann", "drop function run(text); drop table orders; drop function stamp()"), "");
}

// A role without rights has an owner's over all that it owns.
TEST_F(ObjectsLeft, DataIsNotReadByWhatAnotherOneLeft) {
  ASSERT_EQ(as("bob", "create materialized view pay as select 'pay'::text as x; create materialized"
                      " view pay2 as select x from pay; grant select on pay2 to ann;"
                      "grant select on pay to ben"),
            "");
  ASSERT_EQ(as("ben", std::string(kRun) + "create view peep as select * from pay;"
                                          "grant select on peep to eve"),
            "");
  ASSERT_EQ(as("bob", "revoke select on pay from ben"), "");
  leaves("bob");
  leaves("ben");
  expect_disarmed("eve", "select run('select x from pay')");
  expect_denied("eve", "select * from peep");
  expect_denied("eve", "select * from pay");
  EXPECT_EQ(as("ann", "select * from pay2"), "") << "who could read it still can";
  EXPECT_NE(as("ann", "refresh materialized view pay2"), "");
  EXPECT_EQ(as("ann", "drop view peep; drop materialized view pay, pay2"), "");
  EXPECT_EQ(text(apply()), "");
  EXPECT_EQ(db("select count(*) from pg_roles where rolname ~ '^trunkline_disarmed_[0-9]'"), "0");
}

// Routines of every shape, and every way in which PostgreSQL calls one by itself.
constexpr char kEveryWay[] = R"sql(
create schema z; grant usage on schema z to public; set search_path = z, public;
create function plain() returns int language sql as 'select 1';
create function atomic() returns int begin atomic select 1; end;
create function several_rows() returns table (a int, "B c" text) language sql as
  $$ select 1, 'x' $$;
create function one_row() returns table (a int) language sql as 'select 1';
create function outs(out a int, inout b text, c int) language sql as $$ select 1, 'x' $$;
create function set_of() returns setof record language sql as 'select 1, 2';
create function several(variadic x int[]) returns int language sql as 'select 1';
create function poly(x anyelement, y anyarray default '{1}'::int[]) returns anyelement
  language sql as 'select x';
create function by_default(x int default 1 / 0, y text default 'a') returns int language sql
  stable set work_mem = '1MB' as 'select 1';
create function "odd "" $disarm$ %s name"(text) returns text language sql as E' select ''\r\n-- %
$disarm$''; --';
create function nothing() returns void language sql as '';
create procedure twins(int, int) language sql as '';
create procedure twins(int, out int) language sql as 'select 1';
create function same_name(x int, out x int) language sql as 'select 1';
create function win(int) returns int language plpgsql window as 'begin return 1; end';
do $$ begin execute format('create function long() returns int language plpgsql as %L',
  'begin return 1; end' || repeat(E'\n', 2000000)); end $$;
create procedure proc(inout x int) language plpgsql as 'begin x := 1; end';
create function acc(int, int) returns int language sql immutable as 'select $1 + $2';
create function ok(int) returns bool language sql immutable as 'select true';
create function same(int) returns int language sql immutable as 'select $1';
create aggregate agg (int) (sfunc = acc, stype = int, initcond = '0');
create aggregate rows (*) (sfunc = same, stype = int, initcond = '0');
create aggregate ranked (order by int) (sfunc = acc, stype = int, initcond = '0');
create operator <+> (leftarg = int, rightarg = int, function = acc);
create type mood as enum ('good');
create function to_int(mood) returns int language sql as 'select 1';
create cast (mood as int) with function to_int(mood) as implicit;
create domain small as int check (ok(value));
create function diff(int, int) returns float8 language sql immutable as 'select 1.0::float8';
create type span as range (subtype = int, subtype_diff = diff);
create table d (a int, x int default plain());
create table c (x int check (ok(x)));
create table g (a int, x int generated always as (same(a)) stored);
create table i (x int); create index on i (same(x));
create table ip (x int); create index on ip (x) where ok(x);
create table pk (x int) partition by range (same(x));
create table pk1 partition of pk for values from (0) to (9);
create table pol (x int); insert into pol values (1);
alter table pol enable row level security, force row level security;
create policy p on pol using (ok(x)) with check (ok(x));
create table st (x int); insert into st values (1), (2);
create statistics sts on same(x), x from st;
create table dom (x small);
create table w (x int);
create function tr() returns trigger language plpgsql as 'begin return new; end';
create trigger t before insert on w for each row when (ok(new.x)) execute function tr();
create view v as select x from pol; grant select on v to public;
create trigger tv instead of insert on v for each row execute function tr();
grant all on all tables in schema z to public;
)sql";

TEST_F(ObjectsLeft, NoWayOfCallingARoutineRunsIt) {
  ASSERT_EQ(as("bob", kEveryWay), "");
  leaves("bob");
  EXPECT_EQ(shop("select count(*) from pg_proc p join pg_language l on l.oid = prolang where"
                 " pronamespace = 'z'::regnamespace and prokind <> 'a' and lanname <> 'internal'"
                 " and (prosecdef or proconfig is not null or proargdefaults is not null or"
                 " prosrc !~ E'^begin\\n  raise exception')"),
            "0");
  for (const char* sql :
       {"select z.plain()", "select z.atomic()", "select * from z.several_rows()",
        "select * from z.one_row()", "select z.outs('a', 1)", "select z.set_of()",
        "select z.rows(*) from generate_series(1, 2)", "select z.several(1, 2)",
        "select z.poly(1, '{1}'::int[])", "select z.by_default(1, 'a')",
        "select z.\"odd \"\" $disarm$ %s name\"('a')", "select z.nothing()", "call z.proc(1)",
        "call z.twins(1, 2)", "select z.long()", "select z.agg(x) from generate_series(1, 2) x",
        "select 1 operator(z.<+>) 2", "select 'good'::z.mood::int", "select 1::z.small",
        "select z.diff(1, 2)", "insert into z.d values (1)", "insert into z.c values (1)",
        "insert into z.g values (1)", "insert into z.i values (1)", "insert into z.ip values (1)",
        "insert into z.pk values (1)", "insert into z.pol values (1)", "analyze z.st",
        "insert into z.dom values (1)", "insert into z.w values (1)",
        "insert into z.v values (1)"}) {
    expect_disarmed("ann", sql);
  }
  EXPECT_EQ(shop("select provolatile from pg_proc where proname = 'same'"), "i") << "for dumps";
  for (const char* name : {"plain", "atomic", "several_rows", "one_row", "outs", "several", "poly",
                           "by_default", "proc", "same", "ok", "odd \" $disarm$ %s name"}) {
    EXPECT_EQ(as("ann", restores(name)), "") << name;
  }
  EXPECT_EQ(as("ann", "select z.atomic(); insert into z.c values (1); call z.proc(1)"), "");
}

// Foreign keys write as the table's owner, whoever deletes, and vacuum looks as that one.
TEST_F(ObjectsLeft, CodeOfOthersDoesNotRunAsTheHeir) {
  ASSERT_EQ(as("eve", R"sql(
create schema e; grant usage on schema e to public; set search_path = e, public;
create table parent (x int primary key); insert into parent values (0), (1), (2);
grant all on parent to public;
create function act(int) returns bool language plpgsql immutable as
  $$ begin begin execute 'grant select on public.secret to eve'; exception when others then null;
  end; return true; end $$;
create function key(int) returns int language plpgsql immutable as
  'begin return case when e.act($1) then $1 end; end';
create function pick(int, int) returns int language plpgsql immutable as
  'begin return case when e.act($1) then $2 end; end';
create function tr() returns trigger language plpgsql as
  'begin perform e.act(1); return coalesce(new, old); end';
create domain own as int;
create domain outer_own as own;
create domain armed as int check (e.act(value)); create type trap as (x armed);
create view v as select act(1) as ok;
)sql"),
            "");
  ASSERT_EQ(as("bob", R"sql(
create schema z; grant usage on schema z to public; set search_path = z, public;
create table plain_data (x int);
create table chk (x int references e.parent on delete set null, check (e.act(x)));
create table def (a int, x int default e.key(1));
create table gen (a int, x int generated always as (e.key(a)) stored);
create table ix (x int); create index on ix (e.key(x));
create table part (x int) partition by range (e.key(x));
create table part1 partition of part for values from (0) to (9);
create table dom (x e.outer_own);
create type pair as (a e.own); create table comp (x pair[]);
create domain mine as int check (e.act(value)); create table usedom (x mine);
create operator <+> (leftarg = int, rightarg = int, function = e.pick);
create table oper (x int check (x operator(z.<+>) 1 > 0));
create aggregate agg (int) (sfunc = e.pick, stype = int);
create table pol (x int); create policy p on pol using (x > (select agg(x) from e.parent));
create table sql (x int references e.parent on delete set null); insert into sql values (2);
alter table sql add check (query_to_xml('select * from public.secret', true, true, '')::text::int
  is not null) not valid;
create table lo (a int, b int default lo_creat(0));
create table stat (x int);
create statistics s on (query_to_xml('select e.act(1)', true, true, '')::text), x from stat;
create operator <|> (leftarg = tsquery, rightarg = text, function = pg_catalog.ts_rewrite);
create table rewr (x int, check ('a'::tsquery operator(z.<|>) 'select ''a''::tsquery,
  ''b''::tsquery where e.act(1)' is not null));
do $$ begin execute format('create table recin (x int); alter table recin add check
  (record_in(%L::cstring, %s, -1) is not null) not valid', '(1)', 'e.trap'::regtype::oid); end $$;
create table pview (x int); alter table pview enable row level security;
create policy p on pview using ((select ok from e.v));
create table ptable (x int); create policy p on ptable using (x in (select x from plain_data));
create extension tablefunc;
create table ext (x int); create policy p on ext using (exists (select from
  crosstab('select ''a''::text, ''b''::text, e.act(1)::text') as ct(a text, b text)));
create table usual (id int generated always as identity, at timestamptz default now() check
  (date_trunc('day', at) > '2020-01-01'), a text check (a ~ '^[a-z]+$' and lower(a) in ('b', 'c')),
  j jsonb check (j ->> 'k' is not null), n numeric check (round(n, 2) = n), d date default
  current_date, x int[] check (cardinality(x) < 3), u text default current_user);
create index on usual (lower(a)) where length(a) > 1;
create table plain (id serial primary key, u uuid default gen_random_uuid(), t timestamptz
  default clock_timestamp(), n text check (length(n) < 10), x int references e.parent);
create table tr (x int references e.parent on delete cascade);
create trigger t before insert or delete on tr for each row execute function e.tr();
create table wh (x int references e.parent on delete cascade);
create function own() returns trigger language plpgsql as 'begin return new; end';
create trigger t before insert on wh for each row when (e.act(new.x)) execute function own();
insert into chk values (1); insert into tr values (0);
)sql"),
            "");
  leaves("bob");
  for (const char* table : {"chk", "def", "gen", "ix", "part", "part1", "dom", "comp", "usedom",
                            "oper", "pol", "sql", "lo", "stat", "rewr", "recin", "pview", "ext"}) {
    EXPECT_EQ(owner_of("z." + std::string(table)).find("trunkline_disarmed_"), 0u) << table;
  }
  for (const char* table : {"plain", "tr", "wh", "usual", "ptable", "plain_data"}) {
    EXPECT_EQ(owner_of("z." + std::string(table)), "ann") << table;
  }
  EXPECT_EQ(shop("select string_agg(tgenabled::text, '') from pg_trigger where tgname = 't'"),
            "DD");
  EXPECT_EQ(as("eve", "delete from e.parent where x < 2"), "");
  expect_denied("eve", "delete from e.parent");
  expect_denied("eve", "select * from secret");
  EXPECT_EQ(as("ann", "drop schema z cascade"), "");
}

// A call that had begun goes on as the role that is dropped, in the session of another one.
TEST_F(ObjectsLeft, WhatIsMadeMeanwhileIsDisarmedToo) {
  ASSERT_EQ(as("bob", R"sql(
create procedure busy() language plpgsql as $$ begin
  for i in 1..1000 loop
    perform pg_sleep(0.001);
    begin
      execute format('create function late%s() returns text language sql security definer as'
                     ' ''select x from secret''', i);
      execute format('create view seen%s as select x from secret', i);
    exception when others then null;
    end;
  end loop; end $$;
alter procedure busy() security definer;
)sql"),
            "");
  std::thread busy([&] { as("eve", "call busy()"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  remove_user(ids_["bob"]);
  for (int turn = 0; turn < 20 && has_role("bob"); ++turn) apply();
  busy.join();
  for (int turn = 0; turn < 20 && has_role("bob"); ++turn) apply();
  EXPECT_FALSE(has_role("bob"));
  EXPECT_EQ(shop(kNobodysCode), "");
  EXPECT_EQ(shop("select count(*) from pg_proc where proname ~ '^late' and prosecdef"), "0");
  EXPECT_EQ(shop("select count(*) from pg_class where relname ~ '^seen' and relowner ="
                 " 'ann'::regrole"),
            "0");
}

// The same of a database that is handed over: what its former owner's code makes meanwhile.
TEST_F(ObjectsLeft, WhatIsMadeMeanwhileIsNotArmedAsTheNewOwners) {
  ASSERT_EQ(as("ann", R"sql(
create procedure busy() language plpgsql security definer as $$ begin
  for i in 1..1000 loop
    execute format('create function late%s() returns text language sql security definer as
      $q$ select x from secret $q$', i);
  end loop; end $$;
do $$ begin for i in 1..400 loop execute format('create table many%s (x int)', i); end loop; end $$
)sql"),
            "");
  std::thread busy([&] {
    for (int i = 0; i < 10; ++i) as("eve", "call busy()");
  });
  spec_.databases[0].owner_id = ids_["ben"];
  for (int turn = 0; turn < 20 && !text(apply()).empty();) ++turn;
  busy.join();
  EXPECT_EQ(text(apply()), "");
  EXPECT_EQ(shop("select count(*) from pg_proc where proowner = 'ben'::regrole and prosecdef"),
            "0");
  EXPECT_EQ(owner_of("public.many400"), "ben");
}

// Who owns the schema can put something of her own in the place of what is about to go.
TEST_F(ObjectsLeft, NothingOfOthersGoesUnderANameOfWhatIsLeft) {
  ASSERT_EQ(as("eve", "create schema w; grant usage, create on schema w to bob"), "");
  ASSERT_EQ(as("bob", "do $$ begin for i in 1..700 loop execute format("
                      "'create table w.t%s (x int)', i); end loop; end $$"),
            "");
  std::thread swap([&] {
    for (int i = 700; i > 0; --i) {
      const std::string t = "w.t" + std::to_string(i);
      as("eve", "begin; drop table " + t + "; create table " + t + " (eves int); commit");
    }
  });
  remove_user(ids_["bob"]);
  for (int turn = 0; turn < 50 && has_role("bob"); ++turn) apply();
  swap.join();
  for (int turn = 0; turn < 50 && has_role("bob"); ++turn) apply();
  EXPECT_FALSE(has_role("bob"));
  EXPECT_EQ(shop("select count(*) from pg_attribute a join pg_class c on c.oid = a.attrelid where"
                 " attname = 'eves' and relowner = 'ann'::regrole"),
            "0");
}

// Whoever owns the database is this role.
TEST_F(ObjectsLeft, CodeOfTheOwnersRoleIsNotTheNextOwners) {
  ASSERT_EQ(as("ann", std::string(kRun) + "alter function run(text) owner to pg_database_owner;"
                                          "grant execute on function run(text) to eve"),
            "");
  spec_.databases[0].owner_id = ids_["ben"];
  EXPECT_EQ(text(apply()), "");
  expect_disarmed("eve", "select run('select 1')");
}

// What stands in the way of one kind leaves no other armed, and goes.
TEST_F(ObjectsLeft, NothingThatCannotBeChangedKeepsCodeArmed) {
  spec_.databases.push_back({runtime::new_uuid(), "west", spec_.databases[0].owner_id, 0});
  spec_.databases.back().locale = "C";
  spec_.databases.back().encoding = "WIN1252";
  ASSERT_EQ(text(apply()), "");
  const auto west = [&](const std::string& user, const std::string& sql) {
    return as_client(node_, user, kPassword, "west", sql);
  };
  ASSERT_EQ(west("ann", "grant connect, create, temporary on database west to bob, eve;"
                        "grant usage, create on schema public to bob, eve"),
            "");
  // A byte that UTF-8 has no character for.
  ASSERT_EQ(west("bob", std::string(kRun) + "set client_encoding = 'WIN1252';"
                                            "create view \"a\x81\" as select 1"),
            "");
  ASSERT_EQ(as("bob", std::string(kRun) + "create function temp() returns void language plpgsql"
                      " security definer as $$ begin create temporary view bv as select 1;"
                      " create temporary table bt as select 1 as x; end $$"),
            "");
  Client eve(node_, "eve", "shop");
  ASSERT_EQ(eve.run("select temp()"), "");
  leaves("bob");
  const std::string error = west("eve", "select run('select 1')");
  EXPECT_NE(error.find("is disarmed"), std::string::npos) << error;
  expect_disarmed("eve", "select run('select 1')");
}

// More than is looked through is taken for code.
TEST_F(ObjectsLeft, AnExpressionThatIsTooLongIsCode) {
  ASSERT_EQ(as("bob", "do $$ begin execute 'create table long (x int, check (x <> all (''{' ||"
                      " (select string_agg((random() * 1e9)::int::text, ',') from"
                      " generate_series(1, 20000)) || '}'')))'; end $$"),
            "");
  leaves("bob");
  EXPECT_EQ(owner_of("public.long").find("trunkline_disarmed_"), 0u);
}

// Vacuum against wraparound gives way to nobody.
TEST_F(ObjectsLeft, AVacuumThatIsSlowedDownHoldsUpNothing) {
  query(host_, node_, "alter system set autovacuum_naptime = '1s'");
  query(host_, node_, "select pg_reload_conf()");
  ASSERT_EQ(as("bob", "create table old (x text) with (autovacuum_enabled = false,"
                      " autovacuum_freeze_max_age = 100000, autovacuum_vacuum_cost_delay = 100,"
                      " autovacuum_vacuum_cost_limit = 1); insert into old select repeat('x', 500)"
                      " from generate_series(1, 60000); create table burnt (); do $$ begin for i in"
                      " 1..120000 loop begin insert into burnt default values; exception when"
                      " others then null; end; end loop; end $$"),
            "");
  const auto vacuums = [&] {
    return db("select count(*) from pg_stat_activity where backend_type = 'autovacuum worker' and"
              " query ~ 'old .to prevent wraparound'") == "1";
  };
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!vacuums() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(vacuums());
  leaves("bob");
  EXPECT_EQ(owner_of("public.old"), "ann");
  query(host_, node_, "alter system reset autovacuum_naptime");
  query(host_, node_, "select pg_reload_conf()");
}

// A grant that is not committed holds the role, unseen.
TEST_F(ObjectsLeft, WhoHoldsAnEmptyRoleHoldsUpNothing) {
  query(host_, node_, "create role trunkline_disarmed_1_1 nologin");
  Client holder(node_, "ann", "shop");
  ASSERT_EQ(holder.run("begin; create table t (); grant select on t to trunkline_disarmed_1_1"),
            "");
  add_user("new");
  EXPECT_EQ(text(apply()), "");
  EXPECT_TRUE(has_role("new"));
  EXPECT_FALSE(has_role("trunkline_disarmed_1_1"));
  EXPECT_FALSE(holder.alive());
  EXPECT_EQ(as("ann", ""), "") << "only that session was ended";
}

// As nodes of a release before have it: live code, and data that shares its owner.
TEST_F(ObjectsLeft, WhatAReleaseBeforeDisarmedIsPutRight) {
  ASSERT_EQ(as("ann", std::string(kRun) + R"sql(
create materialized view pay as select 'pay'::text as x;
create view peep as select * from pay; grant select on peep to eve;
create table kept (id serial);
do $$ begin for i in 1..300 loop
  execute format('create function many%s() returns int language sql as ''select 1''', i);
end loop; end $$)sql"),
            "");
  query(host_, node_,
        "do $$ begin create role trunkline_disarmed; exception when duplicate_object then null; end"
        " $$");
  query(host_, node_,
        "do $$ declare o text; begin for o in select 'routine ' || oid::regprocedure from pg_proc"
        " where proowner = 'ann'::regrole union all select 'table ' || oid::regclass from pg_class"
        " where relowner = 'ann'::regrole and relkind in ('m', 'v') or relname = 'kept' loop"
        " execute format('alter %s owner to trunkline_disarmed', o); end loop; end $$",
        "shop");
  ObjectsResult result;
  uint32_t noted = 0;
  int turns = 0;
  do {
    result = apply();
    EXPECT_EQ(text(result), "");
    for (const auto& note : result.notes) noted += note.count;
  } while (result.more && ++turns < 20);
  EXPECT_EQ(noted, 304u) << "functions, and the three relations";
  EXPECT_EQ(shop(kNobodysCode), "");
  EXPECT_EQ(shop(kSharedData), "");
  EXPECT_EQ(left_to("trunkline_disarmed", "shop"), "0");
  expect_disarmed("eve", "select run('select 1')");
  expect_disarmed("ann", "select many7()");
  EXPECT_EQ(owner_of("public.peep"), "trunkline_disarmed_views");
  expect_denied("eve", "select * from peep");
  EXPECT_EQ(apply().notes.size(), 0u);
}

}  // namespace
}  // namespace trunkline::agent::testing
