"""An instance of three nodes that is written to while its hosts, servers and controllers break."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

from customer import Customer, INSTANCES
from platform_fixture import REPO, PlatformTest, wait_for

PROGRAMS = pathlib.Path(os.environ.get("TRUNKLINE_BIN_DIR", REPO / "build" / "bin")).parent / \
    "tests"
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


class Observer:
    """A program that runs until finish(), which returns what it has seen."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, PGPASSWORD=PASSWORD))
        assert self.process.stdout.readline() == "ready\n"

    def finish(self):
        out, _ = self.process.communicate(timeout=180)
        return json.loads(out)

    def abandon(self):
        """For a cleanup: nothing if it has finished."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Workload(Observer):
    """Clients that append through an endpoint."""

    def __init__(self, dsn, clients=4):
        super().__init__([str(PROGRAMS / "append_workload"), dsn, str(clients)])


class Watch(Observer):
    """Tries to write to every node itself, by the socket of each."""

    def __init__(self, platform, nodes, before=()):
        super().__init__([*before, str(PROGRAMS / "write_watch"), *(
            f"{platform.node_dsn(n)} user=alice dbname=shop connect_timeout=2"
            " options='-c client_min_messages=error'" for n in nodes)])


class Survivor:
    """The instance: ordered, looked at and broken."""

    def __init__(self, platform, sync=1):
        self.platform = platform
        self.customer = Customer(platform)
        self._events = []
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

    def wait_for(self, condition, timeout_s, what):
        """Says what was there instead."""
        try:
            return wait_for(condition, timeout_s, what)
        except AssertionError as error:
            events = self.events()[-12:]
            raise AssertionError(f"{error}\n{json.dumps(self.nodes(), indent=1)}\n"
                                 f"{json.dumps(events, indent=1)}") from error

    def nodes(self):
        return self.customer.get(self.uuid)["nodes"]

    def primary(self):
        """For a moment after a crash nobody is seen to be it."""
        return self.wait_for(
            lambda: next((n for n in self.nodes() if n.get("role") == "primary"), None), 60,
            "a primary")

    def await_all_streaming(self):
        """And until the sync set is in force again: before that, a second failure would rightly
        be refused a promotion."""
        def settled():
            newest = next((k for k in reversed(self.event_types()) if k in (
                "primary_opened", "standby_lost", "standby_assigned", "sync_set_assigned",
                "failover_started", "group_settled")), None)
            return newest == "group_settled" and all_stream()

        def all_stream():
            instance = self.customer.get(self.uuid)
            nodes = instance["nodes"]
            return instance["status"] == "ACTIVE" and len(nodes) == 3 and all(
                n["status"] == "ACTIVE" and n.get("role") for n in nodes) and sum(
                n["role"] == "primary" for n in nodes) == 1
        self.wait_for(settled, 120, "a primary and two standbys that stream")

    def await_new_primary(self, old, timeout_s=60):
        def other():
            with contextlib.suppress(StopIteration):
                now = self.primary()
                return now if now["uuid"] != old["uuid"] and now["status"] == "ACTIVE" else None
        return self.wait_for(other, timeout_s, "another primary")

    def serves(self, node):
        """Takes clients, asked of the node itself."""
        dsn = f"{self.platform.node_dsn(node)} user=alice dbname=shop connect_timeout=2"
        with contextlib.suppress(AssertionError):
            return self.customer.sql(dsn, "select 1") == "1"
        return False

    def postmaster_start(self):
        return self.sql("select pg_postmaster_start_time()")

    def events(self):
        """All of them, page by page; those that were read before are kept."""
        while True:
            after = self._events[-1]["position"] if self._events else 0
            page = self.customer.call(
                "GET", f"{INSTANCES}/{self.uuid}/events?page_marker={after}")
            if not page:
                return self._events
            self._events += page

    def event_types(self):
        return [e["type"] for e in self.events()]

    def failovers(self):
        return self.customer.call("GET", f"{INSTANCES}/{self.uuid}/failovers")

    def replayed(self, query=""):
        """Its decisions, taken again by the rules that run."""
        return self.customer.call("GET", f"{INSTANCES}/{self.uuid}/failovers/replay{query}")

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
        """Asks until it is accepted: a primary that was killed a moment ago may not be open yet."""
        def accepted():
            status, answer, _ = self.platform.api(
                "POST", f"{INSTANCES}/{self.uuid}/switchover",
                {"target": target["uuid"]} if target else {})
            if status not in (200, 201, 202, 409):
                raise AssertionError(f"switchover: {status} {answer}")
            return status != 409
        wait_for(accepted, 60, "a switchover that is accepted")

    def sql(self, text):
        return self.customer.sql(self.dsn, text)


class SurvivorTest(PlatformTest):
    """What must hold of a survivor after whatever happened."""

    def workload(self, clients=4):
        work = Workload(self.survivor.dsn, clients)
        self.addCleanup(work.abandon)
        return work

    def watch(self, before=()):
        watch = Watch(self.platform, self.survivor.nodes(), before)
        self.addCleanup(watch.abandon)
        return watch

    def assert_nothing_lost(self, result):
        shown = {k: v for k, v in result.items() if k not in ("gaps",)}
        print(f"  {shown}", flush=True)
        self.assertEqual((result["lost"], result["unexpected"], result["reordered"]), (0, 0, 0))
        self.assertGreater(result["acknowledged"], 0)

    def assert_one_primary(self, seen, thaws=0):
        """A watcher goes to the servers past the proxies, which cut the sessions of an older term.
        So of a host that stood still and wakes up one write a thaw may run before its keeper
        does; it waits for no standby, and no client of an endpoint could have sent it."""
        print(f"  {seen}", flush=True)
        self.assertEqual(seen["violations"], [])
        self.assertLessEqual(len(seen["thawed"]), thaws, seen)
        self.assertGreater(sum(seen["accepted"].values()), 0)

    def assert_decided_the_same_again(self, *rules):
        """Every decision about a failover so far, these rules among them."""
        decisions = self.survivor.replayed()
        for decision in decisions:
            self.assertEqual(decision["result"], "SAME", decision)
            self.assertEqual(decision["then"]["assigns"], decision["now"]["assigns"])
        self.assertLessEqual(set(rules), {d["then"]["rule"] for d in decisions}, decisions)
        return decisions

    def assert_rows_equal_everywhere(self):
        """Asked of each node itself."""
        question = ("select count(*), sum(n), md5(string_agg(n::text, ',' order by id))"
                    " from appended")
        wanted = self.survivor.sql(question)
        for node in self.survivor.nodes():
            dsn = f"{self.platform.node_dsn(node)} user=alice dbname=shop"
            def same(dsn=dsn):
                with contextlib.suppress(AssertionError):  # it may be starting still
                    return self.survivor.customer.sql(dsn, question) == wanted
                return False
            wait_for(same, 60, f"the rows of {node['host']}")
