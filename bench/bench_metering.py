#!/usr/bin/env python3
"""The CPU that metering takes for 10,000 instances at windows of a minute (goal: 10 % of one core).

usage: bench_metering.py [instances [windows [window in seconds]]]
"""

import pathlib
import subprocess
import sys

BUILD = pathlib.Path(__file__).resolve().parents[1] / "build"


def main():
    program = BUILD / "bench" / "bench_metering"
    if not program.exists():
        print("metering: no build/bench/bench_metering")
        return 0
    arguments = sys.argv[1:] or ["10000", "1"]
    return subprocess.run([str(program), str(BUILD / "bin"), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
