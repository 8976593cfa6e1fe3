"""A whole platform for a test: fresh home, free ports, always torn down.

    class Something(PlatformTest):          # one platform for the class, demo = False
        def test_it(self):
            status, body, _ = self.platform.api("GET", "/v1/postgres/instances")

Only the standard library; black box: scripts, REST, psql, NATS.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

REPO = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = os.environ.get("TRUNKLINE_BIN_DIR", str(REPO / "build" / "bin"))
PORTS_OF_A_COPY = 3


def wait_for(condition, timeout_s=30, what="condition"):
    """Polls until `condition()` is true and returns its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout_s} s")
        time.sleep(0.02)


def alive(pid):
    """Whether a process runs; one that is dead but not reaped does not."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def accepts_connections(port, host="127.0.0.1"):
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def free_port_base():
    for _ in range(1000):
        base = random.randrange(20000, 32000, 10)
        if not any(accepts_connections(base + i) for i in range(PORTS_OF_A_COPY)):
            return base
    raise AssertionError("no free ports")


class Platform:
    def __init__(self, home=None, demo=False, env=None):
        # Not mkdtemp's 0700: the users of the services must be able to pass.
        self.parent = pathlib.Path(tempfile.mkdtemp(prefix="tl-it-", dir="/tmp"))
        self.parent.chmod(0o711)
        self.home = pathlib.Path(home) if home else self.parent / "home"
        self.port_base = free_port_base()
        self.env = dict(os.environ, TRUNKLINE_HOME=str(self.home),
                        TRUNKLINE_PORT_BASE=str(self.port_base), TRUNKLINE_BIN_DIR=BIN_DIR,
                        TRUNKLINE_DEMO="1" if demo else "0", DETACH="1", **(env or {}))

    # --- life

    def script(self, name, *args, timeout_s=240, **env):
        """Runs a script of scripts/; returns its CompletedProcess with both streams as text."""
        return subprocess.run([str(REPO / "scripts" / name), *args], env={**self.env, **env},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=timeout_s)

    def start(self):
        done = self.script("run.sh")
        if done.returncode != 0:
            raise AssertionError(f"run.sh ended with {done.returncode}:\n{done.stdout}\n"
                                 f"{self.last_log_lines()}")
        return done.stdout

    def start_in_foreground(self):
        """run.sh as a terminal starts it: its own process group, running on after this."""
        return subprocess.Popen([str(REPO / "scripts" / "run.sh")], env={**self.env, "DETACH": "0"},
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def stop(self):
        done = self.script("stop.sh")
        if done.returncode != 0:
            raise AssertionError(f"stop.sh ended with {done.returncode}:\n{done.stdout}")

    def tear_down(self):
        """Leaves no process and no file, whatever has happened before."""
        try:
            if (self.home / ".trunkline-home").exists():
                self.script("stop.sh")
        except subprocess.TimeoutExpired:
            print("stop.sh hangs; killing by pid", file=sys.stderr)
        left = self.wait_until_gone(5)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait_until_gone(10)
        if (self.home / ".trunkline-home").exists():
            self.script("clean_state.sh")
        shutil.rmtree(self.parent, ignore_errors=True)
        return left

    def own_processes(self):
        """{pid: command line} of what names the home in its command line."""
        found = {}
        real_home = str(self.home.resolve())
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(
                        errors="replace")
                    if real_home in line and alive(int(entry.name)):
                        found[int(entry.name)] = line
        return found

    def wait_until_gone(self, timeout_s):
        """Waits until no process of the home is left; returns those that are."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not self.own_processes(), timeout_s)
        return self.own_processes()

    # --- what it says about itself

    def run_json(self):
        return json.loads((self.home / "run.json").read_text())

    def pid(self, name):
        return {p["name"]: p["pid"] for p in self.run_json()["processes"]}[name]

    def spawn_service(self, name, output=subprocess.DEVNULL):
        """One more process of a service, as the user that reads its configuration."""
        config = self.home / "etc" / f"{name}.json"
        owner = config.stat()
        as_owner = {} if os.geteuid() == owner.st_uid else {
            "user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        return subprocess.Popen(
            [str(self.home / "bin" / f"trunkline-{name}"), "--config", str(config)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, **as_owner)

    def process_names(self):
        return [p["name"] for p in self.run_json()["processes"]]

    def last_log_lines(self, count=15):
        texts = []
        for log in sorted((self.home / "logs").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-count:]
            texts.append(f"--- {log.name}\n" + "\n".join(lines))
        return "\n".join(texts)

    def secret(self, name):
        return (self.home / "secrets" / name).read_text().strip()

    # --- ways in

    def admin_token(self):
        return (self.home / "admin.token").read_text().strip()

    def api(self, method, path, body=None, token=None, headers=None, timeout_s=15):
        """(status, parsed body or text, headers); no exception for an error status.
        token: None is the administrator's, "" sends none."""
        data = None if body is None else (
            body if isinstance(body, bytes) else json.dumps(body).encode())
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port_base}{path}", data=data, method=method)
        if token != "":
            request.add_header("Authorization", f"Bearer {token or self.admin_token()}")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.status, _parsed(answer.read()), answer.headers
        except urllib.error.HTTPError as answer:
            return answer.code, _parsed(answer.read()), answer.headers

    def psql(self, dsn, sql, password=None, timeout_s=30):
        """Rows as text, unaligned; raises on an SQL error."""
        env = dict(os.environ, PGCONNECT_TIMEOUT="5")
        if password is not None:
            env["PGPASSWORD"] = password
        done = subprocess.run(["psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", dsn,
                               "-c", sql], env=env, text=True, timeout=timeout_s,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise AssertionError(f"psql: {done.stderr}")
        return done.stdout.strip()

    def node_dsn(self, node):
        """The way to a node itself, past the proxy: its socket."""
        sockets = (self.home / "run" / "socket_dir").resolve()
        return f"host={sockets / node['host'] / node['uuid']} port={node['port']}"

    def nats(self, user=None, password=None):
        return NatsConnection(self.port_base + 1, user, password)


def _parsed(data):
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


class NatsRefused(Exception):
    pass


class NatsConnection:
    """The few words of the NATS protocol that a test needs."""

    def __init__(self, port, user, password):
        self.errors = []
        self.messages = []
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")
        try:
            self._log_in(user, password)
        except BaseException:
            self.close()
            raise

    def _log_in(self, user, password):
        self._line()  # INFO
        options = {"verbose": False, "pedantic": False, "lang": "test", "version": "0",
                   "headers": True, "no_responders": True}
        if user is not None:
            options.update(user=user, **{"pass": password})
        self._send(f"CONNECT {json.dumps(options)}")
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.reader.close()
        self.socket.close()

    def _send(self, line):
        self.socket.sendall(line.encode() + b"\r\n")

    def _line(self):
        line = self.reader.readline()
        if not line:
            raise NatsRefused("connection closed")
        return line.decode(errors="replace").rstrip("\r\n")

    def flush(self):
        """Waits until the server has taken all that was sent; returns the new errors."""
        self._send("PING")
        while True:
            line = self._line()
            if line == "PONG":
                errors, self.errors = self.errors, []
                return errors
            self._take(line)

    def _take(self, line):
        if line.startswith("-ERR"):
            if "Authorization" in line or "Authentication" in line:
                raise NatsRefused(line)
            self.errors.append(line)
        elif line == "PING":
            self._send("PONG")
        elif line.startswith(("MSG ", "HMSG ")):
            words = line.split(" ")
            self.messages.append((words[1], self.reader.read(int(words[-1]) + 2)[:-2]))

    def publish(self, subject, data=b"x", reply=""):
        """The errors that the server answered: [] if it may."""
        self._send(f"PUB {subject} {reply + ' ' if reply else ''}{len(data)}")
        self.socket.sendall(data + b"\r\n")
        return self.flush()

    def subscribe(self, subject, sid="1", queue=""):
        self._send(f"SUB {subject} {queue + ' ' if queue else ''}{sid}")
        return self.flush()

    def unsubscribe(self, sid="1"):
        self._send(f"UNSUB {sid}")
        self.flush()


class PlatformTest(unittest.TestCase):
    """One running platform for all tests of the class, as `self.platform`."""

    demo = False

    @classmethod
    def setUpClass(cls):
        cls.platform = Platform(demo=cls.demo)
        cls.addClassCleanup(cls.platform.tear_down)
        cls.platform.start()
