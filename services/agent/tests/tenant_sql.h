// What a tenant makes, and how to see that none of it became a superuser's.
#pragma once

namespace trunkline::agent::testing {

// A bit of every kind that a database owner may make, code that would run with its owner's rights
// among it.
inline constexpr char kMakeEverything[] = R"sql(
create schema mine;
create type mine.mood as enum ('good', 'bad');
create type mine.pair as (a int, b int);
create domain mine.small as int check (value < 10);
create type mine.span as range (subtype = int);
create sequence mine.free;
create table mine.t (id serial primary key, x int, m mine.mood);
create table public.p (id int primary key) partition by range (id);
create table public.p1 partition of public.p for values from (0) to (100);
create index on mine.t (x);
create statistics mine.st on id, x from mine.t;
create view mine.v as select * from mine.t;
create materialized view mine.mv as select * from mine.t;
create function mine.plain() returns int language sql as 'select 1';
create function mine.definer() returns text language sql security definer as
  'select current_user::text';
create function "mine"."odd "" name"(text, int[]) returns text language sql security definer as
  'select current_user::text';
create procedure mine.proc() language sql security definer as 'select 1';
create function mine.on_write() returns trigger language plpgsql as
  'begin new.x := length(current_user); return new; end';
create trigger tr before insert on mine.t for each row execute function mine.on_write();
create function mine.acc(int, int) returns int language sql immutable as 'select $1 + $2';
create aggregate mine.agg (int) (sfunc = mine.acc, stype = int, initcond = '0');
create operator mine.<+> (leftarg = int, rightarg = int, function = mine.acc);
create collation mine.co (locale = 'C');
create text search dictionary mine.td (template = simple);
create text search configuration mine.tc (copy = simple);
create rule r as on update to mine.t do also notify changed;
create policy pol on mine.t using (x > 0);
create publication pub for table mine.t;
select lo_create(0);
alter default privileges grant select on tables to public;
grant usage, create on schema mine to public;
)sql";

// Everything with an owner that is not of the system's own making.
inline constexpr char kSuperusers[] = R"sql(
with owned(catalog, oid, owner) as (
  select 'pg_class', oid, relowner from pg_class union all
  select 'pg_proc', oid, proowner from pg_proc union all
  select 'pg_type', oid, typowner from pg_type union all
  select 'pg_namespace', oid, nspowner from pg_namespace where nspname !~ '^pg_.*temp_' union all
  select 'pg_operator', oid, oprowner from pg_operator union all
  select 'pg_opclass', oid, opcowner from pg_opclass union all
  select 'pg_opfamily', oid, opfowner from pg_opfamily union all
  select 'pg_collation', oid, collowner from pg_collation union all
  select 'pg_conversion', oid, conowner from pg_conversion union all
  select 'pg_language', oid, lanowner from pg_language union all
  select 'pg_largeobject_metadata', oid, lomowner from pg_largeobject_metadata union all
  select 'pg_foreign_data_wrapper', oid, fdwowner from pg_foreign_data_wrapper union all
  select 'pg_foreign_server', oid, srvowner from pg_foreign_server union all
  select 'pg_event_trigger', oid, evtowner from pg_event_trigger union all
  select 'pg_publication', oid, pubowner from pg_publication union all
  select 'pg_statistic_ext', oid, stxowner from pg_statistic_ext union all
  select 'pg_ts_config', oid, cfgowner from pg_ts_config union all
  select 'pg_ts_dict', oid, dictowner from pg_ts_dict union all
  select 'pg_default_acl', oid, defaclrole from pg_default_acl union all
  select 'pg_extension', oid, extowner from pg_extension union all
  select 'pg_database', oid, datdba from pg_database)
select coalesce(string_agg(catalog || ' ' || o.oid, ', '), '') from owned o
join pg_roles r on r.oid = o.owner where r.rolsuper and o.oid >= 16384
  and not exists (select from pg_depend d where d.objid = o.oid and d.deptype in ('e', 'i')
                  and d.refclassid in ('pg_extension'::regclass, 'pg_class'::regclass,
                                       'pg_type'::regclass))
  and not exists (select from pg_type t join pg_depend d on d.objid = t.typelem
                  and d.deptype = 'e' where t.oid = o.oid))sql";

}  // namespace trunkline::agent::testing
