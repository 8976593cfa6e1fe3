"""What hostile tenants have tried. Each attack is a function of the tenant that raises if it comes
through; what the bystander notices is asked by the program (hostile.py) after each.

A row names the place in the threat list of docs/hostile-tenants.md.
"""

import base64
import concurrent.futures
import contextlib
import datetime
import os
import socket
import time
import uuid as uuids

from customer import INSTANCES
from pgwire import Closed, ServerError, Session
from platform_fixture import wait_for
from tenant import PASSWORD

ATTACKS = []

OWNED_BY_SUPERUSERS = """
select string_agg(what, ', ') from (
  select 'function ' || proname as what, proowner as owner, oid from pg_proc
  union all select 'relation ' || relname, relowner, oid from pg_class where relkind <> 't'
    and relkind <> 'i'
  union all select 'schema ' || nspname, nspowner, oid from pg_namespace
    where nspname !~ '^pg_(toast|temp)'
  union all select 'type ' || typname, typowner, oid from pg_type where typrelid = 0
    and typcategory <> 'A'
  union all select 'operator ' || oprname, oprowner, oid from pg_operator
  union all select 'publication ' || pubname, pubowner, oid from pg_publication
  union all select 'large object ' || oid, lomowner, oid from pg_largeobject_metadata
  union all select 'event trigger ' || evtname, evtowner, oid from pg_event_trigger
) o join pg_roles r on r.oid = o.owner where r.rolsuper and o.oid >= 16384
"""


def attack(row, whole_only=False):
    def add(function):
        ATTACKS.append((row, function, whole_only))
        return function
    return add


def expect_error(tenant, text, **where):
    try:
        rows = tenant.sql(text, **where)
    except (ServerError, Closed) as error:
        return error
    raise AssertionError(f"went through: {text}: {rows}")


@attack("owner-dropped")
def superuser_by_a_dropped_owner(tenant):
    """Objects of a user whose database changes hands while it holds the locks."""
    evil, heir = tenant.user("evil"), tenant.user("heir")
    loot = tenant.new_database("loot", evil)
    tenant.wait_object("databases", loot)
    tenant.sql("""
        create function gift() returns text language plpgsql security definer as
          $$ begin return current_user; end $$;
        create table wares (n int);
        create function on_insert() returns trigger language plpgsql security definer as
          $$ begin return new; end $$;
        create trigger t before insert on wares execute function on_insert();
        create view shop_window as select * from wares;
        create schema stash; create type mood as enum ('sly'); select lo_create(4242)""",
               user="evil", database="loot")
    holder = tenant.session(user="evil", database="loot")
    holder.query("begin; alter database loot connection limit 20")
    owner_path = f"/v1/types/postgres/instances/{tenant.uuid}/users/{heir}"
    tenant.call("PUT", tenant.path("databases", loot), {"owner": owner_path})
    tenant.call("DELETE", tenant.path("users", evil))
    tenant.gone("users", evil)
    wait_for(lambda: not tenant.can_log_in(user="evil", database="loot"), 30, "evil is out")
    # The holder's session is over: no transaction of a deleted user goes on.
    try:
        holder.query("commit")
        raise AssertionError("a deleted user's session goes on")
    except (ServerError, Closed, OSError):
        holder.close()
    wait_for(lambda: tenant.can_log_in(user="heir", database="loot"), 60, "the heir gets in")
    found = tenant.sql(OWNED_BY_SUPERUSERS, user="heir", database="loot")[0][0]
    assert found is None, f"owned by a superuser: {found}"
    wait_for(lambda: tenant.sql("select from pg_roles where rolname = 'evil'", user="heir",
                                database="loot") == [], 60, "evil's role is gone")


@attack("reserved-names")
def names_of_the_platform(tenant):
    for name in ("trunkline_x", "trunkline_replicator", "pg_x", "postgres"):
        tenant.call("POST", tenant.path("users"), {"name": name, "password": PASSWORD}, (400,))
    for name in ("a\u202eb", "a\u200bb", "a\x85b"):
        tenant.call("PUT", f"{INSTANCES}/{tenant.uuid}", {"name": name}, (400,))


@attack("settings-against-the-platform")
def settings_that_reach_the_platforms_sessions(tenant):
    tenant.sql("alter database den set role = 'mallory';"
               " alter database den set session_authorization = 'mallory';"
               " alter database den set idle_session_timeout = '1ms';"
               " alter database den set default_transaction_read_only = on")
    try:
        brief = tenant.user("brief")
        tenant.wait_object("users", brief)
        tenant.call("DELETE", tenant.path("users", brief))
        tenant.gone("users", brief)
        other = tenant.new_database("other", tenant.owner)
        tenant.wait_object("databases", other)
        tenant.call("DELETE", tenant.path("databases", other))
        tenant.gone("databases", other)
    finally:
        tenant.sql("begin read write; alter database den reset all; commit",
                   options="-c idle_session_timeout=0")


@attack("one-uuid-two-kinds")
def one_uuid_for_a_user_and_a_database(tenant):
    user = tenant.user("twin")
    owner = f"/v1/types/postgres/instances/{tenant.uuid}/users/{user}"
    tenant.call("POST", tenant.path("databases"), {"name": "twin", "owner": owner, "uuid": user},
                (409,))
    tenant.call("DELETE", tenant.path("users", user))
    tenant.gone("users", user)


@attack("deleted-user-reads-on")
def a_deleted_user_that_holds_its_row(tenant):
    mal = tenant.user("mal")
    tenant.wait_object("users", mal)
    tenant.sql("grant connect on database den to mal")
    session = tenant.session(user="mal")
    session.query("begin; alter role mal password 'another password'")
    tenant.call("DELETE", tenant.path("users", mal))
    tenant.gone("users", mal)
    try:
        session.query("select 1")
        raise AssertionError("a deleted user reads on")
    except (ServerError, Closed, OSError):
        session.close()
    assert not tenant.can_log_in(user="mal")


@attack("node-ports")
def the_nodes_own_ports(tenant):
    for node in tenant.customer.get(tenant.uuid)["nodes"]:
        with contextlib.suppress(ServerError, Closed, OSError):
            with Session(node["address"], node["port"], "mallory", "den", PASSWORD, 5) as session:
                raise AssertionError(f"in at {node['host']}: {session.query('select 1')}")


@attack("silent-logins")
def silent_connections(tenant):
    """Without a word, at the proxy and at the nodes: nobody is kept out for them."""
    ways = [tenant.at()] * 100 + [(n["address"], n["port"])
                                  for n in tenant.customer.get(tenant.uuid)["nodes"]] * 150
    with contextlib.ExitStack() as stack:
        for way in ways:
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(way, timeout=1))
        time.sleep(2)  # as long as the attack lasts
        assert tenant.can_log_in(), "its own endpoint is full of strangers"
        assert "failover_started" not in tenant.events()


@attack("idle-sessions")
def all_sessions_that_one_can_get(tenant):
    with contextlib.ExitStack() as stack:
        refused = None
        for _ in range(400):
            try:
                stack.enter_context(tenant.session())
            except ServerError as error:
                refused = error
                break
        assert refused is not None and refused.sqlstate == "53300", refused
        tenant.bystander.phase = "sessions taken"
        time.sleep(2)  # as long as the attack lasts
        with Session(*tenant.bystander.login) as other:
            assert other.query("select 1") == [["1"]]


@attack("log-texts")
def log_lines_that_look_like_a_broken_standby(tenant):
    """Nothing that a tenant can write into a log makes a standby be built anew."""
    before = tenant.sql("select pg_postmaster_start_time()", endpoint="read_only")
    for text in ("requested WAL segment 000000010000000000000001 has already been removed",
                 "requested timeline 7 is not a child of this server''s history",
                 "could not receive data from WAL stream: ERROR:  requested WAL segment "
                 "000000010000000000000001 has already been removed",
                 "highest timeline 1 of the primary is behind recovery timeline 2"):
        for level in ("log", "warning", "exception"):
            with contextlib.suppress(ServerError):
                tenant.sql(f"do $$ begin raise {level} '{text}'; end $$", endpoint="read_only")
            with contextlib.suppress(ServerError, Closed):
                tenant.session(user=text[:60], endpoint="read_only").close()
    time.sleep(3)  # as long as a rebuild takes to begin
    assert tenant.sql("select pg_postmaster_start_time()", endpoint="read_only") == before


@attack("lock-table")
def a_full_lock_table(tenant):
    primary = tenant.primary()["uuid"]
    failovers = tenant.events().count("failover_started")
    with tenant.session() as session:
        with contextlib.suppress(ServerError):
            session.query("begin; select count(pg_advisory_xact_lock(n))"
                          " from generate_series(1, 200000) n")
        tenant.bystander.phase = "lock table full"
        with tenant.session() as second:
            second.query("begin")
            with contextlib.suppress(ServerError):
                second.query("select count(pg_advisory_lock(n)) from generate_series(1, 9000) n")
            time.sleep(5)  # as long as a wrong failover takes to begin
    assert tenant.primary()["uuid"] == primary, "failed over"
    assert tenant.events().count("failover_started") == failovers


@attack("statement-texts")
def statements_with_long_comments(tenant):
    count = 400 if tenant.whole else 40
    before = tenant.sql("select pg_postmaster_start_time()")
    with tenant.session() as session:
        for n in range(count):
            session.query(f"select {n} as a{n} /* " + "x" * 1_500_000 + " */")
    time.sleep(11 if tenant.whole else 2)  # a round of statistics
    assert tenant.sql("select pg_postmaster_start_time()") == before, "restarted"


@attack("unkillable-query")
def a_query_that_nothing_cancels(tenant):
    """xpath() looks at no signal. A switchover goes through all the same, or says why not."""
    old = tenant.primary()
    tenant.sql("create table if not exists held (n int)")
    sessions = [tenant.session(), tenant.session(endpoint="read_only")]
    try:
        for session in sessions:
            session.begin("select n from held; select count(*) from (select unnest(xpath("
                          "'//a[count(//a[count(//a) > 1]) > 1]', ('<r>' || repeat('<a/>', 9000)"
                          " || '</r>')::xml))) q")
        begin = time.monotonic()
        status, answer, _ = tenant.platform.api("POST", f"{INSTANCES}/{tenant.uuid}/switchover", {},
                                                tenant.token)
        assert status in (200, 201, 202), answer

        def ended():
            last = tenant.customer.call("GET", f"{INSTANCES}/{tenant.uuid}/failovers")
            return last[0] if last and last[0]["status"] not in ("IN_PROGRESS", "STARTED") else None
        last = wait_for(ended, 60, "the switchover's end")
        took = time.monotonic() - begin
        now = tenant.primary()["uuid"]
        if last["status"] == "COMPLETED":
            assert now != old["uuid"], f"{last} says it is done"
        else:
            assert last.get("why"), last
        assert took < 30, f"{took:.1f} s"
        wait_for(tenant.can_log_in, 30, "writes again")
    finally:
        for session in sessions:
            session.close()


def at_once(tenant, count, work):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: work(tenant), range(count)))


@attack("expensive-reads")
def a_hundred_readers_of_history(tenant):
    tenant.bystander.phase = "history read"
    stop = time.monotonic() + (20 if tenant.whole else 4)

    def read(tenant):
        seen = set()
        while time.monotonic() < stop:
            status, _, _ = tenant.platform.api("GET", f"{INSTANCES}/{tenant.uuid}/events",
                                               token=tenant.token)
            seen.add(status)
        return seen
    seen = set().union(*at_once(tenant, 100, read))
    assert seen <= {200, 429, 503}, seen


@attack("password-storm")
def four_hundred_passwords(tenant):
    tenant.bystander.phase = "passwords changed"
    user = tenant.user("stormy")
    count = 400 if tenant.whole else 100

    def change(tenant):
        seen = set()
        for _ in range(count // 50):
            status, _, _ = tenant.platform.api("PUT", tenant.path("users", user), {
                "password": str(uuids.uuid4())}, tenant.token, timeout_s=60)
            seen.add(status)
        return seen
    seen = set().union(*at_once(tenant, 50, change))
    assert seen <= {200, 202, 429, 503}, seen
    tenant.call("DELETE", tenant.path("users", user))


@attack("impossible-orders")
def orders_that_no_host_can_take(tenant):
    body = {"name": "huge", "cpu": 128, "ram": 1048576, "disk_size": 1024, "nodes_number": 3,
            "version": tenant.customer.version()}
    for _ in range(75 if tenant.whole else 10):
        tenant.call("POST", INSTANCES, body, (409, 429))
    tenant.call("PUT", f"{INSTANCES}/{tenant.uuid}",
                {"cpu": 128, "ram": 1048576, "disk_size": 1024}, (409,))


def gateway_rss_mb(platform):
    with open(f"/proc/{platform.pid('api-gateway')}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


@attack("chunked-bodies")
def bodies_of_strangers(tenant):
    """Nobody who has not said who he is makes the gateway keep what he sends."""
    before = gateway_rss_mb(tenant.platform)
    head = ("POST /v1/postgres/instances HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n").encode()
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            with contextlib.suppress(OSError):
                stranger = stack.enter_context(
                    socket.create_connection(("127.0.0.1", tenant.platform.port_base), timeout=2))
                stranger.sendall(head + b"1\r\nx\r\n" * 16000)
        grown = gateway_rss_mb(tenant.platform) - before
        print(f"    gateway grew by {grown:.0f} MB", flush=True)
        assert grown < 200, f"the gateway grew by {grown:.0f} MB"


@attack("texts-of-reports")
def texts_that_fit_no_report(tenant):
    """A verifier of megabytes, and names that a bound cuts within a character."""
    big, sly = tenant.user("big"), tenant.user("sly")
    for user in (big, sly):
        tenant.wait_object("users", user)
    tenant.sql("grant connect on database den to big, sly")
    salt, key = (base64.b64encode(os.urandom(n)).decode() for n in (3_000_000, 32))
    tenant.sql(f"alter role big password 'SCRAM-SHA-256$4096:{salt}${key}:{key}'", user="big")
    name = "\u00e9" * 31
    tenant.sql(f'create schema "{name}"; grant all on schema "{name}" to sly')
    tenant.sql(f'create function "{name}"."{name}"() returns int language sql security definer'
               " as 'select 1'", user="sly")
    tenant.call("DELETE", tenant.path("users", sly))
    tenant.gone("users", sly)
    wait_for(lambda: tenant.can_log_in(user="big"), 60, "big's password is as it was")
    began = datetime.datetime.now(datetime.timezone.utc).isoformat()

    def all_report():
        hosts = tenant.platform.api("GET", "/v1/hosts")[1]
        return all(host["available"] and host["reported_at"] > began for host in hosts)
    wait_for(all_report, 10, "reports of all hosts")


@attack("code-left-behind")
def code_of_a_deleted_user(tenant):
    """A trigger function that takes its SECURITY DEFINER off as soon as it runs."""
    leaver, snoop = tenant.user("leaver"), tenant.user("snoop")
    for user in (leaver, snoop):
        tenant.wait_object("users", user)
    tenant.sql("create table secret (x int); insert into secret values (42);"
               " grant connect on database den to leaver, snoop;"
               " grant create on schema public to leaver")
    tenant.sql("""
        create table orders (n int);
        create function stamp() returns trigger language plpgsql as $$ begin
          begin execute 'grant select on secret to snoop'; exception when others then null; end;
          begin execute 'alter function stamp() security invoker';
            exception when others then null; end;
          return new; end $$;
        create trigger s before insert on orders execute function stamp();
        create function run(q text) returns void language plpgsql security definer as
          $$ begin execute q; end $$""", user="leaver")
    tenant.call("DELETE", tenant.path("users", leaver))
    tenant.gone("users", leaver)
    wait_for(lambda: tenant.sql("select from pg_roles where rolname = 'leaver'") == [], 60,
             "leaver's role is gone")
    for text in ("insert into orders values (1)", "insert into orders values (2)",
                 "select run('select 1')"):
        assert expect_error(tenant, text).sqlstate == "55000", text
    assert expect_error(tenant, "select * from secret", user="snoop").sqlstate == "42501"


@attack("memory")
def all_the_memory_that_there_is(tenant):
    failovers = tenant.events().count("failover_started")
    before = tenant.sql("select pg_postmaster_start_time()")
    with tenant.session() as other:
        error = expect_error(tenant, "set work_mem = '20GB'; select count(*) from (select"
                             " repeat(md5(g::text), 30) x from generate_series(1, 3000000) g"
                             " order by 1 offset 0) s")
        assert getattr(error, "sqlstate", "") == "53200", error
        assert other.query("select 1") == [["1"]], "another session of the instance ended"
    assert tenant.sql("select pg_postmaster_start_time()") == before, "restarted"
    assert tenant.events().count("failover_started") == failovers


@attack("sockets-of-the-machine")
def silent_sockets_of_a_local_user(tenant):
    """At the log's PostgreSQL, the metrics and the bus."""
    platform = tenant.platform
    metrics = ("127.%d.%d.9" % divmod(platform.port_base, 256), 9101)
    ways = ([("127.0.0.1", platform.port_base + 2)] * 80 + [metrics] * 30 +
            [("127.0.0.1", platform.port_base + 1)] * 300)
    with contextlib.ExitStack() as stack:
        for way in ways:
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(way, timeout=1))
        tenant.bystander.phase = "sockets held"
        brief = tenant.user("socketed")
        tenant.wait_object("users", brief)
        with socket.create_connection(metrics, timeout=10) as scrape:
            scrape.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert scrape.recv(15).startswith(b"HTTP/1.1 200")
    tenant.call("DELETE", tenant.path("users", brief))


@attack("objects-without-number", whole_only=True)
def users_without_number(tenant):
    made, refused = [], None
    while refused is None and len(made) < 6000:
        status, answer, _ = tenant.platform.api("POST", tenant.path("users"), {
            "name": f"u{len(made)}_".ljust(60, "x"), "password": PASSWORD}, tenant.token)
        if status == 409:
            refused = answer
        elif status == 201:
            made.append(answer["uuid"])
    assert refused is not None, f"{len(made)} users and no end"
    print(f"    {len(made)} users, then: {refused['message']}", flush=True)
    assert tenant.can_log_in()
