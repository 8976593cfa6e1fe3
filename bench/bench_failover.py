#!/usr/bin/env python3
"""How long clients of a three-node synchronous instance go without an acknowledged write, measured
by the clients themselves through the endpoint, each beside its goal. Medians; nothing acknowledged
may be lost in any round. The same programs then write to Patroni and pg_auto_failover while the
hosts of their primaries die (failover_peers.py says how), and the ratios are printed.

usage: bench_failover.py [section...]    sections: host postmaster switchover peers
TRUNKLINE_BENCH_ROUNDS (default 5; medians of 20 are the figures to publish) rounds each, and
TRUNKLINE_BENCH_PEER_ROUNDS (default 1) of each peer, a new cluster a round. Exit code 1 if a goal
was missed or a row of ours lost.
"""

import os
import pathlib
import signal
import statistics
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "integration"))
from platform_fixture import Platform, wait_for  # noqa: E402
from survivor import Survivor, Workload  # noqa: E402
import failover_peers  # noqa: E402

ROUNDS = int(os.environ.get("TRUNKLINE_BENCH_ROUNDS", "5"))
PEER_ROUNDS = int(os.environ.get("TRUNKLINE_BENCH_PEER_ROUNDS", "1"))


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


def measure_peer(kind, tuned):
    """One failover of a new cluster: the longest gap in ms, and the rows lost."""
    cluster = kind(tuned)
    try:
        cluster.start()
        wait_for(cluster.writable, 60, "a primary that takes writes")
        time.sleep(3)
        work = Workload(cluster.dsn)
        time.sleep(1)
        cluster.kill(cluster.primary())
        wait_for(cluster.writable, 180, "a new primary")
        time.sleep(2)
        result = work.finish()
        return result["longest_gap_ms"], result["lost"]
    except AssertionError:
        print(cluster.last_words(), file=sys.stderr)
        raise
    finally:
        cluster.tear_down()


def measure_peers(ours_ms):
    for name, (kind, tuned) in failover_peers.PEERS.items():
        if not failover_peers.is_installed(kind):
            print(f"time without writes, {name}: not installed")
            continue
        try:
            rounds = [measure_peer(kind, tuned) for _ in range(PEER_ROUNDS)]
        except AssertionError as error:
            print(f"time without writes, {name}: {error}")
            continue
        median = statistics.median(gap for gap, _ in rounds)
        ratio = "" if ours_ms is None else f"   {median / ours_ms:.1f} times ours (host)"
        print(f"time without writes, {name:23} median of {PEER_ROUNDS} {median:8.0f} ms{ratio}"
              f"   lost {sum(lost for _, lost in rounds)}", flush=True)


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
    return good, median


def main():
    wanted = sys.argv[1:] or [*SECTIONS, "peers"]
    if set(wanted) - {*SECTIONS, "peers"}:
        print(__doc__, file=sys.stderr)
        return 2
    found = {}
    if set(wanted) & set(SECTIONS):
        platform = Platform()
        try:
            platform.start()
            survivor = Survivor(platform)
            found = {name: measure(survivor, name) for name in SECTIONS if name in wanted}
        finally:
            platform.tear_down()
    if "peers" in wanted:
        measure_peers(found["host"][1] if "host" in found else None)
    return 0 if all(good for good, _ in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
