#!/usr/bin/env python3
"""What traces cost: the same load on three platforms in turn, many times, each beside the one
without traces in the same round. One sends every trace to a collector that takes it, one to a
collector that accepts connections and never answers.

usage: bench_traces.py
TRUNKLINE_BENCH_ROUNDS (default 7) is how often. Exit code 1 if a goal was missed.
"""

import os
import socket
import statistics
import sys
import threading

from bench_platform import Customer, Platform, Report, load, wait_for
from test_trace import HangingCollector  # bench_platform says where it is

ROUNDS = int(os.environ.get("TRUNKLINE_BENCH_ROUNDS", "7"))
SECONDS = "4"


class Sink:
    """Answers 200 to every POST and throws it away, at as little cost as Python can."""

    def __init__(self):
        self.bytes = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        while True:
            connection = self.listener.accept()[0]
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb", buffering=1 << 16) as stream:
            while True:
                length = 0
                while (line := stream.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if not line:
                    return
                self.bytes += len(stream.read(length))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class Loaded:
    def __init__(self, env):
        self.platform = Platform(env=env)

    def start(self):
        self.platform.start()
        customer = Customer(self.platform)
        path = customer.order(1)
        wait_for(lambda: customer.active(path), 60, "an instance to change")
        self.common = ["--method", "PUT", "--path", path, "--body", '{"description": "{n}"}',
                       "--token-file", str(self.platform.home / "admin.token")]
        self.command_rate()  # warm

    def good(self, result):
        if set(result["status"]) != {"200"}:
            raise AssertionError(f"answers {result['status']}")
        return result

    def command_rate(self):
        return self.good(load(self.platform.port_base, *self.common, "--connections", "32",
                              "--seconds", SECONDS))["rps"]

    def p99_ms(self):
        return self.good(load(self.platform.port_base, *self.common, "--connections", "16",
                              "--rate", "100", "--seconds", SECONDS))["p99_ms"]


def main():
    sink, hanging = Sink(), HangingCollector()
    report = Report()
    everything = {"OTEL_TRACES_SAMPLER": "always_on"}
    without = Loaded({})
    sampled = Loaded({**everything, "OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint})
    stuck = Loaded({**everything, "OTEL_EXPORTER_OTLP_ENDPOINT": hanging.endpoint})
    loaded = [without, sampled, stuck]
    rates, p99s = [], []
    try:
        for one in loaded:
            one.start()
        for turn in range(ROUNDS):
            order = loaded if turn % 2 == 0 else loaded[::-1]
            rate = {one: one.command_rate() for one in order}
            p99 = {one: one.p99_ms() for one in order}
            rates.append((rate[sampled] / rate[without], rate[stuck] / rate[without]))
            p99s.append((p99[sampled] / p99[without], p99[stuck] / p99[without]))
            print(f"  {rate[without]:.0f}/s, sampled {rate[sampled]:.0f}/s, collector stuck "
                  f"{rate[stuck]:.0f}/s; p99 {p99[without]:.1f}, {p99[sampled]:.1f}, "
                  f"{p99[stuck]:.1f} ms", flush=True)
    finally:
        for one in loaded:
            one.platform.tear_down()
        hanging.close()
    share = [100 * statistics.median(column) for column in zip(*rates)]
    slower = [100 * statistics.median(column) for column in zip(*p99s)]
    print(f"  {sink.bytes / 1e6:.1f} MB of spans taken")
    report.line("commands, all traces sent, of those without", share[0], "%", 90,
                smaller_is_better=False)
    report.line("commands, collector never answers, of those without", share[1], "%", 90,
                smaller_is_better=False)
    report.line("p99, collector never answers, of that without", slower[1], "%", 110)
    print(f"  p99, all traces sent, of that without: {slower[0]:.1f} %")
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
