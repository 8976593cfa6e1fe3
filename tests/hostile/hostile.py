#!/usr/bin/env python3
"""A tenant who attacks, beside one who must not notice.

usage: hostile.py [--whole] [ATTACK...]    --whole: as long and as many as the threat list says
Starts a platform of its own, runs the attacks of attacks.py one after the other, and after each
asks the bystander what he noticed. Exit code 1 if an attack came through or was noticed.
"""

import argparse
import sys
import time
import traceback
import uuid as uuids
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

from attacks import ATTACKS  # noqa: E402
from bystander import Bystander  # noqa: E402
from customer import Customer  # noqa: E402
from platform_fixture import Platform, wait_for  # noqa: E402
from tenant import Tenant  # noqa: E402

HOSTS = 3


def member_token(platform, name):
    answer = Customer(platform).call("POST", "/v1/tokens", {
        "name": name, "role": "member", "project_id": str(uuids.uuid4())})
    wait_for(lambda: platform.api("GET", "/v1/postgres/instances", token=answer["token"])[0] == 200,
             30, "the token is known")
    return answer["token"]


def run(platform, whole=False, only=()):
    """[(attack, what went wrong)], empty if all held."""
    wait_for(lambda: len(Customer(platform).call("GET", "/v1/hosts")) == HOSTS, 60, "all hosts")
    bystander = Bystander(platform, member_token(platform, "bystander"))
    tenant = Tenant(platform, member_token(platform, "hostile"), bystander, whole)
    time.sleep(2)  # what quiet is like
    faults = []
    for row, attack, whole_only in ATTACKS:
        if (whole_only and not whole) or (only and row not in only):
            continue
        begin = time.monotonic()
        bystander.phase = row
        try:
            attack(tenant)
        except Exception as error:  # pylint: disable=broad-except
            faults.append((row, "".join(traceback.format_exception_only(error)).strip()))
            traceback.print_exc()
        noticed = bystander.noticed()
        faults += [(row, f"the bystander noticed: {what}") for what in noticed]
        figures = ", ".join(f"{kind} {ms:.0f} ms"
                            for kind, ms in bystander.figures(bystander.phase).items())
        print(f"  {row:32} {time.monotonic() - begin:5.1f} s  bystander's p99: {figures}"
              f"{'  FAULT' if faults and faults[-1][0] == row else ''}", flush=True)
        if noticed:
            break  # what follows would only find the same
    bystander.stop()
    quiet = bystander.figures("quiet")
    print(f"  quiet: {', '.join(f'{kind} {ms:.0f} ms' for kind, ms in quiet.items())}", flush=True)
    return faults


def main():
    parser = argparse.ArgumentParser(description="a hostile tenant beside a bystander")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("attacks", nargs="*")
    arguments = parser.parse_args()
    platform = Platform()
    try:
        platform.start()
        faults = run(platform, arguments.whole, arguments.attacks)
    finally:
        platform.tear_down()
    for row, what in faults:
        print(f"FAULT {row}: {what}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
