"""Fails if a test was skipped for a reason that tests/expected_skips.txt does not name.

usage: unexpected_skips.py LOG EXPECTED    LOG is ctest's LastTest.log
"""

import os
import re
import sys

SKIPPED = re.compile(r"""\.\.\. skipped (['"])(?P<why>.*)\1$""")  # Python's unittest, -v
GTEST = re.compile(r"^.*: Skipped$")                              # its reason is the next line


def skip_reasons(lines):
    """[(test that ctest ran, reason)]"""
    found, test, reason_follows = [], "?", False
    for line in lines:
        line = line.rstrip("\n")
        begun = re.match(r"^\d+/\d+ Testing: (.*)$", line)
        if begun:
            test = begun.group(1)
        if reason_follows:
            found.append((test, line))
        reason_follows = bool(GTEST.match(line))
        skipped = SKIPPED.search(line)
        if skipped:
            found.append((test, skipped.group("why")))
    return found


def expected_reasons(lines, is_root):
    """Patterns; a line that begins with "user:" counts where the tests do not run as root."""
    patterns = []
    for line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("user:"):
            if is_root:
                continue
            line = line.removeprefix("user:").strip()
        patterns.append(re.compile(line))
    return patterns


def unexpected(reasons, patterns):
    return [(test, why) for test, why in reasons
            if not any(pattern.search(why) for pattern in patterns)]


def main(log, expected):
    with open(log, encoding="utf-8", errors="replace") as file:
        reasons = skip_reasons(file)
    with open(expected, encoding="utf-8") as file:
        patterns = expected_reasons(file, os.geteuid() == 0)
    bad = unexpected(reasons, patterns)
    for test, why in bad:
        print(f"skipped for a reason that {expected} does not name: {test}: {why}",
              file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
