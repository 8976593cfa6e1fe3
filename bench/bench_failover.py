#!/usr/bin/env python3
"""How long clients of a three-node synchronous instance go without an acknowledged write, measured
by the clients themselves through the endpoint, each beside its goal. Medians; nothing acknowledged
may be lost in any round.

usage: bench_failover.py [section...]    sections: host postmaster switchover
TRUNKLINE_BENCH_ROUNDS (default 20) rounds each. Exit code 1 if a goal was missed or a row lost.
"""

import os
import pathlib
import signal
import statistics
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "integration"))
from platform_fixture import Platform  # noqa: E402
from survivor import Survivor, Workload  # noqa: E402

ROUNDS = int(os.environ.get("TRUNKLINE_BENCH_ROUNDS", "20"))


def host(survivor):
    """The primary's host stops: nothing of it answers any more, and nothing says so."""
    old = survivor.primary()
    survivor.signal_host(old["host"], signal.SIGSTOP)
    survivor.await_new_primary(old)
    return lambda: survivor.signal_host(old["host"], signal.SIGCONT)


def postmaster(survivor):
    """The primary's postmaster is killed."""
    survivor.kill_postmaster(survivor.primary())
    time.sleep(3)
    return lambda: None


def switchover(survivor):
    """An operator asks for another primary."""
    old = survivor.primary()
    survivor.switch_over()
    survivor.await_new_primary(old)
    return lambda: None


SECTIONS = {"host": (host, 3000), "postmaster": (postmaster, 1000), "switchover": (switchover, 300)}


def measure(survivor, name):
    break_it, goal_ms = SECTIONS[name]
    gaps, errors, lost = [], 0, 0
    for _ in range(ROUNDS):
        survivor.await_all_streaming()
        work = Workload(survivor.dsn)
        time.sleep(1)
        mend = break_it(survivor)
        time.sleep(0.5)
        result = work.finish()
        mend()
        gaps.append(result["longest_gap_ms"])
        errors += sum(result["errors"].values())
        lost += result["lost"] + result["unexpected"] + result["reordered"]
    median = statistics.median(gaps)
    good = median <= goal_ms and lost == 0 and (name != "switchover" or errors == 0)
    print(f"time without writes, {name:12} median of {ROUNDS} {median:8.0f} ms   goal ≤ {goal_ms}"
          f"   least {min(gaps):.0f} most {max(gaps):.0f}   client errors {errors}"
          f"   lost {lost}{'' if good else '   MISSED'}", flush=True)
    return good


def main():
    wanted = sys.argv[1:] or list(SECTIONS)
    if set(wanted) - set(SECTIONS):
        print(__doc__, file=sys.stderr)
        return 2
    platform = Platform()
    try:
        platform.start()
        survivor = Survivor(platform)
        return 0 if all([measure(survivor, name) for name in SECTIONS if name in wanted]) else 1
    finally:
        platform.tear_down()


if __name__ == "__main__":
    sys.exit(main())
