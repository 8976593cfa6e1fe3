#!/bin/bash
# The whole unit suite under ASan and UBSan, then under TSan.  usage: sanitize.sh [ctest arguments]
source "$(dirname "$0")/common.sh"
unset TRUNKLINE_HOME TRUNKLINE_PORT_BASE DETACH
cd "$repo"
# A compiler with sanitizers takes up to 1.5 GB.
fit=$(awk '$1 == "MemAvailable:" {print int($2 / 1500000)}' /proc/meminfo)
jobs=$((fit < $(nproc) ? (fit > 1 ? fit : 1) : $(nproc)))
failed=0
for preset in asan tsan; do
  step configure "build-$preset"
  mkdir -p "build-$preset"
  log=build-$preset/build.log
  cmake --preset "$preset" >"$log" 2>&1 ||
    { tail -20 "$log" >&2; die "cmake failed; all of it: $log"; }
  step build "$preset"
  cmake --build "build-$preset" --target unit_tests -j "$jobs" >"$log" 2>&1 ||
    { grep -A30 -m3 -E 'FAILED|error' "$log" >&2; die "the build failed; all of it: $log"; }
  step test "$preset"
  ctest --test-dir "build-$preset" -L unit --output-on-failure -j "$jobs" "$@" || failed=$?
done
exit "$failed"
