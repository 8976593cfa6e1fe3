#!/bin/bash
# Runs all tests.  usage: test.sh [ctest arguments]
source "$(dirname "$0")/common.sh"
# A platform that a developer runs must not be what the tests find.
unset TRUNKLINE_HOME TRUNKLINE_PORT_BASE DETACH
cd "$repo"
ctest --test-dir build --output-on-failure -j "$(nproc)" "$@"
