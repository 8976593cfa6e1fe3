#!/usr/bin/env python3
"""How long it takes until all instances take writes again when a host that has a third of their
primaries stops at once, and what the machine itself needs for so many promotions: bare PostgreSQL
servers, as many at a time, in the same run.

usage: bench_fleet_failover.py [instances, default 200]
Instances have two nodes, one of them a synchronous standby. Exit code 1 if the goal was missed.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "integration"))
from customer import Customer, INSTANCES  # noqa: E402
from platform_fixture import Platform, wait_for  # noqa: E402
from survivor import HOSTS, children_of  # noqa: E402

GOAL_S = 6
AT_ONCE = 8
WRITE = "insert into written values (clock_timestamp())"


class Fleet:
    def __init__(self, platform, count):
        self.platform, self.customer = platform, Customer(platform)
        wait_for(lambda: len(self.customer.call("GET", "/v1/hosts")) == len(HOSTS), 60, "hosts")
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            self.uuids = list(pool.map(self.order, range(count)))
        self.dsns = {u: self.customer.dsn(self.customer.get(u), connect_timeout=20)
                     for u in self.uuids}
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda u: self.customer.sql(
                self.dsns[u], "create table written (at timestamptz)"), self.uuids))

    def order(self, number):
        uuid = self.customer.order(nodes=2, sync=1, name=f"fleet-{number}")
        owner = self.customer.user(uuid)
        database = self.customer.database(uuid, owner)
        self.customer.wait_active(uuid, 300)
        self.customer.wait_object(f"{INSTANCES}/{uuid}/databases/{database}", 300)
        self.await_settled(uuid)
        return uuid

    def await_settled(self, uuid):
        def settled():
            events = self.customer.call("GET", f"{INSTANCES}/{uuid}/events")
            return any(e["type"] == "group_settled" for e in events)
        wait_for(settled, 300, f"{uuid} settled")

    def primaries(self):
        """{host: instances whose primary it has}"""
        found = {host: [] for host in HOSTS}
        for uuid in self.uuids:
            nodes = self.customer.get(uuid)["nodes"]
            found[next(n["host"] for n in nodes if n.get("role") == "primary")].append(uuid)
        return found

    def signal_host(self, host, number):
        for pid in children_of(p for p, line in self.platform.own_processes().items()
                               if f"/hosts/{host}/" in line or f"agent-{host}.json" in line):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def await_opened(self, uuids, since):
        """Seconds from `since` until each of them has opened a primary, from the log."""
        def opened():
            rows = self.platform.psql(
                self.platform.run_json()["log_dsn"],
                "select substr(stream, 7), max(recorded_us) from log.event"
                f" where type = 'primary_opened' and recorded_us > {int(since * 1e6)} group by 1")
            at = dict(line.split("|") for line in rows.splitlines())
            return at if set(uuids) <= set(at) else None
        return {u: int(us) / 1e6 - since for u, us in wait_for(opened, 300, "primaries").items()}

    def await_writable(self, uuids, since):
        """Seconds until a client of each had a write acknowledged through its endpoint."""
        def write(uuid):
            while True:
                with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                    self.customer.sql(self.dsns[uuid], WRITE)
                    return time.time() - since
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(write, uuids))


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


def measure(platform, count):
    fleet = Fleet(platform, count)
    primaries = fleet.primaries()
    host = max(primaries, key=lambda h: len(primaries[h]))
    hit = primaries[host]
    print(f"{count} instances of 2 nodes; {host} has the primaries of {len(hit)}", flush=True)
    since = time.time()
    fleet.signal_host(host, signal.SIGSTOP)
    opened = fleet.await_opened(hit, since)
    writable = fleet.await_writable(hit, since)
    fleet.signal_host(host, signal.SIGCONT)
    last = max(opened[u] for u in hit)
    limit = bare_promotions(platform, len(hit))
    good = last <= GOAL_S
    print(f"host lost, all {len(hit)} primaries open again {last:8.2f} s   goal ≤ {GOAL_S}"
          f"   median {statistics.median(opened[u] for u in hit):.2f}"
          f"   limit: as many bare promotions {limit:.2f} s{'' if good else '   MISSED'}")
    print(f"  each written to by a client ({AT_ONCE} at a time, after that) {max(writable):.2f} s",
          flush=True)
    return good


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    # More than the machine has: idle servers need little, and are given no more than they use.
    platform = Platform(env={"TRUNKLINE_HOST_CAPACITY":
                             '{"cpu": 1000, "ram_mb": 1000000, "disk_gb": 10000}'})
    try:
        platform.start()
        return 0 if measure(platform, count) else 1
    finally:
        platform.tear_down()


if __name__ == "__main__":
    sys.exit(main())
