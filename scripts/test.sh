#!/bin/bash
# Runs all tests; fails, too, if one was skipped for a reason that nobody expects.
# usage: test.sh [ctest arguments]
source "$(dirname "$0")/common.sh"
# A platform that a developer runs must not be what the tests find.
unset TRUNKLINE_HOME TRUNKLINE_PORT_BASE DETACH
cd "$repo"
failed=0
ctest --test-dir build --output-on-failure -j "$(nproc)" "$@" || failed=$?
python3 -B scripts/unexpected_skips.py build/Testing/Temporary/LastTest.log \
  tests/expected_skips.txt || failed=1
exit "$failed"
