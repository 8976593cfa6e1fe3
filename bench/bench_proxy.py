#!/usr/bin/env python3
"""The proxy beside HAProxy (TCP) and PgBouncer (session pools), before one PostgreSQL, in one run.
The peers take turns in short rounds, so that what else the machine does falls on all of them.

usage: bench_proxy.py [--seconds N] [--rounds N] [--idle N] [--churn N] [--guesses N] [section...]
sections: select reconnect latency idle churn guess
Exit code 1 if a goal was missed. A peer that is not installed is left out (scripts/setup.sh bench).
"""

import argparse
import asyncio
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import proxy_peers
from proxy_peers import PASSWORD, USER, Peers

ENVIRONMENT = {**os.environ, "PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"}


class Bench:
    def __init__(self, peers, options):
        self.peers = peers
        self.options = options
        self.missed = []

    def goal(self, name, value, relation, goal, unit=""):
        good = value <= goal if relation == "≤" else value >= goal
        print(f"{name:58} {value:8.3g} {unit:6} goal {relation} {goal:g}"
              f"{'' if good else '   MISSED'}", flush=True)
        if not good:
            self.missed.append(name)

    def pgbench(self, name, *arguments):
        ran = subprocess.run(
            ["pgbench", "-h", "127.0.0.1", "-p", str(self.peers.ports[name]), "-U", USER, "-n",
             "-S", "-T", str(self.options.seconds), *arguments, USER],
            env=ENVIRONMENT, capture_output=True, text=True, check=False)
        found = re.search(r"^tps = ([\d.]+)", ran.stdout, re.MULTILINE)
        if ran.returncode != 0 or not found:
            raise AssertionError(f"{name}: {ran.stderr}")
        return float(found.group(1))

    def rounds(self, title, *arguments):
        """Medians of the transactions a second, by peer; and what each cost a peer's processor."""
        seen = {name: [] for name in self.peers.ports}
        cost = {name: [] for name in self.peers.pids}
        for _ in range(self.options.rounds):
            for name, rates in seen.items():
                pid = self.peers.pids.get(name)
                before = proxy_peers.processor_seconds(pid) if pid else 0
                rates.append(self.pgbench(name, *arguments))
                if pid:
                    used = proxy_peers.processor_seconds(pid) - before
                    cost[name].append(used / (rates[-1] * self.options.seconds) * 1e6)
        rates = {name: statistics.median(rates) for name, rates in seen.items()}
        for name, rate in rates.items():
            spent = f", {statistics.median(cost[name]):.1f} µs of processor" if name in cost else ""
            print(f"  {title:36} {name:10} {rate:8.0f} tps, {rate / rates['direct']:.2f} of direct"
                  f"{spent}", flush=True)
        return rates

    def against_peers(self, title, rates, peers):
        for peer in peers:
            if peer in rates:
                self.goal(f"{title}, of {peer}", rates["proxy"] / rates[peer], "≥", 1.0)

    def select(self):
        for mode in ("simple", "prepared"):
            rates = self.rounds(f"select-only {mode}, 16 clients", "-M", mode, "-c", "16", "-j",
                                "2")
            self.against_peers(f"select-only {mode}, 16 clients", rates, ("haproxy", "pgbouncer"))

    def reconnect(self):
        rates = self.rounds("reconnect each time", "-C", "-c", "4", "-j", "2")
        self.against_peers("reconnect each time", rates, ("haproxy",))

    def p50_us(self, name):
        with tempfile.TemporaryDirectory() as folder:
            self.pgbench(name, "-M", "prepared", "-c", "1", "-l", f"--log-prefix={folder}/log")
            times = []
            for file in os.listdir(folder):
                with open(os.path.join(folder, file), encoding="ascii") as lines:
                    times += [int(line.split()[2]) for line in lines]
        return statistics.median(times)

    def latency(self):
        seen = {name: [] for name in self.peers.ports}
        for _ in range(self.options.rounds):
            for name, times in seen.items():
                times.append(self.p50_us(name))
        times = {name: statistics.median(times) for name, times in seen.items()}
        for name, time in times.items():
            print(f"  p50 of one client            {name:12} {time:10.0f} µs", flush=True)
        self.goal("added p50", times["proxy"] - times["direct"], "≤", 30, "µs")

    def idle(self):
        asyncio.run(self.measure_idle())

    async def with_pretended_node(self, work):
        """Memory of a proxy is measured before a node that only logs in: each session has a
        connection of its own to it, and no server's memory sets a limit."""
        node_port = proxy_peers.free_port()
        node = await asyncio.start_server(proxy_peers.pretend_node, "127.0.0.1", node_port,
                                          backlog=1024)
        ports = dict(self.peers.ports)
        process = self.peers.start_proxy(work.__name__, node_port)
        port = self.peers.ports[work.__name__]
        self.peers.ports = ports
        await work(port, process.pid)
        node.close()

    async def measure_idle(self):
        # Two descriptors a session here, and two in the proxy.
        limit = proxy_peers.raise_descriptor_limit(2 * self.options.idle + 1000)
        count = min(self.options.idle, limit // 2 - 300)

        async def idle_sessions(port, pid):
            first = await proxy_peers.open_idle(port, 100)
            before = proxy_peers.resident_bytes(pid)
            rest = await proxy_peers.open_idle(port, count - 100)
            after = proxy_peers.resident_bytes(pid)
            print(f"  {count} idle sessions, each with its node's: {after / 1e6:.1f} MB resident",
                  flush=True)
            self.goal("memory of an idle session", (after - before) / (count - 100) / 1024, "≤", 8,
                      "KB")
            for writer in first + rest:
                writer.close()
        await self.with_pretended_node(idle_sessions)

    def churn(self):
        async def churned_sessions(port, pid):
            seen = []
            for _ in range(4):
                await proxy_peers.connect_and_leave(port, self.options.churn // 4)
                seen.append(proxy_peers.resident_bytes(pid) / 1e6)
            print(f"  resident after each quarter of {self.options.churn} connections: "
                  f"{', '.join(f'{mb:.1f}' for mb in seen)} MB", flush=True)
            self.goal("memory after all connections, of the first quarter's", seen[-1] / seen[0],
                      "≤", 1.05)
        asyncio.run(self.with_pretended_node(churned_sessions))

    def guess(self):
        """How long a refusal takes must not tell what was wrong."""
        kinds = {"wrong password": (USER, proxy_peers.INSTANCE),
                 "unknown user": ("nobody", proxy_peers.INSTANCE),
                 "unknown endpoint": (USER, "9" + proxy_peers.INSTANCE[1:])}

        async def guesses(port, _):
            port = self.peers.shared_ports["guesses"]
            times = {kind: [] for kind in kinds}
            for _ in range(self.options.guesses):
                for kind, (user, endpoint) in kinds.items():
                    times[kind].append(
                        await proxy_peers.refused_after_s(port, user, endpoint) * 1e6)
            medians = {kind: statistics.median(seen) for kind, seen in times.items()}
            for kind, median in medians.items():
                print(f"  {kind:20} refused after {median:6.0f} µs (median)", flush=True)
            self.goal("slowest refusal, of the fastest", max(medians.values()) /
                      min(medians.values()), "≤", 1.1)
        asyncio.run(self.with_pretended_node(guesses))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--churn", type=int, default=20_000)
    parser.add_argument("--guesses", type=int, default=500)
    parser.add_argument("section", nargs="*")
    options = parser.parse_args()
    sections = options.section or ["select", "reconnect", "latency", "idle", "churn", "guess"]
    with Peers() as peers:
        if not set(sections) <= {"idle", "churn", "guess"}:
            peers.start_postgres()
            peers.start_proxy("proxy", peers.ports["direct"])
            for name in ("haproxy", "pgbouncer"):
                if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin"):
                    getattr(peers, f"start_{name}")()
                else:
                    print(f"  {name} is not installed: left out")
            subprocess.run(["pgbench", "-h", "127.0.0.1", "-p", str(peers.ports["direct"]), "-U",
                            USER, "-i", "-s", "10", "-q", USER], env=ENVIRONMENT, check=True,
                           capture_output=True)
        bench = Bench(peers, options)
        for section in sections:
            getattr(bench, section)()
    if bench.missed:
        print("missed:", ", ".join(bench.missed))
    return 1 if bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
