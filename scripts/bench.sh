#!/bin/bash
# Runs what bench/ has, each with its limit measured in the same run.
source "$(dirname "$0")/common.sh"
cd "$repo"
found=no
for program in bench/*.py; do
  [[ -e $program ]] || continue
  found=yes
  python3 "$program"
done
[[ $found == yes ]] || die "no benchmarks are there yet"
