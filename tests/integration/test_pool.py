"""The pooled port: many clients on few connections, whatever happens to the primary, the proxy or
the pool itself.

TRUNKLINE_POOL_CLIENTS (default 30) is how many write at once: more than there may be servers for
them (25, half of the connections of the smallest instance).
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import unittest
import urllib.request

from customer import INSTANCES
from platform_fixture import alive, wait_for
from survivor import PASSWORD, Survivor, SurvivorTest, Workload

CLIENTS = int(os.environ.get("TRUNKLINE_POOL_CLIENTS", "30"))
POOLED_PORT = 6432


class Pool(SurvivorTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.survivor = Survivor(cls.platform)
        cls.dsn = cls.pooled(cls.survivor.uuid)

    @classmethod
    def pooled(cls, endpoint):
        host = re.search(r"host=(\S+)", cls.survivor.dsn)[1]
        return (f"host={host} port={POOLED_PORT} user=alice dbname=shop connect_timeout=30"
                f" options='-c trunkline.endpoint={endpoint}'")

    def ask(self, sql, dsn=None, password=PASSWORD):
        return self.platform.psql(dsn or self.dsn, sql, password)

    def refusal(self, dsn, password):
        with self.assertRaises(AssertionError) as caught:
            self.ask("select 1", dsn, password)
        return str(caught.exception).rpartition("FATAL")[2]

    def poolers(self):
        return {pid: line for pid, line in self.platform.own_processes().items()
                if "pgbouncer.ini" in line}

    def pooler(self):
        """The one that serves."""
        self.assertEqual(self.ask("select 1"), "1")
        running = self.poolers()
        self.assertEqual(len(running), 1, running)
        return next(iter(running))

    def load(self):
        work = Workload(self.dsn, CLIENTS)
        self.addCleanup(work.abandon)
        self.await_clients()
        return work

    def await_clients(self):
        """Until every client of a workload has written something more."""
        def asked(sql):
            with contextlib.suppress(AssertionError):  # there may be no primary just now
                return self.survivor.sql(sql)
            return None
        since = wait_for(lambda: asked("select coalesce(max(id), 0) from appended"), 120, "rows")
        wait_for(lambda: asked(
            f"select count(distinct client) from appended where id > {since}") == str(CLIENTS),
            120, "a row of every client")

    def servers(self):
        """Those of the primary that write for a client."""
        return int(self.survivor.sql("select count(*) from pg_stat_activity where"
                                     " usename = 'alice' and query like 'INSERT INTO appended%'"))

    # --- tests

    def test_a_switchover_is_not_seen_by_many_clients(self):
        old = self.survivor.primary()
        work = self.load()
        before = self.servers()
        self.survivor.switch_over()
        self.survivor.await_new_primary(old)
        self.await_clients()
        after = self.servers()
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual((result["errors"], result["in_doubt"]), ({}, 0))
        print(f"  {CLIENTS} clients, {before} and {after} servers", flush=True)
        for count in (before, after):
            self.assertGreater(count, 0)
            self.assertLess(count, CLIENTS)
        self.survivor.await_all_streaming()

    def test_a_killed_postmaster_costs_what_was_under_way(self):
        pooler = self.pooler()
        work = self.load()
        self.survivor.kill_postmaster(self.survivor.primary())
        self.await_clients()
        self.assert_nothing_lost(work.finish())
        self.assertEqual(self.pooler(), pooler)
        self.survivor.await_all_streaming()

    def test_a_killed_pool_is_there_for_the_next_client(self):
        old = self.pooler()
        os.kill(old, signal.SIGKILL)
        self.assertNotEqual(self.pooler(), old)
        at = json.loads((self.platform.home / "etc" / "proxy.json").read_text())["metrics_listen"]
        with urllib.request.urlopen(f"http://{at}/metrics", timeout=30) as answer:
            self.assertIn("\ntrunkline_proxy_pools 1\n", answer.read().decode())

    def test_a_killed_proxy_leaves_no_pool_behind(self):
        pooler, proxy = self.pooler(), self.platform.pid("proxy")
        os.kill(proxy, signal.SIGKILL)
        wait_for(lambda: not alive(pooler), 30, "the end of its pool")
        wait_for(lambda: self.platform.pid("proxy") != proxy, 30, "another proxy")

        def serves():
            with contextlib.suppress(AssertionError):
                return self.ask("select 1") == "1"
            return False
        wait_for(serves, 60, "another pool")
        self.pooler()

    def test_who_does_not_belong_there_hears_the_same(self):
        nowhere = self.pooled("99999999-2222-4333-8444-555555555555")
        expected = ':  password authentication failed for user "alice"\n'
        self.assertEqual(self.refusal(self.dsn, "wrong"), expected)
        self.assertEqual(self.refusal(nowhere, PASSWORD), expected)

    def test_a_changed_password_and_no_secret_in_sight(self):
        pooler = self.pooler()
        customer, users = self.survivor.customer, f"{INSTANCES}/{self.survivor.uuid}/users"
        alice = next(u["uuid"] for u in customer.call("GET", users) if u["name"] == "alice")

        def knows(password, dsn=self.dsn):
            with contextlib.suppress(AssertionError):
                return self.ask("select 1", dsn, password) == "1"
            return False
        for password, other in (("another secret", PASSWORD), (PASSWORD, "another secret")):
            customer.call("PUT", f"{users}/{alice}", {"password": password})
            wait_for(lambda now=password: knows(now), 60, "the new password")
            self.assertFalse(knows(other))
            # A pool may have had a connection still; a new one asks the server.
            wait_for(lambda now=password: knows(now, self.survivor.dsn), 60, "it in the server")
        self.assertEqual(list(self.poolers()), [pooler])
        self.assertEqual(len(self.poolers()[pooler].split()), 2)  # the program and its file
        for log in (self.platform.home / "logs").glob("*.log"):
            text = log.read_text(errors="replace")
            for secret in ("SCRAM-SHA-256$", PASSWORD, "another secret"):
                self.assertNotIn(secret, text, log)
        folder = pathlib.Path(self.poolers()[pooler].split()[1]).parent
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        self.assertNotEqual(pathlib.Path(f"/proc/{pooler}").stat().st_uid, 0)


if __name__ == "__main__":
    unittest.main()
