#!/bin/bash
# Configures if needed and builds.  usage: build.sh programs|all
source "$(dirname "$0")/common.sh"

cd "$repo"
log=build/build.log
mkdir -p build
cache=build/CMakeCache.txt
configured_for=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$cache" 2>/dev/null) || true
if [[ ! -e build/build.ninja || $configured_for != "$repo" ]]; then
  step configure "build"  # the first time, or in a clone that has been moved
  cmake --preset dev --fresh >"$log" 2>&1 ||
    { tail -20 "$log" >&2; die "cmake failed; all of it: $log"; }
fi
step build "$1"
# A compiler takes up to 0.7 GB: fewer at once where memory is short.
jobs=() fit=$(awk '$1 == "MemAvailable:" {print int($2 / 700000)}' /proc/meminfo)
if [[ -z ${CMAKE_BUILD_PARALLEL_LEVEL:-} ]] && ((fit < $(nproc) + 2)); then
  jobs=(-j $((fit > 1 ? fit : 1)))
fi
# On a terminal ninja shows one line that moves; in a file it would be hundreds.
if [[ -t 1 ]]; then
  cmake --build build --target "$1" "${jobs[@]}"
else
  cmake --build build --target "$1" "${jobs[@]}" >"$log" 2>&1 ||
    { grep -A30 -m3 -E 'FAILED|error' "$log" >&2; die "the build failed; all of it: $log"; }
fi
