#!/usr/bin/env python3
"""How long it takes to look at a platform of 1,000 instances of three nodes: every process's
/metrics, and the fleet by REST, while all hosts go on telling how they fare. One instance is real;
the others are copies of it (copied_fleet.cc), on hosts that are pretended. Beside each: an answer
of the same HTTP server that is always the same.

usage: bench_scrape.py [instances]
TRUNKLINE_BENCH_ROUNDS (default 21) scrapes each; medians. Exit code 1 if a goal was missed.
"""

import http.client
import json
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import time
import urllib.parse

from bench_platform import BENCH_BIN, Customer, Platform, Report, wait_for

ROUNDS = int(os.environ.get("TRUNKLINE_BENCH_ROUNDS", "21"))
GOAL_MS = 100


class Copies:
    """Many instances out of one, until it is closed."""

    def __init__(self, platform, instance, count):
        self.platform = platform
        password = platform.parent / "bench.password"
        password.write_text(self.let_in())
        socket = os.readlink(platform.home / "run" / "socket_dir")
        roles = [f"host={socket}/log port={platform.port_base + 2} user=tl_{role} "
                 "dbname=trunkline_log" for role in ("provisioner", "replication")]
        self.process = subprocess.Popen(
            [str(BENCH_BIN / "copied_fleet"), *roles, f"nats://127.0.0.1:{platform.port_base + 1}",
             "bench", str(password), instance, str(count)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def let_in(self):
        """A user of the bus that may speak for hosts; its password."""
        config = self.platform.home / "etc" / "nats-server.conf"
        password = secrets.token_hex(16)
        may = '{ allow: ["tl.report.>", "tl.stats.>"] }'
        user = (f'{{ user: "bench", password: "{password}", '
                f"permissions: {{ publish: {may}, subscribe: {may} }} }}")
        text = config.read_text()
        changed = re.sub(r"(\n  TL \{\n.*?users: \[)", lambda m: f"{m[1]}\n      {user}", text,
                         count=1, flags=re.DOTALL)
        assert changed != text
        config.write_text(changed)
        os.kill(self.platform.pid("nats"), signal.SIGHUP)
        return password

    def append(self):
        """Waits until all are in the log. Replication learns of them as at a start: to one that
        works, groups that are open and were never heard of would be silent ones."""
        replication = self.platform.pid("replication")
        os.kill(replication, signal.SIGSTOP)
        try:
            line = self.process.stdout.readline().split()
        finally:
            os.kill(replication, signal.SIGKILL)
        if line[:1] != ["appended"]:
            raise AssertionError("the copies were not made")

    def close(self):
        self.process.kill()
        self.process.wait()


def ask(address, path, headers=None):
    """(ms until all of the answer is there, its bytes), on a connection of its own."""
    host, _, port = address.partition(":")
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    took = 1000 * (time.perf_counter() - began)
    connection.close()
    return took, len(body), answer.status


def median_ms(address, path, headers=None, status=200):
    answers = [ask(address, path, headers) for _ in range(ROUNDS)]
    if {got for _, _, got in answers} != {status}:
        raise AssertionError(f"{path}: {answers}")
    times = [took for took, _, _ in answers]
    return statistics.median(times), max(times), answers[-1][1]


def scrape(platform, report):
    targets = json.loads((platform.home / "prometheus" / "targets.json").read_text())
    total, slowest, fixed = 0, 0, 0
    for entry in targets:
        name = entry["labels"].get("host", entry["labels"]["service"])
        (address,) = entry["targets"]
        took, most, size = median_ms(address, "/metrics")
        nothing, _, _ = median_ms(address, "/", status=404)
        total, slowest, fixed = total + took, max(slowest, took), fixed + nothing
        print(f"  /metrics of {name:12} median {took:7.2f} ms, most {most:7.2f}, {size:6} bytes   "
              f"fixed answer {nothing:.2f} ms")
    report.line("scrape of the slowest process", slowest, "ms", GOAL_MS)
    report.line(f"scrape of all {len(targets)} processes, one after another", total, "ms", GOAL_MS,
                fixed)


def look(platform, report, path_of_one):
    address = f"127.0.0.1:{platform.port_base}"
    token = {"Authorization": f"Bearer {platform.admin_token()}"}
    page, _, page_size = median_ms(address, "/openapi.json")
    for what, path in (("the fleet", "/v1/admin/fleet"),
                       ("an instance's Prometheus page", path_of_one + "/prometheus"),
                       ("alerts", "/v1/admin/alerts")):
        took, most, size = median_ms(address, path, token)
        print(f"  {what}: most {most:.2f} ms, {size} bytes; a fixed page of {page_size} bytes "
              f"{page:.2f} ms")
        report.line(f"{what} by REST", took, "ms", GOAL_MS, page * size / page_size)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    platform = Platform()
    report = Report()
    copies = None
    try:
        platform.start()
        customer = Customer(platform)
        path = customer.order(3)
        wait_for(lambda: customer.active(path), 60, "an instance to copy")
        wait_for(lambda: customer.get(path + "/metrics")["history"]["nodes"], 60, "its statistics")
        copies = Copies(platform, path.rpartition("/")[2], count - 1)
        copies.append()

        def all_known():
            fleet = customer.get("/v1/admin/fleet")
            instances = fleet["instances"]
            answering = all(node["answers"] for instance in instances["shown"]
                            for node in instance["nodes"])
            calm = not fleet["alerts"] and instances["by_status"] == {"ACTIVE": count}
            return fleet if calm and answering else None
        fleet = wait_for(all_known, 120, "all instances active, with their statistics")
        print(f"  {fleet['instances']['total']} instances, {len(fleet['hosts'])} hosts, "
              f"{len(fleet['alerts'])} alerts")
        scrape(platform, report)
        look(platform, report, path)
    finally:
        if copies:
            copies.close()
        platform.tear_down()
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
