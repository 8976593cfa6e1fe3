"""The servers that bench_proxy.py compares, each in a directory of its own, all asking for the same
SCRAM-SHA-256 password; and a node that only pretends, for more connections than a server can have.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import pathlib
import pwd
import resource
import shutil
import socket
import struct
import subprocess
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
INSTANCE = "11111111-2222-4333-8444-555555555555"
USER = "bench"
PASSWORD = "bench-password-1"
SALT = b"0123456789abcdef"
SALTED = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), SALT, 4096)


def mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


CLIENT_KEY = mac(SALTED, b"Client Key")
STORED_KEY = hashlib.sha256(CLIENT_KEY).digest()
SERVER_KEY = mac(SALTED, b"Server Key")
VERIFIER = "SCRAM-SHA-256$4096:{}${}:{}".format(
    *(base64.b64encode(part).decode() for part in (SALT, STORED_KEY, SERVER_KEY)))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def postgres_bin():
    return sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))[-1].parent


def wait_for_port(port, patience=30):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


class Peers:
    """All of them; a context manager that ends what it started."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tl-bench-proxy-"))
        self.folder.chmod(0o755)
        self.children = []
        self.ports = {}
        self.pids = {}  # of those that stand between
        self.shared_ports = {}  # of ours: where a client names its endpoint
        self.user = "nobody" if os.geteuid() == 0 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.terminate()
        for child in reversed(self.children):
            child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        if self.user:
            os.chown(path, pwd.getpwnam(self.user).pw_uid, -1)
        return str(path)

    def start(self, argv, as_user=True):
        log = open(self.folder / (pathlib.Path(argv[0]).name + ".log"), "ab")
        child = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/",
                                 user=self.user if as_user else None,
                                 group="nogroup" if self.user and as_user else None)
        self.children.append(child)
        return child

    def start_postgres(self):
        data = self.folder / "data"
        data.mkdir()
        if self.user:
            shutil.chown(data, self.user)
        run = {"user": self.user, "group": "nogroup"} if self.user else {}
        bin_dir = postgres_bin()
        subprocess.run([bin_dir / "initdb", "-D", data, "-U", "postgres", "-A", "trust",
                        "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd="/", **run)
        (data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n"
                                          "host all all all scram-sha-256\n")
        # Where our proxy looks for the socket of a node of its machine.
        (self.folder / "sockets" / "host").mkdir(parents=True)
        (self.folder / "sockets" / "host" / INSTANCE).symlink_to(data)
        port = self.ports["direct"] = free_port()
        self.start([str(bin_dir / "postgres"), "-D", str(data), "-p", str(port), "-k", str(data),
                    "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c",
                    "shared_buffers=256MB", "-c", "fsync=off"])
        wait_for_port(port)
        for sql in (f"CREATE ROLE {USER} LOGIN PASSWORD '{VERIFIER}'",
                    f"CREATE DATABASE {USER} OWNER {USER}"):
            subprocess.run(["psql", "-qX", "-h", data, "-p", str(port), "-U", "postgres", "-c",
                            sql], check=True)

    def start_haproxy(self):
        port = self.ports["haproxy"] = free_port()
        config = self.write("haproxy.cfg", f"""
global
  nbthread {os.cpu_count()}
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
listen pg
  bind 127.0.0.1:{port}
  server s 127.0.0.1:{self.ports["direct"]}
""")
        self.pids["haproxy"] = self.start(
            [shutil.which("haproxy") or "/usr/sbin/haproxy", "-f", config]).pid
        wait_for_port(port)

    def start_pgbouncer(self):
        port = self.ports["pgbouncer"] = free_port()
        users = self.write("users.txt", f'"{USER}" "{VERIFIER}"\n')
        config = self.write("pgbouncer.ini", f"""
[databases]
{USER} = host=127.0.0.1 port={self.ports["direct"]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = scram-sha-256
auth_file = {users}
pool_mode = session
max_client_conn = 1000
default_pool_size = 64
unix_socket_dir =
ignore_startup_parameters = options
""")
        self.pids["pgbouncer"] = self.start(
            [shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", "-q", config]).pid
        wait_for_port(port)

    def start_proxy(self, name, node_port, connections=0):
        """Ours, with a stored route and no bus. The process."""
        shared, port = free_port(), free_port()
        self.ports[name] = port
        self.shared_ports[name] = shared
        state = self.folder / name
        state.mkdir()
        if self.user:
            shutil.chown(state, self.user)
        self.write(f"{name}/routes.bin", "")
        (state / "routes.bin").write_bytes(routes(node_port, port, connections))
        config = self.write(f"{name}.json", json.dumps({
            "service": "proxy", "home": str(self.folder), "state_dir": str(state),
            "nats": {"url": f"nats://127.0.0.1:{free_port()}", "user": "none", "password": "none"},
            "listen_address": "127.0.0.1", "port": shared,
            "node_sockets": str(self.folder / "sockets")}))
        # The user that it runs as may not reach the build.
        program = shutil.copy(REPO / "build" / "bin" / "trunkline-proxy", state)
        child = self.start([str(program), "--config", config])
        self.pids[name] = child.pid
        wait_for_port(port)
        return child


# --- a route as bytes ---

def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def piece(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def routes(node_port, endpoint_port, connections):
    """trunkline.v1.Routes with one open route."""
    address = piece(1, "host") + piece(3, "127.0.0.1") + number(4, node_port)
    node = piece(1, INSTANCE) + number(2, 1) + number(3, 1) + piece(4, address)
    route = (piece(1, INSTANCE) + number(2, 1) + number(3, 1) + number(4, 1) +
             number(5, endpoint_port) + piece(7, node) +
             piece(8, piece(1, USER) + piece(2, VERIFIER)) + number(10, connections))
    return piece(1, route)


# --- a node that only knows how to let clients in, and such clients ---

def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


async def read_message(reader):
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


async def pretend_node(reader, writer):
    size = struct.unpack("!I", await reader.readexactly(4))[0]
    await reader.readexactly(size - 4)
    writer.write(message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
    _, body = await read_message(reader)
    bare = body.partition(b"n,,")[2]
    nonce = bare.rpartition(b"r=")[2] + b"node"
    first = b"r=" + nonce + b",s=" + base64.b64encode(SALT) + b",i=4096"
    writer.write(message(b"R", struct.pack("!I", 11) + first))
    _, body = await read_message(reader)
    signed = bare + b"," + first + b"," + body.partition(b",p=")[0]
    proof = b"v=" + base64.b64encode(mac(SERVER_KEY, signed))
    writer.write(message(b"R", struct.pack("!I", 12) + proof) +
                 message(b"R", struct.pack("!I", 0)) + message(b"K", struct.pack("!II", 1, 2)) +
                 message(b"Z", b"I"))


BARE = b"n=,r=client"


async def begin_log_in(port, parameters):
    """Until the server's challenge has come: reader, writer, challenge."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    packed = b"".join(word.encode() + b"\0" for pair in parameters for word in pair) + b"\0"
    writer.write(struct.pack("!II", len(packed) + 8, 3 << 16) + packed)
    await read_message(reader)
    writer.write(message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", 3 + len(BARE)) + b"n,," +
                         BARE))
    _, body = await read_message(reader)
    return reader, writer, body[4:]


async def refused_after_s(port, user, endpoint):
    """A login with a wrong proof: how long it took until it was refused."""
    began = time.perf_counter()
    reader, writer, first = await begin_log_in(
        port, [("user", user), ("options", f"-ctrunkline.endpoint={endpoint}")])
    proof = base64.b64encode(os.urandom(32))
    writer.write(message(b"p", b"c=biws," + first.partition(b",")[0] + b",p=" + proof))
    kind, _ = await read_message(reader)
    took = time.perf_counter() - began
    writer.close()
    assert kind == b"E", kind
    return took


async def log_in(port):
    reader, writer, first = await begin_log_in(port, [("user", USER)])
    final = b"c=biws," + first.partition(b",")[0]
    signature = mac(STORED_KEY, BARE + b"," + first + b"," + final)
    proof = bytes(a ^ b for a, b in zip(CLIENT_KEY, signature))
    writer.write(message(b"p", final + b",p=" + base64.b64encode(proof)))
    while True:
        kind, body = await read_message(reader)
        if kind == b"Z":
            return writer
        if kind == b"E":
            raise AssertionError(body)


async def connect_and_leave(port, count, width=50):
    """`count` logins, each of which ends at once."""
    gate = asyncio.Semaphore(width)

    async def one():
        async with gate:
            writer = await log_in(port)
            writer.close()
            await writer.wait_closed()
    await asyncio.gather(*(one() for _ in range(count)))


async def open_idle(port, count, width=50):
    """`count` logged-in connections."""
    gate = asyncio.Semaphore(width)

    async def one():
        async with gate:
            return await log_in(port)
    return await asyncio.gather(*(one() for _ in range(count)))


def raise_descriptor_limit(wanted):
    """As many as may be, for this process and those that it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit in (max(hard, wanted), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")
