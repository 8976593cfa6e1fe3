"""Real drivers with their defaults, side by side, at an endpoint's own port and at the pooled one:
through planned switchovers without an error, and through a failover without a wrong or lost row.
drivers/README.md says what each program does. One whose packages are missing is a failed test.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import unittest

from platform_fixture import REPO, wait_for
from survivor import PASSWORD, Survivor, SurvivorTest

HERE = pathlib.Path(__file__).resolve().parent / "drivers"
BUILD = REPO / "build" / "drivers"
POOLED_PORT = "6432"
WAYS = ("direct", "pooled")
JARS = ":".join(f"/usr/share/java/{name}.jar"
                for name in ("postgresql", "HikariCP", "slf4j-api", "slf4j-nop"))
# What a client may be told when its primary dies. (A driver without one says it in words.)
FAILOVER_ERRORS = re.compile(
    r"57P0[123]|08\w{3}|40003|25006|40001"
    r"|(?i:closed|connection|reset|EOF|terminat|refused|timeout|another operation)")


def build_go():
    """In the way that compiles fastest: what is measured here is right or wrong."""
    subprocess.run(
        ["go", "build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", str(BUILD / "pgx"),
         str(HERE / "drivers.go")], check=True, capture_output=True, text=True, timeout=240,
        env={**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "",
             "CGO_ENABLED": "0", "GOCACHE": str(BUILD / "go-cache"), "GOTOOLCHAIN": "local"})


def build_java():
    subprocess.run(["javac", "-cp", JARS, "-d", str(BUILD / "java"), str(HERE / "Drivers.java")],
                   check=True, capture_output=True, text=True, timeout=240)


def build_node():
    """Debian lacks postgres.js, and its node-postgres comes with a Node.js of its own."""
    folder = BUILD / "node"
    folder.mkdir(exist_ok=True)
    wanted = (HERE / "package-lock.json").read_bytes()
    got = folder / "package-lock.json"
    shutil.copy(HERE / "drivers.mjs", folder)
    if (folder / "complete").exists() and got.read_bytes() == wanted:
        return
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder,
                   check=True, capture_output=True, text=True, timeout=240)
    (folder / "complete").touch()


PYTHON = ["/usr/bin/python3", "-B", str(HERE / "drivers.py")]  # which has Debian's packages
NODE = ["node", str(BUILD / "node" / "drivers.mjs")]
JAVA = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}:{BUILD}/java",
        "Drivers"]
DRIVERS = {  # by name: its command, and what must be built for it
    "psycopg": (PYTHON, None),
    "asyncpg": (PYTHON, None),
    "sqlalchemy": (PYTHON, None),
    "pgjdbc-hikari": (JAVA, build_java),
    "pgx": ([str(BUILD / "pgx")], build_go),
    "node-postgres": (NODE, build_node),
    "postgres.js": (NODE, build_node),
}


class Program:
    def __init__(self, name, arguments):
        self.name = name
        self.process = subprocess.Popen(
            [*DRIVERS[name][0], name, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=dict(os.environ, PGPASSWORD=PASSWORD))
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError(f"{name} does not start: {self.process.communicate()[1]}")

    def report(self):
        """Since the one before."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            self.process.kill()
            raise AssertionError(f"{self.name} has ended: {self.process.communicate()[1]}"
                                 ) from error

    def assert_runs(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} has ended: {self.process.communicate()[1]}")

    def end(self):
        self.process.kill()
        self.process.communicate()


class Drivers(SurvivorTest):
    @classmethod
    def setUpClass(cls):
        BUILD.mkdir(parents=True, exist_ok=True)
        cls.unbuilt = {}
        builder = threading.Thread(target=cls.build)
        builder.start()
        try:
            super().setUpClass()
            cls.survivor = Survivor(cls.platform)
            cls.survivor.sql("create table driven (driver text, way text, client int, n int,"
                             " primary key (driver, way, client, n))")
        finally:
            builder.join()

    @classmethod
    def build(cls):
        for name, (_, build) in DRIVERS.items():
            try:
                if build:
                    build()
            except (OSError, subprocess.SubprocessError) as error:
                cls.unbuilt[name] = f"{error}\n{getattr(error, 'stderr', '')}"

    @classmethod
    def arguments(cls):
        host = re.search(r"host=(\S+)", cls.survivor.dsn)[1]
        port = re.search(r"port=(\S+)", cls.survivor.dsn)[1]
        return [host, port, POOLED_PORT, cls.survivor.uuid, "alice", "shop"]

    def rows(self):
        """By driver and way, those of the client that has fewest."""
        found = self.survivor.sql(
            "select driver || ' ' || way || ' ' || min(rows) from (select driver, way, client,"
            " count(*) as rows from driven group by driver, way, client) each"
            " group by driver, way having count(*) = 2")
        return {tuple(line.split()[:2]): int(line.split()[2]) for line in found.splitlines()}

    def rows_through_a_failover(self):
        """The same; a failover may end the session that asks, too."""
        answers = []

        def answered():
            with contextlib.suppress(AssertionError):
                answers.append(self.rows())
            return answers
        return wait_for(answered, 60, "an answer")[0]

    def await_turns(self, turns):
        """Until every client of every driver has written so many rows more."""
        before = self.rows_through_a_failover()
        everyone = {(name, way) for name in DRIVERS for way in WAYS}
        last = {}

        def done():
            for program in self.programs:
                program.assert_runs()
            last.clear()
            last.update(self.rows_through_a_failover())
            return all(last.get(key, 0) >= before.get(key, 0) + turns for key in everyone)
        try:
            wait_for(done, 120, "rows")
        except AssertionError as error:
            behind = sorted(key for key in everyone
                            if last.get(key, 0) < before.get(key, 0) + turns)
            seen = {p.name: p.report() for p in self.programs if (p.name, "direct") in behind or
                    (p.name, "pooled") in behind}
            raise AssertionError(f"no rows of {behind}: {json.dumps(seen, indent=1)}") from error

    def acknowledge(self, reports, acknowledged):
        for name, report in reports.items():
            for way in WAYS:
                self.assertEqual(report[way]["wrong"], [], (name, way))
                acknowledged[name, way] = (acknowledged.get((name, way), 0) +
                                           report[way]["acknowledged"])

    def test_drivers_go_through_switchovers_and_a_failover(self):
        self.assertEqual(self.unbuilt, {})
        self.programs = []
        for name in DRIVERS:
            self.programs.append(Program(name, self.arguments()))
            self.addCleanup(self.programs[-1].end)
        acknowledged = {}
        # Drivers prepare a statement after some uses: then it is there to be carried.
        self.await_turns(12)
        old = self.survivor.primary()
        for _ in range(2):
            self.survivor.switch_over()
            old = self.survivor.await_new_primary(old)
            self.await_turns(4)
            self.survivor.await_all_streaming()
        reports = {program.name: program.report() for program in self.programs}
        self.acknowledge(reports, acknowledged)
        errors = {f"{name} {way}": report[way]["errors"] for name, report in reports.items()
                  for way in WAYS if report[way]["errors"]}
        self.assertEqual(errors, {}, "in planned switchovers")

        self.survivor.kill_postmaster(self.survivor.primary())
        self.await_turns(4)
        reports = {program.name: program.report() for program in self.programs}
        self.acknowledge(reports, acknowledged)
        for name, report in reports.items():
            for way in WAYS:
                for error in report[way]["errors"]:
                    self.assertRegex(error, FAILOVER_ERRORS, (name, way))
        for program in self.programs:
            program.end()
        shown = {" ".join(key): count for key, count in sorted(acknowledged.items())}
        print(f"  acknowledged: {shown}", flush=True)
        counts = dict(line.rsplit(" ", 1) for line in self.survivor.sql(
            "select driver || ' ' || way || ' ' || count(*) from driven group by driver, way"
        ).splitlines())
        for key, count in shown.items():
            self.assertGreaterEqual(int(counts[key]), count, key)


if __name__ == "__main__":
    unittest.main()
