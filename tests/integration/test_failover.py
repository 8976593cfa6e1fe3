"""Failovers of a real instance under load: its clients write through the endpoint all the time, and
what was acknowledged to them must be there, once and in order, whatever happened.

TRUNKLINE_FAILOVERS (default 5) is how many random ones there are, TRUNKLINE_CHAOS_SEED replays
their order.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import time
import unittest

from customer import Customer, INSTANCES
from platform_fixture import REPO, PlatformTest, wait_for

FAILOVERS = int(os.environ.get("TRUNKLINE_FAILOVERS", "5"))
SEED = int(os.environ.get("TRUNKLINE_CHAOS_SEED", str(random.randrange(10**6))))
WORKLOAD = pathlib.Path(os.environ.get("TRUNKLINE_BIN_DIR", REPO / "build" / "bin")).parent / \
    "tests" / "append_workload"
PASSWORD = "correct horse"


def children_of(pids):
    """These and everything below them."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found = set(pids)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


class Workload:
    """Clients that append, until finish()."""

    def __init__(self, dsn, clients=4):
        self.process = subprocess.Popen(
            [str(WORKLOAD), dsn, str(clients)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=dict(os.environ, PGPASSWORD=PASSWORD))
        assert self.process.stdout.readline() == "ready\n"

    def finish(self):
        out, _ = self.process.communicate(timeout=180)
        return json.loads(out)


class Failover(PlatformTest):
    def setUp(self):
        self.customer = Customer(self.platform)
        self.uuid = self.customer.order(nodes=3, sync=1, name="survivor")
        owner = self.customer.user(self.uuid)
        database = self.customer.database(self.uuid, owner)
        self.customer.wait_active(self.uuid)
        self.customer.wait_object(f"{INSTANCES}/{self.uuid}/databases/{database}")
        self.await_all_streaming()
        self.dsn = self.customer.dsn(self.customer.get(self.uuid), connect_timeout=20)

    def tearDown(self):
        for host in ("host-a", "host-b", "host-c"):
            self.signal_host(host, signal.SIGCONT)
        self.customer.delete(self.uuid)

    # --- looking

    def nodes(self):
        return self.customer.get(self.uuid)["nodes"]

    def primary(self):
        return next(n for n in self.nodes() if n.get("role") == "primary")

    def await_all_streaming(self):
        def settled():
            instance = self.customer.get(self.uuid)
            nodes = instance["nodes"]
            return instance["status"] == "ACTIVE" and len(nodes) == 3 and all(
                n["status"] == "ACTIVE" and n.get("role") for n in nodes) and sum(
                n["role"] == "primary" for n in nodes) == 1
        wait_for(settled, 120, "a primary and two standbys that stream")

    def await_new_primary(self, old, timeout_s=60):
        def other():
            with contextlib.suppress(StopIteration):
                now = self.primary()
                return now if now["uuid"] != old["uuid"] and now["status"] == "ACTIVE" else None
        return wait_for(other, timeout_s, "another primary")

    def failovers(self):
        return self.customer.call("GET", f"{INSTANCES}/{self.uuid}/failovers")

    # --- breaking

    def keeper_and_below(self, node):
        return {pid: line for pid, line in self.platform.own_processes().items()
                if f"/nodes/{node['uuid']}/" in line}

    def kill_postmaster(self, node):
        pid_file = next(self.platform.home.resolve().rglob(f"{node['uuid']}/data/postmaster.pid"))
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)

    def host_processes(self, host):
        return children_of(pid for pid, line in self.platform.own_processes().items()
                           if f"/hosts/{host}/" in line or f"agent-{host}.json" in line)

    def signal_host(self, host, number):
        for pid in self.host_processes(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def assert_nothing_lost(self, result):
        shown = {k: v for k, v in result.items() if k not in ("gaps",)}
        print(f"  {shown}", flush=True)
        self.assertEqual((result["lost"], result["unexpected"], result["reordered"]), (0, 0, 0))
        self.assertGreater(result["acknowledged"], 0)

    def assert_rows_equal_everywhere(self):
        """Each node has the same rows, asked on its own socket by its own administrator."""
        counts = set()
        for node in self.nodes():
            dsn = f"host={node['address']} port={node['port']} user=alice dbname=shop"
            want = self.customer.sql(self.dsn, "select count(*), sum(n) from appended")
            wait_for(lambda d=dsn, w=want: self.customer.sql(
                d, "select count(*), sum(n) from appended") == w, 60, f"rows of {node['host']}")
            counts.add(want)
        self.assertEqual(len(counts), 1)

    # --- tests

    def test_a_killed_postmaster_is_back_soon(self):
        work = Workload(self.dsn)
        time.sleep(1)
        self.kill_postmaster(self.primary())
        time.sleep(4)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.await_all_streaming()

    def test_a_frozen_host_is_failed_over_and_comes_back_as_a_standby(self):
        old = self.primary()
        work = Workload(self.dsn)
        time.sleep(1)
        self.signal_host(old["host"], signal.SIGSTOP)
        new = self.await_new_primary(old)
        time.sleep(2)
        self.signal_host(old["host"], signal.SIGCONT)
        self.await_all_streaming()
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(self.primary()["uuid"], new["uuid"])
        self.assert_rows_equal_everywhere()
        told = self.failovers()[0]
        self.assertEqual((told["from_node"], told["to_node"]), (old["uuid"], new["uuid"]))
        self.assertTrue(told["rule"] and told["why"] and told["facts"], told)

    def test_a_killed_host_that_restarts(self):
        old = self.primary()
        work = Workload(self.dsn)
        time.sleep(1)
        self.signal_host(old["host"], signal.SIGKILL)
        time.sleep(6)
        self.await_all_streaming()
        self.assert_nothing_lost(work.finish())
        self.assert_rows_equal_everywhere()

    def test_a_switchover_is_not_seen_by_clients(self):
        old = self.primary()
        target = next(n for n in self.nodes() if n["role"] == "standby")
        work = Workload(self.dsn)
        time.sleep(1)
        self.customer.call("POST", f"{INSTANCES}/{self.uuid}/switchover",
                           {"target": target["uuid"]}, expect=(200, 201, 202))
        new = self.await_new_primary(old)
        self.assertEqual(new["uuid"], target["uuid"])
        time.sleep(1)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.assertEqual(result["in_doubt"], 0)
        self.await_all_streaming()
        self.assert_rows_equal_everywhere()

    def test_an_outage_of_the_control_plane_is_none_of_the_data_plane(self):
        old = self.primary()
        started = self.customer.sql(self.dsn, "select pg_postmaster_start_time()")
        stopped = [self.platform.pid(n) for n in
                   ("nats", "log-postgres", "lookup", "replication", "provisioner")]
        work = Workload(self.dsn)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(15)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        time.sleep(5)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.await_all_streaming()
        self.assertEqual(self.primary()["uuid"], old["uuid"])
        self.assertEqual(self.customer.sql(self.dsn, "select pg_postmaster_start_time()"), started)

    def test_killed_agents_and_controllers_restart_no_database(self):
        started = self.customer.sql(self.dsn, "select pg_postmaster_start_time()")
        work = Workload(self.dsn)
        names = [n for n in self.platform.process_names() if n not in ("proxy",)]
        for name in names * 2:
            with contextlib.suppress(ProcessLookupError, KeyError):
                os.kill(self.platform.pid(name), signal.SIGKILL)
            time.sleep(0.5)
        result = work.finish()
        self.assert_nothing_lost(result)
        self.assertEqual(result["errors"], {})
        self.assertEqual(self.customer.sql(self.dsn, "select pg_postmaster_start_time()"), started)

    def test_random_failovers_under_load(self):
        print(f"TRUNKLINE_CHAOS_SEED={SEED} failovers={FAILOVERS}", flush=True)
        dice = random.Random(SEED)
        work = Workload(self.dsn)
        for _ in range(FAILOVERS):
            self.await_all_streaming()
            time.sleep(dice.uniform(0.2, 1.5))
            old = self.primary()
            kind = dice.choice(["freeze", "kill host", "kill postmaster", "switchover",
                                "freeze and kill replication"])
            print(f"  {kind} {old['host']}", flush=True)
            if kind == "switchover":
                self.customer.call("POST", f"{INSTANCES}/{self.uuid}/switchover", {},
                                   expect=(200, 201, 202))
            elif kind == "kill postmaster":
                self.kill_postmaster(old)
            elif kind == "kill host":
                self.signal_host(old["host"], signal.SIGKILL)
            else:
                self.signal_host(old["host"], signal.SIGSTOP)
                if "replication" in kind:
                    time.sleep(dice.uniform(0, 3))
                    os.kill(self.platform.pid("replication"), signal.SIGKILL)
                self.await_new_primary(old)
                self.signal_host(old["host"], signal.SIGCONT)
            time.sleep(dice.uniform(0.5, 2))
        self.await_all_streaming()
        self.assert_nothing_lost(work.finish())
        self.assert_rows_equal_everywhere()


if __name__ == "__main__":
    unittest.main()
