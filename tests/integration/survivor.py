"""An instance of three nodes that is written to while its hosts, servers and controllers break."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

from customer import Customer, INSTANCES
from platform_fixture import REPO, wait_for

WORKLOAD = pathlib.Path(os.environ.get("TRUNKLINE_BIN_DIR", REPO / "build" / "bin")).parent / \
    "tests" / "append_workload"
PASSWORD = "correct horse"
HOSTS = ("host-a", "host-b", "host-c")


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


class Survivor:
    """The instance: ordered, looked at and broken."""

    def __init__(self, platform, sync=1):
        self.platform = platform
        self.customer = Customer(platform)
        # One node a host: two on one host would be lost together.
        wait_for(lambda: len(self.customer.call("GET", "/v1/hosts")) == len(HOSTS), 60,
                 "all hosts registered")
        self.uuid = self.customer.order(nodes=3, sync=sync, name="survivor")
        owner = self.customer.user(self.uuid)
        database = self.customer.database(self.uuid, owner)
        self.customer.wait_active(self.uuid)
        self.customer.wait_object(f"{INSTANCES}/{self.uuid}/databases/{database}")
        self.await_all_streaming()
        self.dsn = self.customer.dsn(self.customer.get(self.uuid), connect_timeout=20)

    def remove(self):
        for host in HOSTS:
            self.signal_host(host, signal.SIGCONT)
        self.customer.delete(self.uuid)

    # --- looking

    def nodes(self):
        return self.customer.get(self.uuid)["nodes"]

    def primary(self):
        return next(n for n in self.nodes() if n.get("role") == "primary")

    def await_all_streaming(self):
        """And until the sync set is in force again: before that, a second failure would rightly
        be refused a promotion."""
        def settled():
            kinds = [e["type"] for e in self.customer.call(
                "GET", f"{INSTANCES}/{self.uuid}/events")]
            newest = next((k for k in reversed(kinds) if k in (
                "primary_opened", "standby_lost", "standby_assigned", "sync_set_assigned",
                "failover_started", "group_settled")), None)
            return newest == "group_settled" and all_stream()

        def all_stream():
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

    def switch_over(self, target=None):
        self.customer.call("POST", f"{INSTANCES}/{self.uuid}/switchover",
                           {"target": target["uuid"]} if target else {}, expect=(200, 201, 202))

    def sql(self, text):
        return self.customer.sql(self.dsn, text)
