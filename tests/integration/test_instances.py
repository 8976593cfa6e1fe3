"""Instances as customers use them: order, connect, change, delete."""

import contextlib
import os
import pathlib
import socket
import subprocess
import unittest

from customer import Customer, INSTANCES, Refused
from platform_fixture import PlatformTest, accepts_connections, alive, wait_for


def node_traces(platform, node):
    """Whatever of a node is on this machine: directories, sockets, cgroups, processes."""
    found = []
    roots = [platform.home.resolve(), pathlib.Path("/sys/fs/cgroup")]
    for root in roots:
        done = subprocess.run(["find", str(root), "-name", f"*{node}*"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        found += done.stdout.split()
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if node.encode() in command and alive(int(entry.name)):
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return [path for path in found if "/logs/" not in path]


class Instances(PlatformTest):
    def setUp(self):
        self.customer = Customer(self.platform)

    def ordered(self, nodes, sync):
        c = self.customer
        uuid = c.order(nodes, sync)
        owner = c.user(uuid)
        database = c.database(uuid, owner)
        instance = c.wait_active(uuid)
        c.wait_object(f"{INSTANCES}/{uuid}/databases/{database}")
        return uuid, owner, database, instance

    def removed_without_trace(self, uuid):
        instance = self.customer.get(uuid)
        self.customer.delete(uuid)
        with self.assertRaises(Refused) as caught:
            self.customer.get(uuid)
        self.assertEqual(caught.exception.status, 404)
        for end in instance["endpoints"].values():
            wait_for(lambda: not accepts_connections(end["port"], end["host"]), 60,
                     f"no route left at {end}")
        for node in instance["nodes"]:
            wait_for(lambda: not node_traces(self.platform, node["uuid"]), 60,
                     f"nothing left of {node}: {node_traces(self.platform, node['uuid'])}")

    def superuser_sql(self, node, sql):
        return self.platform.psql(f"{self.platform.node_dsn(node)} user=postgres dbname=postgres",
                                  sql)

    def socket_base(self):
        return pathlib.Path(self.platform.run_json()["log_dsn"].split("host=")[1].split()[0]).parent

    def test_one_node_lives_from_order_to_deletion(self):
        c = self.customer
        uuid, _, _, instance = self.ordered(1, 0)
        dsn = c.dsn(instance)
        c.sql(dsn, "create table t(i int); insert into t values (1)")
        self.assertEqual(c.sql(dsn, "select i from t"), "1")
        self.assertEqual(c.sql(dsn + " sslmode=require", "select 1"), "1")
        self.removed_without_trace(uuid)

    def test_a_node_is_a_box(self):
        """What clients, and a tenant that has become its server's user, cannot reach."""
        c = self.customer
        uuid, _, _, instance = self.ordered(1, 0)
        node = instance["nodes"][0]
        with contextlib.closing(socket.create_connection((node["address"], node["port"]), 5)):
            pass  # it is there, for the group's other nodes
        for mode in ("disable", "require"):
            with self.assertRaisesRegex(AssertionError, "pg_hba.conf|certificate", msg=mode):
                c.sql(f"host={node['address']} port={node['port']} user=alice dbname=shop"
                      f" sslmode={mode}", "select 1")
        # By the proxy, which is not the server's user, and needs no port.
        came_from = "select coalesce(inet_client_addr()::text, 'none')"
        self.assertEqual(c.sql(c.dsn(instance), came_from), "none")
        home = self.platform.home.resolve()
        directory = home / "hosts" / node["host"] / "nodes" / node["uuid"]
        if os.geteuid() != 0:
            log = (home / "logs" / f"agent-{node['host']}.log").read_text()
            self.assertIn("tenants' servers are not kept apart", log)
        for host in c.call("GET", "/v1/hosts"):
            self.assertEqual((host["nodes_apart"], "nodes_apart_note" not in host),
                             (os.geteuid() == 0,) * 2, host)
        if os.geteuid() != 0:
            return
        uid = directory.stat().st_uid
        self.assertNotIn(uid, {p.stat().st_uid for p in home.glob("hosts/*/nodes/*")
                               if p != directory} | {0, (home / "nats").stat().st_uid})
        closed = [home / "admin.token", *home.glob("secrets/*"), *home.glob("etc/*"),
                  *home.glob("tls/*"), *home.glob("proxy-tls/*"), *home.glob("hosts/*/tls/*"),
                  *home.glob("hosts/*/manifests/*"), *home.glob("hosts/*/templates/*/data/*"),
                  *home.glob("log-postgres/*"), *home.glob("nats/*"), *home.glob("proxy/*"),
                  *(p for p in home.glob("hosts/*/nodes/*/*") if directory not in p.parents),
                  *(p for p in self.socket_base().glob("*/*/*") if node["uuid"] not in str(p)),
                  *self.socket_base().glob("log/.*"), *home.glob("logs/*")]
        self.assertGreater(len(closed), 60)
        as_node = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "sh", "-c"]
        tried = subprocess.run(
            [*as_node, 'for f in "$@"; do [ -r "$f" ] || [ -w "$f" ] && echo "$f"; done; true',
             "sh", str(directory / "data" / "PG_VERSION"), *map(str, closed)],
            text=True, stdout=subprocess.PIPE, check=True)
        self.assertEqual(tried.stdout.split(), [str(directory / "data" / "PG_VERSION")])
        self.removed_without_trace(uuid)

    def test_replicas_follow_and_the_sync_state_is_the_ordered_one(self):
        for nodes, sync in ((2, 0), (2, 1), (3, 0), (3, 1)):
            with self.subTest(nodes=nodes, sync=sync):
                c = self.customer
                uuid, _, _, instance = self.ordered(nodes, sync)
                c.sql(c.dsn(instance), "create table t as select 42 as i")
                for node in instance["nodes"]:
                    if node["role"] != "primary":
                        at = f"{self.platform.node_dsn(node)} user=alice dbname=shop"
                        wait_for(lambda: c.sql(at, "select to_regclass('t')") == "t", 20, "replay")
                        self.assertEqual(c.sql(at, "select i from t"), "42")
                        with self.assertRaisesRegex(AssertionError, "read-only"):
                            c.sql(at, "insert into t values (1)")
                primary = next(n for n in instance["nodes"] if n["role"] == "primary")
                states = self.superuser_sql(
                    primary, "select distinct sync_state from pg_stat_replication "
                             "where application_name not like '%basebackup%'")
                self.assertEqual(states, "quorum" if sync else "async")
                self.assertEqual(self.superuser_sql(primary, "select count(*) from "
                                                    "pg_replication_slots where active"),
                                 str(nodes - 1))
                hosts = {n["host"] for n in instance["nodes"]}
                self.assertEqual(len(hosts), nodes, "nodes on different hosts")
                self.removed_without_trace(uuid)

    def test_everything_that_can_change_changes(self):
        c = self.customer
        uuid, owner, database, instance = self.ordered(1, 0)
        c.sql(c.dsn(instance), "create table t as select 1 as i")
        users, databases = f"{INSTANCES}/{uuid}/users", f"{INSTANCES}/{uuid}/databases"

        c.call("PUT", f"{users}/{owner}", {"password": "another secret"})
        wait_for(lambda: self.connects(c.dsn(instance), "another secret"), 20, "the new password")
        self.assertFalse(self.connects(c.dsn(instance), "correct horse"))

        bob = c.user(uuid, "bob", "correct horse")
        c.call("PUT", f"{databases}/{database}", {
            "name": "store", "owner": f"/v1/types/postgres/instances/{uuid}/users/{bob}"})
        as_bob = c.dsn(instance, "bob", "store")
        wait_for(lambda: self.connects(as_bob, "correct horse"), 20, "the new name and owner")
        self.assertFalse(self.connects(c.dsn(instance, "alice", "store"), "another secret"))
        self.assertEqual(c.wait_object(f"{databases}/{database}")["name"], "store")
        self.assertEqual(c.sql(as_bob, "select i from t"), "1")  # alice's went along

        grown = c.change(uuid, nodes_number=3, sync_replica_number=1, ram=1024, cpu=2)
        self.assertEqual((grown["nodes_number"], grown["ram"]), (3, 1024))
        instance = c.wait_active(uuid)
        self.assertEqual(len(instance["nodes"]), 3)
        wait_for(lambda: self.connects(as_bob, "correct horse"), 20, "bob after growing")
        c.sql(as_bob, "create table v as select 1 as i")
        standby = next(n for n in instance["nodes"] if n["role"] != "primary")
        replica = f"{self.platform.node_dsn(standby)} user=bob dbname=store"
        wait_for(lambda: c.sql(replica, "select to_regclass('v')") == "v", 20, "replay")
        self.assertEqual(c.sql(replica, "select count(*) from v"), "1")

        c.change(uuid, nodes_number=1, sync_replica_number=0)
        instance = c.wait_active(uuid)
        wait_for(lambda: len(c.get(uuid)["nodes"]) == 1, 60, "one node left")
        c.sql(c.dsn(c.get(uuid), "bob", "store"), "create table u(i int)")
        with self.assertRaises(Refused) as caught:
            c.change(uuid, disk_size=4)
        self.assertEqual(caught.exception.status, 400)
        c.call("DELETE", f"{databases}/{database}")
        c.call("DELETE", f"{users}/{bob}")
        self.removed_without_trace(uuid)

    def connects(self, dsn, password):
        try:
            return self.customer.sql(dsn, "select 1", password) == "1"
        except AssertionError:
            return False

    def test_a_tenant_gets_no_dangerous_role_and_what_it_breaks_is_put_right(self):
        c = self.customer
        uuid, owner, database, instance = self.ordered(1, 0)
        dsn = c.dsn(instance)
        flags = c.sql(dsn, "select rolsuper or rolcreaterole or rolcreatedb or rolreplication or "
                           "rolbypassrls from pg_roles where rolname = current_user")
        self.assertEqual(flags, "f")
        for forbidden in ("copy (select 1) to program 'true'", "create role mallory",
                          "create database other", "select * from pg_authid",
                          "select pg_read_file('postgresql.conf')"):
            with self.subTest(forbidden), self.assertRaisesRegex(AssertionError, "denied|must be"):
                c.sql(dsn, forbidden)
        for user in ("postgres", "trunkline_replicator"):
            with self.subTest(user), self.assertRaises(AssertionError):
                c.sql(c.dsn(instance, user, "postgres"), "select 1", "x")
        c.user(uuid, "bob", "correct horse")
        as_bob = c.dsn(instance, "bob")
        with self.assertRaisesRegex(AssertionError, "CONNECT"):
            wait_for(lambda: c.sql(as_bob, "select 1"), 10, "never")
        c.sql(dsn, "grant connect on database shop to public")
        wait_for(lambda: not self.connects(as_bob, "correct horse"), 30, "PUBLIC is out again")

        # A password that is changed by SQL becomes the user's, and whose doing it was is on record.
        c.sql(dsn, "alter role alice password 'changed by sql'")
        wait_for(lambda: self.connects(dsn, "changed by sql"), 20, "the password is adopted")
        events = c.call("GET", f"{INSTANCES}/{uuid}/events")
        self.assertIn(("user_updated", "database_user:alice"),
                      {(e["type"], e["actor"]) for e in events})
        self.assertIn("object_noted", {e["type"] for e in events})

        # What it drops is not made again behind its back.
        desk = c.database(uuid, owner, "desk")
        c.wait_object(f"{INSTANCES}/{uuid}/databases/{desk}")
        path = f"{INSTANCES}/{uuid}/databases/{database}"
        c.sql(c.dsn(instance, database="desk"), "drop database shop with (force)", "changed by sql")
        lost = wait_for(lambda: (lambda d: d if d["status"] == "ERROR" else None)(
            c.call("GET", path)), 20, "the loss is seen")
        self.assertEqual(lost["error"]["code"], "dropped_by_tenant")
        c.call("PUT", path, {})
        wait_for(lambda: c.call("GET", path)["status"] == "ACTIVE", 30, "it is made anew")
        self.assertEqual(c.sql(dsn, "select 1", "changed by sql"), "1")
        self.removed_without_trace(uuid)

    def test_a_killed_postmaster_is_restarted_and_nothing_else(self):
        c = self.customer
        uuid, _, _, instance = self.ordered(1, 0)
        c.sql(c.dsn(instance), "create table t as select 7 as i")
        node = instance["nodes"][0]
        pid_file = next(self.platform.home.resolve().rglob(f"{node['uuid']}/**/postmaster.pid"))
        before = int(pid_file.read_text().split()[0])
        os.kill(before, 9)
        wait_for(lambda: self.connects(c.dsn(instance), "correct horse"), 30, "back again")
        self.assertEqual(c.sql(c.dsn(instance), "select i from t"), "7")
        self.assertNotEqual(int(pid_file.read_text().split()[0]), before)
        self.removed_without_trace(uuid)

    def test_the_same_order_twice_is_one_instance(self):
        c = self.customer
        headers = {"Idempotency-Key": "order-4711"}
        first = c.order(headers=headers)
        self.assertEqual(c.order(headers=headers), first)
        same = [i for i in c.call("GET", f"{INSTANCES}?uuid={first}")]
        self.assertEqual(len(same), 1)
        with self.assertRaises(Refused) as caught:
            c.order(nodes=2, headers=headers)
        self.assertEqual(caught.exception.status, 409)
        c.wait_active(first)
        self.removed_without_trace(first)

    def refused(self, customer, method, path, body):
        with self.assertRaises(Refused) as caught:
            customer.call(method, path, body)
        self.assertEqual(caught.exception.status, 409)
        return caught.exception.body["type"], caught.exception.body["message"]

    def test_what_does_not_fit_is_refused_before_anything_is_made(self):
        admin, project = self.customer, "22222222-2222-4333-8444-555555555555"
        member = Customer(self.platform, admin.call("POST", "/v1/tokens", {
            "name": "small", "role": "member", "project_id": project})["token"])
        uuid = member.order()
        order = {"name": "big", "cpu": 128, "ram": 1048576, "disk_size": 8, "nodes_number": 1,
                 "version": member.version()}
        for method, path, body in (
                ("POST", INSTANCES, order),
                ("PUT", f"{INSTANCES}/{uuid}", {"cpu": 128, "ram": 1048576, "disk_size": 1024})):
            kind, message = self.refused(member, method, path, body)
            self.assertEqual(kind, "no_capacity")
            self.assertRegex(message, r"missing cpu \d+, ram \d+ MB")
            self.assertNotIn("host-", message)
            self.assertRegex(self.refused(admin, method, path, body)[1], "host-[abc]: cpu")
        self.assertEqual([i["uuid"] for i in member.call("GET", INSTANCES)], [uuid])
        member.wait_active(uuid)

        quota = {"uuid": project, "instances": 1, "ram": 1024}
        admin.call("POST", "/v1/quotas", quota)
        self.assertEqual(member.call("GET", f"/v1/quotas/{project}")["ram"], 1024)
        self.assertEqual({q["uuid"] for q in member.call("GET", "/v1/quotas")},
                         {project, "00000000-0000-0000-0000-000000000000"})
        kind, message = self.refused(member, "POST", INSTANCES, {**order, "cpu": 1, "ram": 512})
        self.assertEqual(kind, "quota_exceeded")
        self.assertIn("instances 1 of 1 in use, 1 more wanted", message)
        kind, message = self.refused(member, "PUT", f"{INSTANCES}/{uuid}", {"nodes_number": 3})
        self.assertIn("ram 512 MB of 1024 MB in use, 1024 MB more wanted", message)
        self.assertEqual(member.change(uuid, ram=1024)["ram"], 1024)
        admin.call("DELETE", f"/v1/quotas/{project}")
        member.wait_active(uuid)
        self.removed_without_trace(uuid)

    def test_a_database_or_user_of_another_project_is_not_there(self):
        admin = self.customer
        uuid = admin.order()
        token = admin.call("POST", "/v1/tokens", {
            "name": "other", "role": "member",
            "project_id": "11111111-2222-4333-8444-555555555555"})["token"]
        stranger = Customer(self.platform, token)
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/users"), ("GET", "/events"),
                             ("GET", "/failovers"), ("GET", "/failovers/replay")):
            with self.subTest(method + path), self.assertRaises(Refused) as caught:
                stranger.call(method, f"{INSTANCES}/{uuid}{path}")
            self.assertEqual(caught.exception.status, 404)
        self.assertEqual(stranger.call("GET", INSTANCES), [])
        admin.wait_active(uuid)
        self.removed_without_trace(uuid)


if __name__ == "__main__":
    unittest.main()
