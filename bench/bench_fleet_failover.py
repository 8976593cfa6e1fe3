#!/usr/bin/env python3
"""How long it takes until all instances take writes again when a host with a third of their
primaries stops at once: as clients see it that write through the endpoints, one an instance, and
as the log has it. Beside it, in the same run, what the machine itself needs for as many
promotions of bare PostgreSQL servers. Nothing acknowledged may be lost, and no other primary may
fail over.

usage: bench_fleet_failover.py [instances [nodes]]
Default: TRUNKLINE_BENCH_FLEET instances (30; the figure to publish is of 200) of
TRUNKLINE_BENCH_FLEET_NODES nodes (3). A commit waits for one standby. All servers are idle but for
one write a second to each instance that loses its primary. Exit code 1 if the goal was missed.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import select
import signal
import statistics
import subprocess
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "integration"))
from customer import Customer, INSTANCES  # noqa: E402
from platform_fixture import Platform, wait_for  # noqa: E402
from survivor import HOSTS, PASSWORD, children_of  # noqa: E402

BENCH_BIN = REPO / "build" / "bench"
GOAL_S = 6
AT_ONCE = 4
PAUSE_MS = 1000
TICKS = os.sysconf("SC_CLK_TCK")
# More than the machine has: idle servers need little, and are given no more than they use.
CAPACITY = '{"cpu": 1000, "ram_mb": 1000000, "disk_gb": 10000}'
SMALLEST = {"cpu": 1, "ram": 512, "disk_size": 8}


def await_slowly(condition, timeout_s, what, every_s=0.5):
    """wait_for() that takes little from a machine that is measured."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout_s} s")
        time.sleep(every_s)
    return value


class Fleet:
    def __init__(self, platform, count, nodes):
        self.platform, self.customer, self.nodes = platform, Customer(platform), nodes
        wait_for(lambda: len(self.customer.call("GET", "/v1/hosts")) == len(HOSTS), 60, "hosts")
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            self.uuids = list(pool.map(self.order, range(count)))

    def order(self, number):
        uuid = self.customer.order(nodes=self.nodes, sync=1, name=f"fleet-{number}", **SMALLEST)
        owner = self.customer.user(uuid)
        database = self.customer.database(uuid, owner)
        path = f"{INSTANCES}/{uuid}/databases/{database}"
        await_slowly(lambda: self.customer.get(uuid)["status"] == "ACTIVE" and
                     self.customer.call("GET", path)["status"] == "ACTIVE", 600, uuid, 0.2)
        return uuid

    def log(self, sql):
        return self.platform.psql(self.platform.run_json()["log_dsn"], sql)

    def await_settled(self):
        """Until every group had its sync set in force since its last change."""
        def settled():
            newest = self.log(
                "select count(*) from (select distinct on (stream) type from log.event"
                " where stream like 'group-%' order by stream, version desc) newest"
                " where type = 'group_settled'")
            return int(newest) >= len(self.uuids)
        await_slowly(settled, 600, "all groups settled")

    def primaries(self):
        """{host: instances whose primary it has}"""
        found = {host: [] for host in HOSTS}
        for uuid in self.uuids:
            nodes = self.customer.get(uuid)["nodes"]
            found[next(n["host"] for n in nodes if n.get("role") == "primary")].append(uuid)
        return found

    def processes_of(self, host):
        return children_of(p for p, line in self.platform.own_processes().items()
                           if f"/hosts/{host}/" in line or f"agent-{host}.json" in line)

    def failovers(self, since):
        """{instance: failovers that began}"""
        rows = self.log("select substr(stream, 7), count(*) from log.event"
                        f" where type = 'failover_started' and recorded_us > {int(since * 1e6)}"
                        " group by 1")
        return {u: int(n) for u, n in (line.split("|") for line in rows.splitlines())}

    def opened(self, since):
        """{instance: seconds until it had a primary again}, from the log"""
        rows = self.log("select substr(stream, 7), max(recorded_us) from log.event"
                        f" where type = 'primary_opened' and recorded_us > {int(since * 1e6)}"
                        " group by 1")
        return {u: int(us) / 1e6 - since for u, us in (r.split("|") for r in rows.splitlines())}


class Writers:
    """A client for each of the instances, in one process."""

    def __init__(self, fleet, uuids):
        self.process = subprocess.Popen(
            [str(BENCH_BIN / "fleet_writers"), str(PAUSE_MS)], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=dict(os.environ, PGPASSWORD=PASSWORD))
        for uuid in uuids:
            dsn = fleet.customer.dsn(fleet.customer.get(uuid), connect_timeout=20)
            self.process.stdin.write(dsn + "\n")
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], 120)
        assert ready and self.process.stdout.readline() == "ready\n", "the writers do not write"

    def finish(self):
        out, _ = self.process.communicate(timeout=600)
        return json.loads(out)

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def writable_again(writes, since):
    """Seconds from `since` until a write was acknowledged that was sent after it, or None."""
    return next((acked - since for sent, acked in writes if sent > since), None)


def machine_use(seconds):
    """How many processors are busy."""
    def look():
        fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return sum(fields[:8]) - fields[3] - fields[4]
    before, began = look(), time.monotonic()
    time.sleep(seconds)
    return (look() - before) / TICKS / (time.monotonic() - began)


def bare_promotions(platform, count):
    """Seconds that `count` promotions of empty standbys take, AT_ONCE at a time."""
    template = next(p.parent for p in (platform.home / "hosts").glob("*/templates/*/*/PG_VERSION")
                    if not p.parent.name.startswith(("tmp", "spare")))
    owner, folder = template.stat(), platform.parent / "bare"
    folder.mkdir()
    os.chown(folder, owner.st_uid, owner.st_gid)
    as_owner = [] if os.geteuid() == owner.st_uid else [
        "setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups", "--"]
    version = (template / "PG_VERSION").read_text().strip()
    programs = pathlib.Path(f"/usr/lib/postgresql/{version}/bin")

    def ctl(data, *words):
        subprocess.run([*as_owner, programs / "pg_ctl", "-D", data, "-w", *words], check=True,
                       cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def start(number):
        data = folder / str(number)
        subprocess.run(["cp", "-a", "--reflink=auto", template, data], check=True)
        (data / "standby.signal").touch()
        ctl(data, "-l", "/dev/null", "-o", f"-c listen_addresses= -c unix_socket_directories="
            f"{folder} -c port={20000 + number} -c ssl=off -c shared_buffers=16MB", "start")
        return data

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        servers = list(pool.map(start, range(count)))
        began = time.monotonic()
        list(pool.map(lambda data: ctl(data, "promote"), servers))
        took = time.monotonic() - began
        list(pool.map(lambda data: ctl(data, "-m", "immediate", "stop"), servers))
    return took


def signal_all(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def lose_host(fleet, host, hit):
    """The host stops: nothing of it answers any more. Prints what came of it."""
    processes = fleet.processes_of(host)
    writers = Writers(fleet, hit)
    try:
        with contextlib.suppress(AssertionError):
            await_slowly(lambda: machine_use(2) < os.cpu_count() * 0.8, 30, "the machine at rest")
        since = time.time()
        signal_all(processes, signal.SIGSTOP)
        with contextlib.suppress(AssertionError):
            await_slowly(lambda: set(hit) <= set(fleet.opened(since)), 120, "primaries")
            time.sleep(3)
        opened, failovers = fleet.opened(since), fleet.failovers(since)
        seen = writers.finish()
    finally:
        writers.abandon()
        signal_all(processes, signal.SIGCONT)
    missing = [u for u in hit if u not in opened]
    writable = [writable_again(w, since) for w in seen["writes"]]
    still_down = len(missing) + sum(1 for w in writable if w is None)
    others = sum(n for u, n in failovers.items() if u not in hit)
    repeated = sum(n - 1 for u, n in failovers.items() if u in hit)
    times = [w for w in writable if w is not None] or [0]
    last = max(times)
    good = still_down == 0 and last <= GOAL_S and seen["lost"] == 0 and others == 0
    print(f"host lost, all {len(hit)} primaries on it writable again {last:6.2f} s"
          f"   goal ≤ {GOAL_S}   median {statistics.median(times):.2f}"
          f"{'' if good else '   MISSED'}")
    print(f"  opened, as the log has it: last {max(opened.values(), default=0):.2f} s,"
          f" median {statistics.median(opened.values() or [0]):.2f}; failovers of others {others},"
          f" repeated {repeated}; acknowledged writes lost {seen['lost']}; still down {still_down}")
    return good, last


def measure(platform, count, nodes):
    fleet = Fleet(platform, count, nodes)
    fleet.await_settled()
    idle = machine_use(10)
    primaries = fleet.primaries()
    host = max(primaries, key=lambda h: len(primaries[h]))
    hit = primaries[host]
    print(f"{count} instances of {nodes} nodes, idle: {idle:.2f} of {os.cpu_count()} processors;"
          f" primaries {', '.join(f'{h} {len(u)}' for h, u in primaries.items())}", flush=True)
    good, last = lose_host(fleet, host, hit)
    platform.stop()
    limit = bare_promotions(platform, len(hit))
    print(f"  limit: as many promotions of bare servers {limit:.2f} s, ratio {last / limit:.1f}")
    return good


def main():
    words = sys.argv[1:]
    count = int(words[0] if words else os.environ.get("TRUNKLINE_BENCH_FLEET", "30"))
    nodes = int(words[1] if len(words) > 1 else os.environ.get("TRUNKLINE_BENCH_FLEET_NODES", "3"))
    platform = Platform(env={"TRUNKLINE_HOST_CAPACITY": CAPACITY})
    try:
        platform.start()
        return 0 if measure(platform, count, nodes) else 1
    finally:
        platform.tear_down()


if __name__ == "__main__":
    sys.exit(main())
