"""What bench_failover.py compares with: three-node clusters of Patroni (with etcd) and of
pg_auto_failover on this machine's loopback, each as it ships and as fast as its settings allow,
with one synchronous standby wherever it has a setting for that. Only the standard library; a peer
whose programs are not installed is left out (scripts/setup.sh bench).

Their clients know all nodes (libpq's list of hosts, target_session_attrs=read-write), so nothing
stands between them and the servers. The primary's host dies by kill -9 of everything on it: easier
to notice than a host that falls silent, since its addresses refuse connections at once.
"""

import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request

from platform_fixture import wait_for
from survivor import children_of

POSTGRES_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
USER = "postgres"
PATIENCE_S = 120


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """A directory, the daemons in it by name, and the ports of three servers."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tl-peer-", dir="/tmp"))
        owner = pwd.getpwnam(USER)
        os.chown(self.dir, owner.pw_uid, owner.pw_gid)
        self.dir.chmod(0o755)
        self.as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]
        self.env = {"PATH": f"{POSTGRES_BIN}:{os.environ['PATH']}", "HOME": str(self.dir),
                    "XDG_RUNTIME_DIR": str(self.dir), "LC_ALL": "C.UTF-8"}
        self.ports = {name: free_port() for name in ("n1", "n2", "n3")}
        self.daemons = {}

    def data(self, name):
        return self.dir / name / "data"

    def spawn(self, name, *command):
        with open(self.dir / f"{name}.log", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                [*self.as_user, *command], cwd=self.dir, env=self.env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)

    def sql(self, port, database, text):
        return subprocess.run(
            [POSTGRES_BIN / "psql", "-XAtq", "-h", "127.0.0.1", "-p", str(port), "-U", USER, "-d",
             database, "-c", text], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=20).stdout.strip()

    @property
    def dsn(self):
        hosts = ",".join("127.0.0.1" for _ in self.ports)
        ports = ",".join(str(port) for port in self.ports.values())
        return (f"host={hosts} port={ports} user={USER} dbname=postgres connect_timeout=2 "
                "target_session_attrs=read-write")

    def writable(self):
        done = subprocess.run(
            [POSTGRES_BIN / "psql", "-XAtq", "-d", self.dsn, "-c", "select 1"], env=self.env,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout.strip() == "1"

    def processes_of(self, name):
        roots = {self.daemons[name].pid} if name in self.daemons else set()
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int((self.data(name) / "postmaster.pid").read_text().split()[0])
            if os.path.realpath(f"/proc/{pid}/cwd") == str(self.data(name)):
                roots.add(pid)
        return children_of(roots)

    def kill(self, name):
        for pid in self.processes_of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def last_words(self):
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-400:]}"
                         for log in sorted(self.dir.glob("*.log")))

    def tear_down(self):
        for name in list(self.daemons):
            self.kill(name)
        for daemon in self.daemons.values():
            daemon.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Patroni(Cluster):
    programs = ("patroni", "etcd")

    def __init__(self, tuned):
        super().__init__()
        self.times = dict(ttl=20, loop_wait=1, retry_timeout=3) if tuned else {}
        self.rest = {name: free_port() for name in self.ports}
        self.etcd = free_port()

    def configuration(self, name):
        local = "127.0.0.1"
        server = f"{local}:{self.ports[name]}"
        rest = f"{local}:{self.rest[name]}"
        return {
            "scope": "bench", "name": name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": f"{local}:{self.etcd}"},
            "bootstrap": {
                "dcs": {**self.times, "synchronous_mode": True,
                        "postgresql": {"use_pg_rewind": True}},
                "initdb": [{"encoding": "UTF8"}, "data-checksums"]},
            "postgresql": {
                "listen": server, "connect_address": server, "data_dir": str(self.data(name)),
                "bin_dir": str(POSTGRES_BIN), "pgpass": str(self.dir / name / "pgpass"),
                "authentication": {"superuser": {"username": USER, "password": "x"},
                                   "replication": {"username": "follower", "password": "x"}},
                "pg_hba": [f"host {what} all {local}/32 trust" for what in ("all", "replication")] +
                          ["local all all trust"],
                "parameters": {"unix_socket_directories": str(self.dir / name)}}}

    def members(self):
        for port in self.rest.values():
            with contextlib.suppress(OSError, ValueError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/cluster", timeout=2) as got:
                    return json.load(got)["members"]
        return []

    def start(self):
        url = f"http://127.0.0.1:{self.etcd}"
        peer = f"http://127.0.0.1:{free_port()}"
        self.spawn("etcd", "etcd", "--data-dir", str(self.dir / "etcd"), "--listen-client-urls",
                   url, "--advertise-client-urls", url, "--listen-peer-urls", peer,
                   "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")
        owner = pwd.getpwnam(USER)
        for name in self.ports:
            (self.dir / name).mkdir(mode=0o700)
            os.chown(self.dir / name, owner.pw_uid, owner.pw_gid)
            (self.dir / f"{name}.yml").write_text(json.dumps(self.configuration(name)))
        for name in self.ports:
            self.spawn(name, "patroni", str(self.dir / f"{name}.yml"))
        wait_for(self.formed, PATIENCE_S, "a formed Patroni cluster")

    def formed(self):
        members = self.members()
        return len(members) == 3 and all(
            m["state"] in ("running", "streaming") for m in members) and any(
            m["role"] == "sync_standby" for m in members)

    def primary(self):
        return next(m["name"] for m in self.members() if m["role"] == "leader")


class AutoFailover(Cluster):
    programs = ("pg_autoctl",)
    # The monitor's own settings, in milliseconds: how often and how patiently it looks at nodes.
    fastest = {"health_check_period": 500, "health_check_timeout": 500,
               "health_check_max_retries": 1, "health_check_retry_delay": 200,
               "node_considered_unhealthy_timeout": 2000, "primary_demote_timeout": 2000,
               "startup_grace_period": 1000}

    def __init__(self, tuned):
        super().__init__()
        self.tuned = tuned
        self.monitor = free_port()

    def create(self, name, kind, port, *options):
        self.spawn(name, "pg_autoctl", "create", kind, "--pgdata", str(self.data(name)), "--pgport",
                   str(port), "--hostname", "127.0.0.1", "--auth", "trust", "--no-ssl", "--run",
                   *options)

    def states(self):
        rows = self.sql(self.monitor, "pg_auto_failover",
                        "select nodename, reportedstate, goalstate from pgautofailover.node")
        return [row.split("|") for row in rows.splitlines()]

    def start(self):
        owner = pwd.getpwnam(USER)
        for name in ("monitor", *self.ports):
            (self.dir / name).mkdir(mode=0o700)
            os.chown(self.dir / name, owner.pw_uid, owner.pw_gid)
        self.create("monitor", "monitor", self.monitor)
        wait_for(lambda: self.sql(self.monitor, "pg_auto_failover",
                                  "select 1 from pg_extension where extname = 'pgautofailover'"),
                 PATIENCE_S, "the monitor of pg_auto_failover")
        if self.tuned:
            for setting, ms in self.fastest.items():
                self.sql(self.monitor, "postgres",
                         f"alter system set pgautofailover.{setting} = {ms}")
            self.sql(self.monitor, "postgres", "select pg_reload_conf()")
        uri = f"postgres://autoctl_node@127.0.0.1:{self.monitor}/pg_auto_failover"
        for count, (name, port) in enumerate(self.ports.items(), 1):
            self.create(name, "postgres", port, "--name", name, "--monitor", uri)
            wait_for(lambda n=count: self.settled(n), PATIENCE_S, f"{count} nodes that are settled")

    def settled(self, nodes):
        states = self.states()
        kinds = ("single",) if nodes == 1 else ("primary", "secondary")
        return len(states) == nodes and all(
            reported == goal and goal in kinds for _, reported, goal in states)

    def primary(self):
        return next(name for name, _, goal in self.states() if goal == "primary")


PEERS = {"Patroni": (Patroni, False), "Patroni, fastest": (Patroni, True),
         "pg_auto_failover": (AutoFailover, False), "pg_auto_failover, tuned": (AutoFailover, True)}


def is_installed(kind):
    return all(shutil.which(program) for program in kind.programs)
