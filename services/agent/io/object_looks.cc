#include "agent/io/object_looks.h"

namespace trunkline::agent::looks {
namespace {

// Functions of which it is known that they run nobody's code, whatever they are given: PostgreSQL's
// own if they are immutable, or take and give plain values only (what takes a type, a record or a
// text of any type looks up others' casts and constraints), and those of some extensions. Many
// others can run SQL, and the catalogs do not record who calls one; the trees of expressions do.
constexpr char kPlain[] = R"sql(plain as materialized (
  select array_agg(p.oid) as oids from pg_proc p where p.proname !~ '_to_xml' and (
    p.oid < 16384 and (p.provolatile = 'i'
      or p.proname in ('nextval', 'currval', 'lastval', 'random', 'random_normal',
        'gen_random_uuid', 'uuidv4', 'uuidv7', 'clock_timestamp', 'timeofday')
      or (p.provolatile = 's' and not p.proretset and not exists (
        select from unnest(p.proargtypes::oid[] || p.prorettype) a
        where a <> all ('{bool,bytea,char,name,int8,int2,int4,text,float4,float8,money,bpchar,
          varchar,date,time,timestamp,timestamptz,interval,timetz,bit,varbit,numeric,uuid,inet,cidr,
          macaddr,tsvector,tsquery}'::regtype[]::oid[]))))
    or exists (select from pg_depend d join pg_extension x on x.oid = d.refobjid
      where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
        and d.refclassid = 'pg_extension'::regclass and x.extname in ('uuid-ossp', 'pgcrypto',
          'citext', 'hstore', 'pg_trgm', 'btree_gin', 'btree_gist', 'ltree', 'cube', 'seg',
          'intarray', 'isn', 'unaccent', 'fuzzystrmatch')))))sql";

// Compressed; what is longer is not read through, and is taken for code.
constexpr char kLongestTree[] = "16384";

// An expression that may run SQL or code of others than the role and the heir.
std::string acts(const std::string& tree) {
  return "(pg_column_size(" + tree + ") > " + kLongestTree + " or exists (select from"
         " regexp_matches(" + tree + "::text, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\\d+)', 'g')"
         " m, plain a where m[1] <> '0' and m[1]::oid <> all (a.oids) and not exists (select from"
         " pg_proc f where f.oid = m[1]::oid and f.oid >= 16384 and f.proowner in"
         " ($1::oid, $2::oid))))";
}

// One with a query of its own: of views, too, which run code and can be replaced.
std::string asks(const std::string& tree) {
  return "(" + acts(tree) + " or exists (select from regexp_matches(" + tree +
         "::text, ':relid (\\d+)', 'g') m where not exists (select from pg_class q where"
         " q.oid = m[1]::oid and q.relkind in ('r', 'p') and q.relowner in (10, $1::oid,"
         " $2::oid))))";
}

// Relations that are looked at, as `c`: the role's, or those that have just been moved.
std::string of(const std::string& moved) {
  return moved.empty() ? "c.relowner = $1::oid" : "c.oid = any ('" + moved + "'::oid[])";
}

// A role of its own: whatever runs as it has no rights but on this table.
std::string to_its_own(const std::string& which, const std::string& moved) {
  return R"sql(
select 'table', o.identity, format('%salter table %s owner to %I', case
    when to_regrole(t.own) is null then format('create role %I nologin; ', t.own) else '' end,
  o.identity, t.own)
from (select c.oid, 'trunkline_disarmed_' || d.oid || '_' || c.oid as own
  from pg_class c join pg_database d on d.datname = current_database()
  where c.relkind in ('r', 'p', 'f') and $1::oid is not null and $2::oid is not null
    and $3::oid is not null and $4::boolean and )sql" +
         of(moved) + " and " + which + R"sql( order by c.oid) t,
  lateral pg_identify_object('pg_class'::regclass, t.oid, 0) o where o.identity is not null)sql";
}

}  // namespace

// A routine keeps its signature, so that what calls it stays, and gets a body that raises. What it
// was stands below that as comments. Its own settings and defaults go, since callers would run
// them. What a superuser made (C, internal) is no code of the role's.
std::string routines(const std::string& moved) {
  return std::string(R"sql(
select o.type, o.identity, format($look$do $disarm$
declare
  f pg_proc;
  kind text;
  was text;
  arguments text;
  body text;
begin
  select * into f from pg_proc where oid = %1$s;
  if not found then return; end if;
  kind := case f.prokind when 'p' then 'procedure' else 'function' end;
  begin
    if octet_length(f.prosrc) + coalesce(octet_length(to_jsonb(f) ->> 'prosqlbody'), 0) < 1000000
    then
      was := pg_get_functiondef(f.oid);
    end if;
  exception when others then null;
  end;
  was := coalesce(was, 'cut after the first 1000000 characters:
' || left(f.prosrc, 1000000));
  body := format($body$begin
  raise exception 'function %%%% was left by user %%%% and is disarmed', %%L, %%L
    using errcode = '55000', hint = 'Its source has its definition: create it anew, or drop it.';
end
-- %%s$body$, f.proname, (select rolname from pg_roles where oid = %3$s),
    regexp_replace(was, E'\r\n|\n|\r', E'\n-- ', 'g'));
  select string_agg(concat_ws(' ', case m.mode when 'o' then 'out' when 'b' then 'inout'
      when 'v' then 'variadic' end, quote_ident(nullif(f.proargnames[m.n], '')),
      format_type(m.type, null)), ', ' order by m.n) into arguments
    from (select n, type, coalesce(f.proargmodes[n], 'i') as mode
      from unnest(coalesce(f.proallargtypes, f.proargtypes::oid[])) with ordinality a(type, n)) m
    where m.mode <> 't';
  update pg_proc set pronargdefaults = 0, proargdefaults = null
    where oid = f.oid and pronargdefaults > 0;
  execute concat_ws(' ', 'create or replace', kind,
    format('%%s.%%I(%%s)', f.pronamespace::regnamespace, f.proname, arguments),
    'returns ' || case f.prokind when 'p' then null else pg_get_function_result(f.oid) end,
    'language plpgsql', case when f.prokind = 'w' then 'window' end,
    case when f.prokind = 'p' then null when f.provolatile = 'i' then 'immutable'
      when f.provolatile = 's' then 'stable' end,
    'security invoker as', quote_literal(body));
  execute format('alter %%s %%s.%%I(%%s) owner to %%s', kind, f.pronamespace::regnamespace,
    f.proname, pg_get_function_identity_arguments(f.oid), %2$s::oid::regrole);
end $disarm$$look$, p.oid, $2::oid, $1::oid)
from (select p.oid from pg_proc p where p.prokind <> 'a'
    and )sql") + (moved.empty() ? "p.proowner = $1::oid" : "p.oid = any ('" + moved + "'::oid[])") +
         R"sql(
    and p.prolang not in (select oid from pg_language where lanname in ('c', 'internal'))
    and $2::oid is not null and $3::oid is not null and (p.prosecdef or $4::boolean)
  order by p.oid) p, lateral pg_identify_object('pg_proc'::regclass, p.oid, 0) o
where o.identity is not null)sql";
}

// Of sessions that live: only its own session can change one.
std::string temporary() {
  return R"sql(
select o.type, o.identity, format('drop %s %s cascade', case c.relkind when 'v' then 'view'
    when 'S' then 'sequence' else 'table' end, o.identity)
from (select c.oid, c.relkind from pg_class c where c.relowner = $1::oid
    and c.relpersistence = 't' and c.relkind in ('r', 'p', 'v', 'S') and $2::oid is not null
    and $3::oid is not null and $4::boolean is not null order by c.oid) c,
  lateral pg_identify_object('pg_class'::regclass, c.oid, 0) o
where o.identity is not null)sql";
}

// Views read and write with their owner's rights. One that is handed over stays armed if it is of
// nothing but what its owner owns: the new owner's rights on others' relations are not hers. A
// materialized one has data, which a view of the same owner would read, and code of others in its
// upkeep may run as its owner: nothing else is that one's.
std::string views(const std::string& moved) {
  return std::string(R"sql(
select o.type, o.identity, case v.relkind when 'v'
  then format('alter table %s owner to %s', o.identity, $3::oid::regrole)
  else format('%salter table %s owner to %I', case when to_regrole(v.own) is null
    then format('create role %I nologin; ', v.own) else '' end, o.identity, v.own) end
from (select c.oid, c.relkind, 'trunkline_disarmed_' || d.oid || '_' || c.oid as own
  from pg_class c join pg_database d on d.datname = current_database()
  where c.relkind in ('v', 'm') and )sql") + of(moved) + R"sql(
    and $2::oid is not null and ($4::boolean
      or exists (select from pg_rewrite r where r.ev_class = c.oid and r.rulename <> '_RETURN')
      or exists (select from pg_rewrite r
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
          and d.refclassid = 'pg_class'::regclass and d.refobjid <> c.oid
        join pg_class t on t.oid = d.refobjid
        where r.ev_class = c.oid and t.relnamespace not in
            ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
          and t.relowner <> $1::oid)sql" +
         (moved.empty() ? "" : " and t.oid <> all ('" + moved + "'::oid[])") + R"sql())
  order by c.oid) v, lateral pg_identify_object('pg_class'::regclass, v.oid, 0) o
where o.identity is not null)sql";
}

// Rules act with the rights of the table's owner.
std::string rules(const std::string& moved) {
  return std::string(R"sql(
select 'rule', quote_ident(r.rulename) || ' on ' || o.identity,
  format('alter table %s disable rule %I', o.identity, r.rulename)
from (select r.rulename, r.ev_class from pg_rewrite r join pg_class c on c.oid = r.ev_class
  where c.relkind in ('r', 'p', 'f') and r.ev_enabled <> 'D' and )sql") + of(moved) + R"sql(
    and $1::oid is not null and $2::oid is not null and $3::oid is not null
    and $4::boolean is not null) r,
  lateral pg_identify_object('pg_class'::regclass, r.ev_class, 0) o
where o.identity is not null)sql";
}

// Triggers act with the rights of whoever writes, and with the owner's where a foreign key does.
std::string triggers(const std::string& moved) {
  return std::string("with ") + kPlain + R"sql(
select 'trigger', quote_ident(t.tgname) || ' on ' || o.identity,
  format('alter table %s disable trigger %I', o.identity, t.tgname)
from (select t.tgname, t.tgrelid from pg_trigger t join pg_class c on c.oid = t.tgrelid
  where c.relkind in ('r', 'p', 'f') and not t.tgisinternal and )sql" + of(moved) + R"sql(
    and t.tgenabled <> 'D' and t.tgparentid = 0 and $3::oid is not null and $4::boolean
    and ((t.tgqual is not null and )sql" + acts("t.tgqual") + R"sql()
      or exists (select from pg_depend d
        left join pg_operator op on d.refclassid = 'pg_operator'::regclass and op.oid = d.refobjid
        join pg_proc p on p.oid = case when d.refclassid = 'pg_proc'::regclass then d.refobjid
                                       else op.oprcode end
        where d.classid = 'pg_trigger'::regclass and d.objid = t.oid
          and p.proowner not in (10, $1::oid, $2::oid)))) t,
  lateral pg_identify_object('pg_class'::regclass, t.tgrelid, 0) o
where o.identity is not null)sql";
}

std::string all_triggers() {
  return R"sql(
select 'trigger', quote_ident(t.tgname) || ' on ' || o.identity,
  format('alter table %s disable trigger %I', o.identity, t.tgname)
from (select t.tgname, t.tgrelid from pg_trigger t join pg_class c on c.oid = t.tgrelid
  where c.relowner = $1::oid and c.relkind in ('r', 'p', 'f') and not t.tgisinternal
    and t.tgenabled <> 'D' and t.tgparentid = 0 and $2::oid is not null and $3::oid is not null
    and $4::boolean) t,
  lateral pg_identify_object('pg_class'::regclass, t.tgrelid, 0) o
where o.identity is not null)sql";
}

// Tables whose own upkeep (indexes, constraints, defaults, policies, statistics, partitions, the
// types of columns) would run others' code, or SQL, with the heir's rights: by foreign keys and
// vacuum, without the heir's doing anything. From that code on to what calls it.
std::string tables(const std::string& moved) {
  return std::string("with recursive ") + kPlain + R"sql(,
reached(classid, objid) as (
  select 'pg_proc'::regclass::oid, oid from pg_proc where proowner not in (10, $1::oid, $2::oid)
  union all select 'pg_type'::regclass, oid from pg_type
    where typtype in ('d', 'r', 'm') and typowner not in (10, $1::oid, $2::oid)
  union all select 'pg_type'::regclass, oid from pg_type
    where typdefaultbin is not null and )sql" +
         acts("typdefaultbin") + R"sql(
  union all select 'pg_constraint'::regclass, k.oid from pg_constraint k
    left join pg_class c on c.oid = k.conrelid
    where k.conbin is not null and (k.contypid <> 0 or )sql" + of(moved) + ") and " +
         acts("k.conbin") + R"sql(
  union all select 'pg_attrdef'::regclass, a.oid from pg_attrdef a
    join pg_class c on c.oid = a.adrelid and )sql" + of(moved) + " where " + acts("a.adbin") +
         R"sql(
  union all select 'pg_policy'::regclass, y.oid from pg_policy y
    join pg_class c on c.oid = y.polrelid and )sql" + of(moved) + " where " +
         asks("concat(y.polqual, y.polwithcheck)") + R"sql(
  union all select 'pg_statistic_ext'::regclass, s.oid from pg_statistic_ext s
    join pg_class c on c.oid = s.stxrelid and )sql" + of(moved) +
         " where s.stxexprs is not null and " + acts("s.stxexprs") + R"sql(
  union all select 'pg_class'::regclass, i.indexrelid from pg_index i
    join pg_class c on c.oid = i.indrelid and )sql" + of(moved) +
         " where " + acts("concat(i.indexprs, i.indpred)") + R"sql(
  union all select 'pg_class'::regclass, h.partrelid from pg_partitioned_table h
    join pg_class c on c.oid = h.partrelid and )sql" + of(moved) +
         " where h.partexprs is not null and " + acts("h.partexprs") + R"sql(
  union select n.classid, n.objid from reached r, lateral (
    select d.classid, d.objid from pg_depend d
    where d.refclassid = r.classid and d.refobjid = r.objid
      and r.classid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)
      and (d.classid in ('pg_operator'::regclass, 'pg_type'::regclass, 'pg_class'::regclass,
          'pg_constraint'::regclass, 'pg_attrdef'::regclass, 'pg_policy'::regclass,
          'pg_statistic_ext'::regclass)
        or exists (select from pg_proc p where d.classid = 'pg_proc'::regclass
          and p.oid = d.objid and p.prokind = 'a'))
    union all select 'pg_type'::regclass, k.contypid from pg_constraint k
      where r.classid = 'pg_constraint'::regclass and k.oid = r.objid and k.contypid <> 0
    union all select 'pg_type'::regclass, c.reltype from pg_class c
      where r.classid = 'pg_class'::regclass and c.oid = r.objid and c.reltype <> 0) n),
tables(oid) as (
  select coalesce(i.indrelid, k.conrelid, a.adrelid, y.polrelid, s.stxrelid, r.objid)
  from reached r
  left join pg_index i on r.classid = 'pg_class'::regclass and i.indexrelid = r.objid
  left join pg_constraint k on r.classid = 'pg_constraint'::regclass and k.oid = r.objid
  left join pg_attrdef a on r.classid = 'pg_attrdef'::regclass and a.oid = r.objid
  left join pg_policy y on r.classid = 'pg_policy'::regclass and y.oid = r.objid
  left join pg_statistic_ext s on r.classid = 'pg_statistic_ext'::regclass and s.oid = r.objid
  where r.classid not in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)
  union select case t.oid when h.inhrelid then h.inhparent else h.inhrelid end
    from tables t join pg_inherits h on t.oid in (h.inhrelid, h.inhparent)))sql" +
         to_its_own("c.oid in (select oid from tables)", moved);
}

std::string all_tables() {
  return to_its_own("true", "");
}

// All else that it owns: views, the last ones first, while what they show is still the role's; then
// what is no table; then tables, with their sequences. For an extension there is no statement. Code
// that was running may have made more code: that is for the next turn. Besides: of which catalog it
// is, and its oid.
std::string rest(bool with_tables) {
  return std::string(R"sql(
select o.type, o.identity, format('alter %s %s owner to %s', case
    when s.classid = 'pg_class'::regclass then 'table'
    when o.type in ('function', 'procedure', 'aggregate') then 'routine'
    when o.type = 'statistics object' then 'statistics' else o.type end,
  o.identity, $2::oid::regrole), s.classid, s.objid
from (select s.classid, s.objid from pg_shdepend s
    left join pg_class c on s.classid = 'pg_class'::regclass and c.oid = s.objid
    left join pg_proc p on s.classid = 'pg_proc'::regclass and p.oid = s.objid
      and p.prokind <> 'a'
      and p.prolang not in (select oid from pg_language where lanname in ('c', 'internal'))
  where s.dbid = (select oid from pg_database where datname = current_database())
    and s.refclassid = 'pg_authid'::regclass and s.refobjid = $1::oid
    and s.deptype = 'o' and s.objsubid = 0 and $3::oid is not null
    and not ($4::boolean and (coalesce(c.relkind, 'r') in ('v', 'm') or p.oid is not null))
    and not coalesce(p.prosecdef, false)
    and s.classid not in ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass,
                          'pg_extension'::regclass)
    and not (coalesce(c.relkind, 'r') = 'S' and exists (select from pg_depend d where
      d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
      and d.refclassid = 'pg_class'::regclass)))sql") +
         (with_tables ? "" : "and coalesce(c.relkind, 'x') not in ('r', 'p', 'f')") + R"sql(
  order by coalesce(c.relkind in ('v', 'm'), false) desc,
    coalesce(c.relkind in ('r', 'p', 'f'), false), s.classid, s.objid desc) s,
  lateral pg_identify_object(s.classid, s.objid, 0) o
where o.identity is not null)sql";
}

}  // namespace trunkline::agent::looks
