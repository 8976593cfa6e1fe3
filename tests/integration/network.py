"""A network that can be cut, for a platform whose hosts and proxy are in namespaces of their own.

    NETWORK = network.enter()                       # once a process; raises Unavailable
    Platform(env=NETWORK.env)                       # scripts/ know TRUNKLINE_NETWORK
    NETWORK.cut({HOST["host-a"]}, {BUS, PROXY})     # silently, until heal()

Everybody reaches everybody through the namespace `router`, which drops by source and destination: a
cut can be one-way. This process moves into a network and a mount namespace of its own first, so
that all of it goes with the last process of the test, however that ends, and nothing outside
changes.
"""

import ctypes
import itertools
import os
import subprocess

PREFIX = "10.77.0"
ROUTER = "169.254.77.1"
# The control plane has an address for the bus and one for its clients: they are cut separately.
BUS, CLIENTS, WATCHER, PROXY = (f"{PREFIX}.{last}" for last in (1, 2, 3, 10))
HOST = {name: f"{PREFIX}.{11 + i}" for i, name in enumerate(("host-a", "host-b", "host-c"))}
PLACES = {"watcher": WATCHER, "proxy": PROXY, **HOST}
ALL = {BUS, CLIENTS, PROXY, *HOST.values()}

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


class Unavailable(Exception):
    """No namespaces here; the text says why."""


def _call(function, *arguments):
    if function(*arguments) != 0:
        code = ctypes.get_errno()
        raise Unavailable(f"no network namespaces: {function.__name__}: {os.strerror(code)}")


def _ip(*words, text=None):
    try:
        subprocess.run(["ip", *words], input=text, text=True, check=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise Unavailable("no network namespaces: no `ip` (package iproute2)") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"no network namespaces: ip {' '.join(words)}: {error.stderr}") from error


def enter():
    if os.geteuid() != 0:
        raise Unavailable("no network namespaces: only root can make them")
    libc = ctypes.CDLL(None, use_errno=True)
    _call(libc.unshare, CLONE_NEWNET | CLONE_NEWNS)
    _call(libc.mount, b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    _call(libc.mount, b"tmpfs", b"/run", b"tmpfs", 0, None)
    _ip("link", "set", "lo", "up")
    _ip("netns", "add", "router")
    _ip("-n", "router", "addr", "add", f"{ROUTER}/32", "dev", "lo")
    _ip("-n", "router", "link", "set", "lo", "up")
    subprocess.run(["ip", "netns", "exec", "router", "sh", "-c",
                    "echo 1 > /proc/sys/net/ipv4/ip_forward"], check=True)
    _connect(None, "control", (BUS, CLIENTS))
    for name, address in PLACES.items():
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        _connect(name, name, (address,))
    return Network()


def _connect(place, name, addresses):
    """A wire between a namespace (None: this process's) and the router."""
    here = ["-n", place] if place else []
    _ip("link", "add", f"r-{name}", "netns", "router", "type", "veth", "peer", "name", "wire",
        *(["netns", place] if place else []))
    for address in addresses:
        _ip(*here, "addr", "add", f"{address}/32", "dev", "wire")
    _ip(*here, "link", "set", "wire", "up")
    _ip(*here, "route", "add", ROUTER, "dev", "wire")
    _ip(*here, "route", "add", f"{PREFIX}.0/24", "via", ROUTER, "src", addresses[-1])
    _ip("-n", "router", "link", "set", f"r-{name}", "up")
    for address in addresses:
        _ip("-n", "router", "route", "add", address, "dev", f"r-{name}")


class Network:
    env = {"TRUNKLINE_NETWORK": PREFIX}

    def __init__(self):
        self._cuts = set()

    def cut_one_way(self, sources, destinations):
        """What the first send to the others arrives no more."""
        self._apply("add", set(itertools.product(sources, destinations)) - self._cuts)

    def cut(self, some, others):
        self.cut_one_way(some, others)
        self.cut_one_way(others, some)

    def heal(self):
        self._apply("del", set(self._cuts))

    def _apply(self, verb, pairs):
        lines = [f"rule {verb} from {a} to {b} blackhole\n" for a, b in pairs if a != b]
        _ip("-n", "router", "-batch", "-", text="".join(lines))
        self._cuts = self._cuts | pairs if verb == "add" else self._cuts - pairs


def runs_in(place):
    """What to put before a command so that it runs there."""
    return ["nsenter", f"--net=/run/netns/{place}"]
