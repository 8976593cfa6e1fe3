#!/usr/bin/env python3
"""The platform's figures, each beside its goal and, where there is one, the limit measured in the
same run: what the machine does without us. Starts a platform of its own.

usage: bench_platform.py [section...]
sections: formation burst commands reads idle rebuild start rating
Exit code 1 if a goal was missed.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
import uuid

REPO = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "integration"))
from platform_fixture import Platform, accepts_connections, free_port_base, wait_for  # noqa: E402

BENCH_BIN = REPO / "build" / "bench"
INSTANCES = "/v1/postgres/instances"
PASSWORD = "bench-password-1"
ROUNDS = 10
READ_INSTANCES = 8
SPARE_COPIES = 4  # the agent's default


class Report:
    def __init__(self):
        self.missed = []

    def line(self, name, value, unit, goal, limit=None, smaller_is_better=True):
        good = value <= goal if smaller_is_better else value >= goal
        relation = "≤" if smaller_is_better else "≥"
        beside = "" if limit is None else f"   limit {limit:.3g} {unit}"
        mark = "" if good else "   MISSED"
        print(f"{name:52} {value:10.4g} {unit:6} goal {relation} {goal:g}{beside}{mark}",
              flush=True)
        if not good:
            self.missed.append(name)

    def exit_code(self):
        """Of the program; says which goals were missed."""
        if self.missed:
            print(f"missed: {'; '.join(self.missed)}")
        return 1 if self.missed else 0


class Customer:
    """Orders instances as a client would."""

    def __init__(self, platform):
        self.platform = platform
        versions = self.expect(200, "GET", "/v1/postgres/versions")["versions"]
        chosen = next((v for v in versions if v["name"] == "15"), versions[0])
        self.version = f"/v1/types/postgres/versions/{chosen['uuid']}"
        self.image = chosen["image"]

    def expect(self, status, method, path, body=None):
        got, answer, _ = self.platform.api(method, path, body)
        if got != status:
            raise AssertionError(f"{method} {path}: {got} {answer}")
        return answer

    def order(self, nodes):
        """POST instance, user and database; the paths."""
        path = f"{INSTANCES}/{uuid.uuid4()}"
        self.expect(201, "POST", INSTANCES, {
            "uuid": path.rpartition("/")[2], "name": "bench", "cpu": 1, "ram": 512, "disk_size": 8,
            "nodes_number": nodes, "sync_replica_number": 1 if nodes > 1 else 0,
            "version": self.version})
        user = self.expect(201, "POST", path + "/users", {"name": "bench", "password": PASSWORD})
        self.expect(201, "POST", path + "/databases", {
            "name": "bench", "owner": f"/v1/types/postgres{path.removeprefix('/v1/postgres')}"
                                      f"/users/{user['uuid']}"})
        return path

    def get(self, path):
        return self.expect(200, "GET", path)

    def select_one(self, path):
        """Until a client's SELECT 1 is answered through the instance's endpoint."""
        def attempt():
            end = self.get(path).get("endpoints", {}).get("read_write")
            if not end:
                return False
            with contextlib.suppress(AssertionError):
                dsn = (f"host={end['host']} port={end['port']} user=bench dbname=bench "
                       "sslmode=prefer")
                return self.platform.psql(dsn, "SELECT 1", PASSWORD) == "1"
            return False
        wait_for(attempt, 60, f"SELECT 1 on {path}")

    def active(self, path):
        document = self.get(path)
        if document["status"] == "ERROR":
            raise AssertionError(f"{path}: {document['error']}")
        return document["status"] == "ACTIVE"

    def delete(self, path):
        self.expect(204, "DELETE", path)
        wait_for(lambda: self.platform.api("GET", path)[0] == 404, 60, f"deletion of {path}")


def median_s(measure, rounds=ROUNDS):
    """What rounds leave is removed after the last: removing is no part of the next one."""
    times, undos = [], []
    for _ in range(rounds):
        began = time.monotonic()
        undos.append(measure())
        times.append(time.monotonic() - began)
    for undo in undos:
        undo()
    return statistics.median(times)


# --- limits


class BarePostgres:
    """Copies the agent's template and starts it by hand, as the node user."""

    def __init__(self, platform, image):
        self.programs = f"/usr/lib/postgresql/{image.removeprefix('postgresql-')}/bin"
        self.data = wait_for(lambda: self.template_data(platform, image), what="a template")
        self.dir = platform.parent / "bare"
        self.dir.mkdir(exist_ok=True)
        owner = self.data.stat()
        self.as_owner = [] if os.geteuid() == owner.st_uid else [
            "setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups", "--"]
        os.chown(self.dir, owner.st_uid, owner.st_gid)
        self.hba = self.dir / "pg_hba.conf"
        self.hba.write_text("local all all trust\n")
        self.port = 0

    @staticmethod
    def template_data(platform, image):
        """A complete template's data directory; agents make them in the background."""
        for version in (platform.home / "hosts").glob(f"*/templates/{image}/*/PG_VERSION"):
            if not version.parent.name.startswith(("tmp", "spare")):
                return version.parent
        return None

    def copy_and_start(self):
        data = self.dir / uuid.uuid4().hex
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.data), str(data)], check=True)
        port = free_port_base()
        server = subprocess.Popen(
            [*self.as_owner, f"{self.programs}/postgres", "-D", str(data), "-c", f"port={port}",
             "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.dir}",
             "-c", "ssl=off", "-c", f"hba_file={self.hba}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not accepts_connections(port):
            if server.poll() is not None:
                raise AssertionError("the bare PostgreSQL does not start")
            time.sleep(0.001)
        self.port = port

        def undo():
            server.terminate()
            server.wait(30)
            shutil.rmtree(data, ignore_errors=True)
        return undo

    def create_database(self):
        """On the server that was started last."""
        name = "bare_" + uuid.uuid4().hex
        subprocess.run(["psql", "-X", "-q", "-h", str(self.dir), "-p", str(self.port), "-U",
                        "postgres", "-c", f"create database {name}", "postgres"], check=True)
        return lambda: None


# --- sections


def await_rest(platform):
    """Until the agents have made their ready copies, as they have when nobody orders."""
    hosts = list((platform.home / "hosts").iterdir())

    def rested():
        return all(len(list(host.glob("templates/*/spare-*"))) >= SPARE_COPIES for host in hosts)
    wait_for(rested, 120, "ready copies on all hosts")


def formation(customer, report):
    bare = BarePostgres(customer.platform, customer.image)
    limit = median_s(bare.copy_and_start)
    stop = bare.copy_and_start()
    print(f"  copy and start {limit:.3f} s, CREATE DATABASE {median_s(bare.create_database):.3f} s "
          "(psql), without us")
    stop()
    for nodes, goal in ((1, 0.25), (3, 1.5)):
        def measure(nodes=nodes):
            path = customer.order(nodes)
            customer.select_one(path)
            return lambda: customer.delete(path)
        await_rest(customer.platform)
        seconds = median_s(measure)
        report.line(f"POST to first SELECT 1, {nodes} node(s), median of {ROUNDS}", seconds, "s",
                    goal, limit)


def burst(customer, report):
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        paths = list(pool.map(customer.order, [3] * 20))
    for path in paths:
        wait_for(lambda: customer.active(path), 120, f"ACTIVE {path}")
    report.line("20 instances of 3 nodes ordered at once: all ACTIVE", time.monotonic() - began,
                "s", 15)
    for path in paths:
        customer.delete(path)


def load(port, *arguments):
    done = subprocess.run([str(BENCH_BIN / "http_load"), "--port", str(port), *arguments],
                          stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def answered_well(report, what, result):
    """A refusal is quick: only answers that say what was asked for count."""
    if set(result["status"]) != {"200"} or result["broken"] or result["unanswered"]:
        report.missed.append(f"{what}: {result}")
        print(f"  {what}: {result}   MISSED")


def commands(customer, report):
    path = customer.order(1)
    wait_for(lambda: customer.active(path), 60, "an instance to change")
    common = ["--method", "PUT", "--path", path, "--body", '{"description": "{n}"}',
              "--token-file", str(customer.platform.home / "admin.token")]
    port = customer.platform.port_base
    full = load(port, *common, "--connections", "32", "--seconds", "10")
    report.line("commands accepted durably", full["rps"], "1/s", 500, smaller_is_better=False)
    paced = load(port, *common, "--connections", "16", "--rate", "100", "--seconds", "10")
    report.line("command latency at 100/s, p99", paced["p99_ms"], "ms", 25)
    for what, result in (("commands", full), ("commands at 100/s", paced)):
        answered_well(report, what, result)
    customer.delete(path)


def reads(customer, report):
    paths = [customer.order(1) for _ in range(READ_INSTANCES)]
    for path in paths:
        wait_for(lambda: customer.active(path), 60, "an instance to read")
    bare_port = free_port_base()
    bare = subprocess.Popen([str(BENCH_BIN / "bare_pistache"), str(bare_port)])
    try:
        wait_for(lambda: accepts_connections(bare_port), what="the bare route")
        limit = load(bare_port, "--path", "/hello/x", "--seconds", "8")
    finally:
        bare.kill()
        bare.wait()
    common = ["--token-file", str(customer.platform.home / "admin.token"),
              *(word for path in paths for word in ("--path", path))]
    full = load(customer.platform.port_base, *common, "--seconds", "8")
    report.line("GET by id, of a bare Pistache route's rate", 100 * full["rps"] / limit["rps"], "%",
                50, 100, smaller_is_better=False)
    print(f"  {full['rps']:.0f}/s beside {limit['rps']:.0f}/s")
    paced = load(customer.platform.port_base, *common, "--rate", "500", "--seconds", "8")
    report.line("GET latency at 500/s, p99", paced["p99_ms"], "ms", 5)
    for what, result in (("reads", full), ("reads at 500/s", paced)):
        answered_well(report, what, result)
    for path in paths:
        customer.delete(path)


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(f) for f in fields[11:15])  # with the children it has reaped
    return ticks / os.sysconf("SC_CLK_TCK")


def proportional_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0


def idle(customer, report):
    path = customer.order(3)
    wait_for(lambda: customer.active(path), 60, "an instance")
    time.sleep(5)
    processes = customer.platform.run_json()["processes"]
    pids = [p["pid"] for p in processes]
    # The log's PostgreSQL is many processes.
    for process in processes:
        children = pathlib.Path(f"/proc/{process['pid']}/task/{process['pid']}/children")
        if process["name"] == "log-postgres":
            pids += [int(pid) for pid in children.read_text().split()]
    seconds = 20
    before = cpu_seconds(pids)
    time.sleep(seconds)
    report.line("idle platform, processor", 100 * (cpu_seconds(pids) - before) / seconds, "%core",
                10)
    report.line("idle platform, memory", sum(proportional_mb(pid) for pid in pids), "MB", 300)
    customer.delete(path)


def rebuild(_customer, _report):
    program = BENCH_BIN / "bench_rebuild"
    if not program.exists():
        print("rebuild of the read model: no build/bench/bench_rebuild")
        return
    subprocess.run([str(program)], check=True)


def start(_customer, _report):
    subprocess.run([str(BENCH_BIN / "bench_start"), str(REPO / "build" / "bin")], check=True)


def rating(_customer, report):
    program = BENCH_BIN / "bench_rating"
    if not program.exists():
        print("a month rated anew: no build/bench/bench_rating")
    elif subprocess.run([str(program)], check=False).returncode != 0:
        report.missed.append("a month of 1,000 instances rated anew")


SECTIONS = [formation, burst, commands, reads, idle, rebuild, start, rating]


def main():
    wanted = sys.argv[1:] or [section.__name__ for section in SECTIONS]
    unknown = set(wanted) - {section.__name__ for section in SECTIONS}
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}\n{__doc__}", file=sys.stderr)
        return 2
    platform = Platform()
    report = Report()
    try:
        platform.start()
        customer = Customer(platform)
        for section in SECTIONS:
            if section.__name__ in wanted:
                section(customer, report)
    finally:
        platform.tear_down()
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
